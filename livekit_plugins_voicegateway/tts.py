"""``inference.TTS``: a LiveKit TTS that belongs to a project, delegates to a plugin, and meters.

The delegate's audio is passed on frame by frame as it comes, with its timed transcripts and its
markers, not through a second ``AudioEmitter``: the session hears what it would hear from the
plugin itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from livekit.agents import tts
from livekit.agents.telemetry import trace_types
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    NotGivenOr,
)
from livekit.agents.utils import is_given
from opentelemetry import trace

from .delegates import (
    Delegate,
    Delegates,
    connect_options,
    fallback_models,
    given,
    make_spec,
    note_without_effect,
    respell,
)
from .metering.attempts import reached_provider, watch_attempts, watch_events
from .metering.meter import SpeechMeter

if TYPE_CHECKING:
    import aiohttp
    from livekit.agents.llm.chat_context import MetricsMetadata
    from livekit.agents.tts.tts import AudioEmitter, MarkupInfo, SynthesizedAudio
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
        if changes:
            spec = dataclasses.replace(spec, extra={**spec.extra, **changes})
        if is_given(model):
            spec = respell(spec, "tts", model)
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
        return tts.FallbackAdapter([first, *others], sample_rate=first.sample_rate, **options)


class _Attempts:
    """Keeps one row for each attempt of a synthesis that may be billed."""

    def __init__(self, delegates: Delegates[tts.TTS[Any]], *, whole_text: bool) -> None:
        self.delegate = delegates.current()
        self.characters = 0
        self.meter: SpeechMeter | None = None
        self._delegates = delegates
        self._whole_text = whole_text
        self._request = delegates.request(self.delegate)
        delegates.serves(self.delegate)

    def push(self, text: str) -> None:
        """Text was handed to the delegate."""
        self.characters += len(text)
        if self.meter is not None and self.meter.status == "open":
            self.meter.push(len(text))

    def sent(self) -> None:
        """Text has left for the provider: an attempt that never sends any costs nothing."""
        if self.meter is not None:
            self.meter.sent = True

    def attempt_began(self) -> None:
        """A retry speaks the whole text again, and the provider bills it again."""
        if not self.delegate.metered:
            return
        if self.meter is None or self.meter.status != "open":
            gateway = self._delegates.gateway
            self.meter = SpeechMeter(
                self._request, clock=gateway.clock, monotonic=gateway.monotonic
            )
            gateway.track(self.meter)
        self.meter.characters = self.characters
        self.meter.sent = self._whole_text

    def attempt_ended(self, error: BaseException | None) -> None:
        """A failed attempt that was billed keeps its own row; one that was not is forgotten."""
        meter = self.meter
        if meter is None or error is None or isinstance(error, asyncio.CancelledError):
            return
        if meter.audio_seconds or (meter.sent and reached_provider(error)):
            meter.close("failed", error)
        else:
            meter.sent = False

    def finish(
        self,
        status: Literal["completed", "cancelled", "failed"],
        inner: tts.ChunkedStream | tts.SynthesizeStream,
        error: BaseException | None = None,
    ) -> None:
        """The synthesis is over."""
        if self.meter is not None and self.meter.status == "open":
            self.meter.report_tokens(inner._input_tokens, inner._output_tokens)
            self.meter.close(status, error)

    def audio(self, event: SynthesizedAudio) -> None:
        """Audio came back."""
        if self.meter is not None:
            self.meter.audio(event.frame.duration)


async def _pass_on(
    stream: ChunkedStream | SynthesizeStream,
    inner: tts.ChunkedStream | tts.SynthesizeStream,
    attempts: _Attempts,
    caller_span: trace.Span,
) -> None:
    """Pass the delegate's audio on until it ends, and end the row."""
    span = stream._tts_request_span = trace.get_current_span()
    span.set_attribute(trace_types.ATTR_TTS_LABEL, stream._tts.label)
    send = stream._event_ch.send_nowait
    try:
        async for event in inner:
            send(event)
    except asyncio.CancelledError:
        attempts.finish("cancelled", inner)
        raise
    except Exception as e:
        # the delegate has emitted the error, and it was passed on
        attempts.finish("failed", inner, e)
        raise
    attempts.finish("completed", inner)
    instance = attempts.delegate.instance
    served: dict[str, Any] = {trace_types.ATTR_GEN_AI_RESPONSE_MODEL: instance.model}
    if provider := trace_types.gen_ai_provider_name(instance.provider):
        served[trace_types.ATTR_GEN_AI_PROVIDER_NAME] = provider
    span.set_attributes(served)
    caller_span.set_attributes(served)


