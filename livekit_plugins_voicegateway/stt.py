"""``inference.STT``: a LiveKit STT that belongs to a project, delegates to a plugin, and meters.

Everything that livekit-agents reads on an STT is overridden, because ``__getattr__`` would only
answer for names that the base class lacks. Streams are in `stt_stream`.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import weakref
from typing import TYPE_CHECKING, Any

from livekit.agents import stt
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    NotGivenOr,
)
from livekit.agents.utils import AudioBuffer, is_given
from livekit.agents.utils.audio import calculate_audio_duration

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
from .metering.attempts import may_be_billed
from .metering.meter import TranscriptionMeter, begin_meter
from .metering.usage import Quantities
from .stt_stream import RecognizeStream, uses_keyterms
from .telemetry import RequestSpan, start_transcription

if TYPE_CHECKING:
    import aiohttp
    from livekit.agents import vad
    from livekit.agents.llm.chat_context import MetricsMetadata
    from livekit.agents.voice.events import ConversationItemAddedEvent

    from .budgets import Hold
    from .metering.meter import Request
    from .projects import Project
    from .router import ModelSpec

__all__ = ["STT", "RecognizeStream"]

_recognition: contextvars.ContextVar[_Recognition | None] = contextvars.ContextVar(
    "voicegateway_recognition", default=None
)


class STT(stt.STT[Any]):
    """A speech-to-text model in ``"provider/model[:language]"`` form, paid for by a project.

    Takes what ``livekit.agents.inference.STT`` takes, with the same meaning, and ``project=``.

    Args:
        model: ``"deepgram/nova-3"``, ``"deepgram/nova-3:multi"``; any installed plugin.
        language: Language to hear, over the one in the model string.
        base_url: Address of the provider, over the configuration's.
        encoding: Encoding of the audio sent, for plugins that offer a choice.
        sample_rate: Sample rate of the audio sent, in Hz.
        api_key: Key that pays, over the project's.
        api_secret: Understood by LiveKit's own cloud only.
        http_session: HTTP session for plugins that take one.
        extra_kwargs: Further options of the provider or its plugin.
        fallback: Models to try, in this order, when the provider fails.
        conn_options: Timeout and retries of each connection to the provider.
        vad: Voice activity detector, for plugins that take one and for ``fallback`` models
            that cannot stream.
        project: The project that pays; else the active one.

    Raises:
        VoiceGatewayError: The model cannot be built; the message says why, and what mends it.
    """

    def __init__(
        self,
        model: NotGivenOr[str] = NOT_GIVEN,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        base_url: NotGivenOr[str] = NOT_GIVEN,
        encoding: NotGivenOr[str] = NOT_GIVEN,
        sample_rate: NotGivenOr[int] = NOT_GIVEN,
        api_key: NotGivenOr[str] = NOT_GIVEN,
        api_secret: NotGivenOr[str] = NOT_GIVEN,
        http_session: aiohttp.ClientSession | None = None,
        extra_kwargs: NotGivenOr[dict[str, Any] | Any] = NOT_GIVEN,
        fallback: NotGivenOr[list[Any] | Any] = NOT_GIVEN,
        conn_options: NotGivenOr[APIConnectOptions] = NOT_GIVEN,
        vad: NotGivenOr[vad.VAD | None] = NOT_GIVEN,
        project: str | None = None,
    ) -> None:
        # the base keeps a copy of the capabilities; ours are read from the delegate each time
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        note_without_effect(api_secret=api_secret)
        self._own_conn_options = conn_options if is_given(conn_options) else None
        self._vad = vad if is_given(vad) else None
        self._fallback = fallback_models(fallback)
        self._retired: list[Delegate[stt.STT[Any]]] = []
        self._session_keyterms: list[str] = []
        self._streams: weakref.WeakSet[RecognizeStream] = weakref.WeakSet()
        # the delegate's recognize() emits its own metrics (stt/fallback_adapter.py does the same)
        self._recognize_metrics_needed = False
        self._delegates: Delegates[stt.STT[Any]] = Delegates(
            self,
            "stt",
            make_spec(
                "stt",
                model,
                given(
                    language=language,
                    base_url=base_url,
                    encoding=encoding,
                    sample_rate=sample_rate,
                    api_key=api_key,
                    http_session=http_session,
                    vad=self._vad,
                ),
                extra_kwargs if is_given(extra_kwargs) else None,
            ),
            project,
            assemble=self._assemble_fallback if self._fallback else None,
            prepare=self._prepare,
        )

    @classmethod
    def from_model_string(cls, model: str) -> STT:
        """Make an STT from a model string."""
        return cls(model)

    @property
    def model(self) -> str:
        """Model of the plugin that serves the next stream."""
        return self._delegates.current().instance.model

    @property
    def provider(self) -> str:
        """Provider of the plugin that serves the next stream."""
        return self._delegates.current().instance.provider

    @property
    def capabilities(self) -> stt.STTCapabilities:
        """Capabilities of the plugin that serves, as they are now.

        Whether it streams is said of the chosen one: a session asks that once, and adapts to it
        (voice/agent.py), and a fallback that streams gives back to a plugin that may not.
        """
        capabilities = self._delegates.served.instance.capabilities
        streaming = self._delegates.current().instance.capabilities.streaming
        if capabilities.streaming == streaming:
            return capabilities
        return dataclasses.replace(capabilities, streaming=streaming)

    @property
    def metrics_metadata(self) -> MetricsMetadata:
        """Labels of the plugin that served last."""
        return self._delegates.served.instance.metrics_metadata

    def update_options(
        self,
        *,
        model: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        extra: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
        **options: Any,
    ) -> None:
        """Change options of running and later streams.

        Args:
            model: Another model. Of the same provider: running streams change over, if the
                plugin can; of another provider: later streams use it.
            language: Another language.
            extra: Options of the provider, merged into those there are.
            **options: Options by the plugin's own names.
        """
        spec = self._delegates.spec
        changes = {**(extra if is_given(extra) else {}), **options}
        if is_given(model):
            spec = respell(spec, "stt", model)
        if is_given(language):
            spec = dataclasses.replace(spec, arguments={**spec.arguments, "language": language})
        if changes:
            spec = dataclasses.replace(spec, extra={**spec.extra, **changes})
        self._retired += self._delegates.update(
            spec, {**given(model=model, language=language), **changes}
        )
        for stream in list(self._streams):
            stream.respecified()

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        self._session_keyterms[:] = keyterms  # the streams' own list: what takes over needs them
        for delegate in self._delegates.all():
            if delegate.instance.capabilities.keyterms:
                delegate.instance._update_session_keyterms(keyterms)
            elif keyterms and not delegate.stands_in:
                super()._update_session_keyterms(keyterms)
        for stream in list(self._streams):
            stream.respecified()

    def _prepare(self, delegate: Delegate[stt.STT[Any]]) -> None:
        _meter_recognitions(delegate)
        if self._session_keyterms and delegate.instance.capabilities.keyterms:
            delegate.instance._update_session_keyterms(self._session_keyterms)

    def _push_conversation_item(self, ev: ConversationItemAddedEvent) -> None:
        for delegate in self._delegates.all():
            if delegate.instance.capabilities.chat_context:
                delegate.instance._push_conversation_item(ev)

    def prewarm(self) -> None:
        """Open what the plugin can open before the first stream."""
        self._delegates.current().instance.prewarm()

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        return await self.recognize(buffer, language=language, conn_options=conn_options)

    async def recognize(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.SpeechEvent:
        """Transcribe a buffer; see ``livekit.agents.stt.STT.recognize``."""
        delegates, chosen = self._delegates, self._delegates.current()
        request = delegates.request(chosen, streaming=False)
        if is_given(language):
            request = dataclasses.replace(request, variant=str(language))
        verdict, delegate = await delegates.admit(
            chosen, lambda: Quantities(audio_seconds=calculate_audio_duration(buffer))
        )
        if verdict.refused is not None:
            delegates.reject(request, verdict.refused)
            self._emit_error(verdict.refused, recoverable=False)
            raise verdict.refused
        if delegate is not chosen:
            language = NOT_GIVEN  # as the chosen provider spells it, which no other may know
            request = dataclasses.replace(
                delegates.request(delegate, streaming=False), request_id=request.request_id
            )
        delegates.serves(delegate)
        span = start_transcription(request)
        recognition = _Recognition(
            delegates, delegate, request, self._session_keyterms, verdict.hold, span
        )
        token = _recognition.set(recognition)
        try:
            return await delegate.instance.recognize(
                buffer,
                language=language,
                conn_options=connect_options(self._own_conn_options, conn_options),
            )
        finally:
            _recognition.reset(token)
            recognition.release()
            if span is not None:
                span.end()

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> RecognizeStream:
        """Open a stream; see ``livekit.agents.stt.STT.stream``."""
        stream = RecognizeStream(
            self,
            self._delegates,
            language=language,
            conn_options=connect_options(self._own_conn_options, conn_options),
            keyterms=self._session_keyterms,
        )
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """Close the plugin instances behind this object."""
        for delegate in self._retired:
            await self._delegates.retire(delegate)
        await self._delegates.aclose()

    def __getattr__(self, name: str) -> Any:
        # only what the plugin has on top of LiveKit's STT
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._delegates.current().instance, name)

    def _assemble_fallback(self, spec: ModelSpec, project: Project) -> stt.STT[Any]:
        """LiveKit's own FallbackAdapter around one of ours for each model: each is metered."""
        first = STT(
            spec.route.requested,
            extra_kwargs=dict(spec.extra),
            project=project.id,
            **spec.arguments,
        )
        others = [
            STT(
                model["model"],
                extra_kwargs=model.get("extra_kwargs", NOT_GIVEN),
                vad=self._vad if self._vad is not None else NOT_GIVEN,
                project=project.id,
            )
            for model in self._fallback
        ]
        options: dict[str, Any] = {}
        if (own := self._own_conn_options) is not None:
            options = {
                "attempt_timeout": own.timeout,
                "max_retry_per_stt": own.max_retry,
                "retry_interval": own.retry_interval,
            }
        return _FallbackModels([first, *others], vad=self._vad, **options)


