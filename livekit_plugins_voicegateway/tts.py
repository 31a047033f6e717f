"""``inference.TTS``: a LiveKit TTS that belongs to a project, delegates to a plugin, and meters.

Everything that livekit-agents reads on a TTS is overridden, because ``__getattr__`` would only
answer for names that the base class lacks. Streams are in `tts_stream`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from livekit.agents import tts
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    NotGivenOr,
)
from livekit.agents.utils import is_given

from .accounts import Delegate
from .delegates import (
    Delegates,
    connect_options,
    fallback_models,
    given,
    make_spec,
    note_without_effect,
    respell,
)
from .tts_stream import ChunkedStream, SynthesizeStream

if TYPE_CHECKING:
    import aiohttp
    from livekit.agents.llm.chat_context import MetricsMetadata
    from livekit.agents.tts.tts import MarkupInfo
    from livekit.agents.voice.agent_session import SpeechSteeringOptions

    from .projects import Project
    from .router import ModelSpec

__all__ = ["TTS", "ChunkedStream", "SynthesizeStream"]


class TTS(tts.TTS[Any]):
    """A text-to-speech model in ``"provider/model[:voice]"`` form, paid for by a project.

    Takes what ``livekit.agents.inference.TTS`` takes, with the same meaning, and ``project=``.

    Args:
        model: ``"cartesia/sonic-3"``, ``"elevenlabs/eleven_flash_v2_5:voice"``; any installed
            plugin. A bare provider's name leaves the model to its plugin.
        voice: Voice, over the one in the model string.
        language: Language of the text.
        encoding: Encoding of the audio, for plugins that offer a choice.
        sample_rate: Sample rate of the audio, in Hz, for plugins that offer a choice.
        base_url: Address of the provider, over the configuration's.
        api_key: Key that pays, over the project's.
        api_secret: Understood by LiveKit's own cloud only.
        http_session: HTTP session for plugins that take one.
        extra_kwargs: Further options of the provider or its plugin.
        fallback: Models to try, in this order, when the provider fails.
        conn_options: Timeout and retries of each request to the provider.
        project: The project that pays; else the active one.

    Raises:
        VoiceGatewayError: The model cannot be built; the message says why, and what mends it.
    """

    class Markup(tts.TTS.Markup):
        """The delegate's markup: what it teaches the LLM, and how it lowers it."""

        _tts: TTS

        @property
        def _delegate_markup(self) -> tts.TTS.Markup:
            return self._tts._delegates.current().instance.markup

        def _provider_key(self) -> str:
            return self._delegate_markup._provider_key()

        @property
        def info(self) -> MarkupInfo:
            return self._delegate_markup.info

        def llm_instructions(
            self, *, speech_steering: SpeechSteeringOptions | None = None
        ) -> str | None:
            return self._delegate_markup.llm_instructions(speech_steering=speech_steering)

        def normalize(self, text: str) -> str:
            return self._delegate_markup.normalize(text)

        def convert(self, text: str) -> str:
            return self._delegate_markup.convert(text)

    def __init__(
        self,
        model: str,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        encoding: NotGivenOr[str] = NOT_GIVEN,
        sample_rate: NotGivenOr[int] = NOT_GIVEN,
        base_url: NotGivenOr[str] = NOT_GIVEN,
        api_key: NotGivenOr[str] = NOT_GIVEN,
        api_secret: NotGivenOr[str] = NOT_GIVEN,
        http_session: aiohttp.ClientSession | None = None,
        extra_kwargs: NotGivenOr[dict[str, Any] | Any] = NOT_GIVEN,
        fallback: NotGivenOr[list[Any] | Any] = NOT_GIVEN,
        conn_options: NotGivenOr[APIConnectOptions] = NOT_GIVEN,
        project: str | None = None,
    ) -> None:
        # the base keeps a copy of these three; ours are read from the delegate each time
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True), sample_rate=24000, num_channels=1
        )
        note_without_effect(api_secret=api_secret)
        self._own_conn_options = conn_options if is_given(conn_options) else None
        self._fallback = fallback_models(fallback)
        self._retired: list[Delegate[tts.TTS[Any]]] = []
        self._delegates: Delegates[tts.TTS[Any]] = Delegates(
            self,
            "tts",
            make_spec(
                "tts",
                model,
                given(
                    voice=voice,
                    language=language,
                    encoding=encoding,
                    sample_rate=sample_rate,
                    base_url=base_url,
                    api_key=api_key,
                    http_session=http_session,
                ),
                extra_kwargs if is_given(extra_kwargs) else None,
            ),
            project,
            assemble=self._assemble_fallback if self._fallback else None,
        )

    @classmethod
    def from_model_string(cls, model: str) -> TTS:
        """Make a TTS from a model string."""
        return cls(model)

    @property
    def model(self) -> str:
        """Model of the plugin that serves the next synthesis."""
        return self._delegates.current().instance.model

    @property
    def provider(self) -> str:
        """Provider of the plugin that serves the next synthesis."""
        return self._delegates.current().instance.provider

    @property
    def capabilities(self) -> tts.TTSCapabilities:
        """Capabilities of the plugin that serves the next synthesis, as they are now."""
        return self._delegates.current().instance.capabilities

    @property
    def sample_rate(self) -> int:
        """Sample rate of the audio, in Hz."""
        return self._delegates.current().instance.sample_rate

    @property
    def num_channels(self) -> int:
        """Channels of the audio."""
        return self._delegates.current().instance.num_channels

    @property
    def metrics_metadata(self) -> MetricsMetadata:
        """Labels of the plugin that served last."""
        return self._delegates.served.instance.metrics_metadata

    def _set_expressive(self, enabled: bool) -> None:
        super()._set_expressive(enabled)
        self._delegates.current().instance._set_expressive(enabled)

    def update_options(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        model: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
        **options: Any,
    ) -> None:
        """Change options from the next synthesis on.

        Args:
            voice: Another voice.
            model: Another model, of any provider.
            language: Another language.
            extra_kwargs: Options of the provider, merged into those there are.
            **options: Options by the plugin's own names.
        """
        spec = self._delegates.spec
        changes = {**(extra_kwargs if is_given(extra_kwargs) else {}), **options}
        arguments = given(voice=voice, language=language)
        if is_given(model):
            spec = respell(spec, "tts", model)
        if changes:
            spec = dataclasses.replace(spec, extra={**spec.extra, **changes})
        if arguments:
            spec = dataclasses.replace(spec, arguments={**spec.arguments, **arguments})
        self._retired += self._delegates.update(
            spec, {**given(model=model), **arguments, **changes}
        )

    def prewarm(self) -> None:
        """Open the connection to the provider in the background."""
        self._delegates.current().instance.prewarm()

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> ChunkedStream:
        """Speak a text; see ``livekit.agents.tts.TTS.synthesize``."""
        return ChunkedStream(
            self, self._delegates, text, connect_options(self._own_conn_options, conn_options)
        )

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> SynthesizeStream:
        """Speak text as it comes; see ``livekit.agents.tts.TTS.stream``."""
        return SynthesizeStream(
            self, self._delegates, connect_options(self._own_conn_options, conn_options)
        )

    async def aclose(self) -> None:
        """Close the plugin instances behind this object."""
        for delegate in self._retired:
            await self._delegates.retire(delegate)
        await self._delegates.aclose()

    def __getattr__(self, name: str) -> Any:
        # only what the plugin has on top of LiveKit's TTS
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._delegates.current().instance, name)

    def _assemble_fallback(self, spec: ModelSpec, project: Project) -> tts.TTS[Any]:
        """LiveKit's own FallbackAdapter around one of ours for each model: each is metered."""
        first = TTS(
            spec.route.requested,
            extra_kwargs=dict(spec.extra),
            project=project.id,
            **spec.arguments,
        )
        others = [
            TTS(
                model["model"],
                voice=model.get("voice") or NOT_GIVEN,
                extra_kwargs=model.get("extra_kwargs", NOT_GIVEN),
                project=project.id,
            )
            for model in self._fallback
        ]
        options: dict[str, Any] = {}
        if self._own_conn_options is not None:
            options["max_retry_per_tts"] = self._own_conn_options.max_retry
        return _FallbackModels([first, *others], sample_rate=first.sample_rate, **options)


class _FallbackModels(tts.FallbackAdapter):
    """LiveKit's FallbackAdapter over models that nobody else has, so it closes them."""

    async def aclose(self) -> None:
        await super().aclose()
        for model in self._tts_instances:
            await model.aclose()