class ChunkedStream(tts.ChunkedStream):
    """A synthesis of a whole text: the delegate's stream, metered on its way through."""

    _tts_request_span_name: ClassVar[str] = "voicegateway_tts"
    # the delegate's own request span nests under ours
    _tts_attempt_span_name: ClassVar[str | None] = None

    def __init__(
        self,
        owner: TTS,
        delegates: Delegates[tts.TTS[Any]],
        text: str,
        conn_options: APIConnectOptions,
    ) -> None:
        self._attempts = _Attempts(delegates, whole_text=True)
        self._caller_span = trace.get_current_span()
        self._inner = self._attempts.delegate.instance.synthesize(text, conn_options=conn_options)
        self._attempts.push(text)
        watch_attempts(self._inner, self._attempts)
        watch_events(self._inner, self._attempts.audio)
        super().__init__(
            tts=owner,
            input_text=text,
            conn_options=dataclasses.replace(conn_options, max_retry=0),
        )
        # nobody but the caller reads the events, so the base's tee is not needed
        self._event_aiter = self._event_ch

    async def _run(self, output_emitter: AudioEmitter) -> None:
        raise NotImplementedError("the delegate's stream runs instead")

    async def _main_task(self) -> None:
        await _pass_on(self, self._inner, self._attempts, self._caller_span)

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[SynthesizedAudio]) -> None:
        """The delegate's stream emits the metrics."""

    async def aclose(self) -> None:
        """Close this stream immediately."""
        await super().aclose()
        await self._inner.aclose()
        self._attempts.finish("cancelled", self._inner)


class SynthesizeStream(tts.SynthesizeStream):
    """A synthesis of text as it comes: the delegate's stream, metered on its way through."""

    _tts_request_span_name: ClassVar[str] = "voicegateway_tts"
    # the delegate's own request span nests under ours
    _tts_attempt_span_name: ClassVar[str | None] = None

    def __init__(
        self, owner: TTS, delegates: Delegates[tts.TTS[Any]], conn_options: APIConnectOptions
    ) -> None:
        self._attempts = _Attempts(delegates, whole_text=False)
        self._caller_span = trace.get_current_span()
        # made here and not in the task: plugins read TTS._expressive in the constructor, and
        # the session sets it right before it calls stream() (voice/agent.py)
        self._inner = self._attempts.delegate.instance.stream(conn_options=conn_options)
        self._watch_text_sent()
        watch_attempts(self._inner, self._attempts)
        watch_events(self._inner, self._attempts.audio)
        super().__init__(tts=owner, conn_options=dataclasses.replace(conn_options, max_retry=0))
        # nobody but the caller reads the events, so the base's tee is not needed
        self._event_aiter = self._event_ch

    def push_text(self, token: str) -> None:
        """Push some text to be spoken."""
        if not token or self._input_ch.closed:
            return
        self._pushed_text += token
        self._inner.push_text(token)
        self._attempts.push(token)

    def flush(self) -> None:
        """Mark the end of the current segment."""
        self._inner.flush()

    def end_input(self) -> None:
        """Mark the end of the text."""
        self._inner.end_input()
        self._input_ch.close()

    @property
    def _started_time(self) -> float:
        # read by tts.FallbackAdapter, and put on each frame for the session's metrics
        return self._inner._started_time

    @_started_time.setter
    def _started_time(self, value: float) -> None:
        """The base's constructor sets it; the delegate's stream knows better."""

    async def _run(self, output_emitter: AudioEmitter) -> None:
        raise NotImplementedError("the delegate's stream runs instead")

    async def _main_task(self) -> None:
        await _pass_on(self, self._inner, self._attempts, self._caller_span)

    async def aclose(self) -> None:
        """Close this stream immediately."""
        await super().aclose()
        await self._inner.aclose()
        self._attempts.finish("cancelled", self._inner)

    def _watch_text_sent(self) -> None:
        # plugins call it with every piece of text they send (tts/tts.py, for their metrics)
        mark_started = self._inner._mark_started

        def marked() -> None:
            self._attempts.sent()
            mark_started()

        self._inner._mark_started = marked  # type: ignore[method-assign]