class _FallbackModels(stt.FallbackAdapter):
    """LiveKit's FallbackAdapter over models that nobody else has, so it closes them."""

    def __init__(self, models: list[stt.STT[Any]], **options: Any) -> None:
        super().__init__(models, **options)
        self._models = models

    async def aclose(self) -> None:
        await super().aclose()
        for model in self._models:
            await model.aclose()


@dataclasses.dataclass(slots=True, eq=False)
class _Recognition:
    """A call of ``recognize()`` under way: each attempt that is billed gets a row."""

    delegates: Delegates[stt.STT[Any]]
    delegate: Delegate[stt.STT[Any]]
    request: Request
    session_keyterms: list[str]
    hold: Hold | None
    span: RequestSpan | None

    def attempt(self, buffer: AudioBuffer) -> TranscriptionMeter:
        meter = begin_meter(lambda: self._new_meter(buffer), self.request)
        meter.hold = self.hold or self.delegates.untaken(self.delegate)
        self.hold = None
        self.delegates.track(meter, self.span)
        return meter

    def _new_meter(self, buffer: AudioBuffer) -> TranscriptionMeter:
        gateway = self.delegates.gateway
        meter = TranscriptionMeter(self.request, clock=gateway.clock, monotonic=gateway.monotonic)
        meter.keyterms = uses_keyterms(self.delegate.instance, self.session_keyterms)
        meter.push(calculate_audio_duration(buffer))
        return meter

    def release(self) -> None:
        """Let go of what the budget holds for it, if no attempt was made."""
        self.delegates.release(self.hold)


def _meter_recognitions(delegate: Delegate[stt.STT[Any]]) -> None:
    """Meter each attempt of the delegate's ``recognize()``, which retries by itself.

    ``stt.STT.recognize`` calls ``_recognize_impl`` once per attempt, in the caller's context.
    """
    if not delegate.metered:
        return
    instance: Any = delegate.instance
    recognize_impl = instance._recognize_impl

    async def attempt(buffer: AudioBuffer, **options: Any) -> stt.SpeechEvent:
        recognition = _recognition.get()
        if recognition is None:
            event: stt.SpeechEvent = await recognize_impl(buffer, **options)
            return event
        meter = recognition.attempt(buffer)
        try:
            event = await recognize_impl(buffer, **options)
        except asyncio.CancelledError:
            meter.close("cancelled")
            raise
        except Exception as e:
            if not may_be_billed(meter, e):
                meter.push(-meter.audio_seconds)
            meter.close("failed", e)
            raise
        meter.first_result()
        meter.close("completed")
        return event

    instance._recognize_impl = attempt
