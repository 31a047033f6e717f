"""``inference.STT``: a LiveKit STT that belongs to a project, delegates to a plugin, and meters.

Audio goes from the caller straight to the delegate's stream, in the same call that the caller
makes, so that a frame costs one addition more than it does on the plugin itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import weakref
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Literal

from livekit.agents import stt
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    NotGivenOr,
)
from livekit.agents.utils import AudioBuffer, is_given
from livekit.agents.utils.audio import calculate_audio_duration

from livekit import rtc

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
from .metering.attempts import reached_provider, watch_attempts
from .metering.meter import TranscriptionMeter

if TYPE_CHECKING:
    import aiohttp
    from livekit.agents import vad
    from livekit.agents.llm.chat_context import MetricsMetadata
    from livekit.agents.voice.events import ConversationItemAddedEvent
    from pydantic import BaseModel

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
            prepare=_meter_recognitions,
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
        """Capabilities of the plugin that serves, as they are now."""
        return self._delegates.served.instance.capabilities

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
        if is_given(language):
            spec = dataclasses.replace(spec, arguments={**spec.arguments, "language": language})
        if changes:
            spec = dataclasses.replace(spec, extra={**spec.extra, **changes})
        if is_given(model):
            spec = respell(spec, "stt", model)
        self._retired += self._delegates.update(
            spec, {**given(model=model, language=language), **changes}
        )
        for stream in list(self._streams):
            stream.respecified()

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        self._session_keyterms = list(keyterms)
        for delegate in self._delegates.all():
            if delegate.instance.capabilities.keyterms:
                delegate.instance._update_session_keyterms(keyterms)
            elif keyterms:
                super()._update_session_keyterms(keyterms)

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
        delegate = self._delegates.current()
        self._delegates.serves(delegate)
        request = self._delegates.request(delegate, streaming=False)
        if is_given(language):
            request = dataclasses.replace(request, variant=str(language))
        recognition = _Recognition(self._delegates, delegate, request, bool(self._session_keyterms))
        token = _recognition.set(recognition)
        try:
            return await delegate.instance.recognize(
                buffer,
                language=language,
                conn_options=connect_options(self._own_conn_options, conn_options),
            )
        finally:
            _recognition.reset(token)

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
            keyterms=bool(self._session_keyterms),
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
        return stt.FallbackAdapter([first, *others], vad=self._vad, **options)


@dataclasses.dataclass(slots=True, eq=False)
class _Recognition:
    """A call of ``recognize()`` under way: each attempt that is billed gets a row."""

    delegates: Delegates[stt.STT[Any]]
    delegate: Delegate[stt.STT[Any]]
    request: Request
    keyterms: bool

    def attempt(self, seconds: float) -> TranscriptionMeter:
        meter = TranscriptionMeter(
            self.request,
            clock=self.delegates.gateway.clock,
            monotonic=self.delegates.gateway.monotonic,
        )
        meter.keyterms = self.keyterms
        meter.push(seconds)
        self.delegates.gateway.track(meter)
        return meter


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
        meter = recognition.attempt(calculate_audio_duration(buffer))
        try:
            event = await recognize_impl(buffer, **options)
        except asyncio.CancelledError:
            meter.close("cancelled")
            raise
        except Exception as e:
            if not reached_provider(e):
                meter.push(-meter.audio_seconds)
            meter.close("failed", e)
            raise
        meter.first_result()
        meter.close("completed")
        return event

    instance._recognize_impl = attempt


class RecognizeStream(stt.RecognizeStream):
    """A transcription stream: the delegate's stream, metered on its way through."""

    def __init__(
        self,
        owner: STT,
        delegates: Delegates[stt.STT[Any]],
        *,
        language: NotGivenOr[str],
        conn_options: APIConnectOptions,
        keyterms: bool,
    ) -> None:
        self._delegates = delegates
        self._delegate = delegate = delegates.current()
        self._inner_error: BaseException | None = None
        self._inner: stt.RecognizeStream = delegate.instance.stream(
            language=language, conn_options=conn_options
        )
        delegates.serves(delegate)
        self._meter = self._begin(language, keyterms)
        watch_attempts(self._inner, self)
        super().__init__(stt=owner, conn_options=dataclasses.replace(conn_options, max_retry=0))
        # nobody but the caller reads the events, so the base's tee is not needed
        self._event_aiter = self._event_ch

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Push audio to be recognized."""
        self._inner.push_frame(frame)
        self._meter.push(frame.duration)

    def flush(self) -> None:
        """Mark the end of the current segment."""
        self._inner.flush()

    def end_input(self) -> None:
        """Mark the end of input: no more audio will be pushed."""
        self._inner.end_input()
        self._input_ch.close()

    @property
    def start_time_offset(self) -> float:
        """Seconds to add to the times of transcripts."""
        return self._inner.start_time_offset

    @start_time_offset.setter
    def start_time_offset(self, value: float) -> None:
        self._inner.start_time_offset = value

    @property
    def start_time(self) -> float:
        """Unix time at which the stream's audio begins."""
        return self._inner.start_time

    @start_time.setter
    def start_time(self, value: float) -> None:
        self._inner.start_time = value

    @property
    def context(self) -> BaseModel | None:
        """What the plugin has learned about the speaker."""
        return self._inner.context

    @context.setter
    def context(self, value: BaseModel | None) -> None:
        self._inner.context = value

    async def aclose(self) -> None:
        """Close this stream immediately."""
        # ours first: the delegate's own monitor then reads its last events, as it would without us
        await super().aclose()
        await self._inner.aclose()
        self._finish("completed")

    def __getattr__(self, name: str) -> Any:
        # only what the plugin's stream has on top of LiveKit's
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def _run(self) -> None:
        send = self._event_ch.send_nowait
        try:
            async for event in self._inner:
                if event.alternatives:
                    self._meter.first_result()
                elif event.type == stt.SpeechEventType.RECOGNITION_USAGE:
                    self._count_tokens(event)
                send(event)
        except Exception as e:
            self._inner_error = e
            self._finish("failed", e)
            raise
        else:
            self._finish("completed")

    def attempt_began(self) -> None:
        """A connection to the provider begins: see `metering.attempts`."""
        self._meter.connected()

    def attempt_ended(self, error: BaseException | None) -> None:
        """The connection is over."""
        self._meter.disconnected()

    def respecified(self) -> None:
        """The model behind this stream may have changed: what follows gets a row of its own."""
        before, spec = self._meter.request, self._delegate.spec
        if (before.model, before.requested_model) == (
            self._delegate.model,
            spec.route.requested,
        ):
            return
        self._finish("completed")
        self._meter = self._begin(NOT_GIVEN, self._meter.keyterms, before.request_id)
        self._meter.connected()

    def _begin(
        self, language: NotGivenOr[str], keyterms: bool, request_id: str | None = None
    ) -> TranscriptionMeter:
        delegates, delegate = self._delegates, self._delegate
        request = delegates.request(delegate)
        if is_given(language):
            request = dataclasses.replace(request, variant=str(language))
        if request_id is not None:
            request = dataclasses.replace(request, request_id=request_id)
        meter = TranscriptionMeter(
            request, clock=delegates.gateway.clock, monotonic=delegates.gateway.monotonic
        )
        meter.keyterms = keyterms or bool(delegate.spec.extra.get("keyterm"))
        meter.unsent_seconds = self._unsent_seconds
        if delegate.metered:
            delegates.gateway.track(meter)
        return meter

    def _finish(
        self, status: Literal["completed", "failed"], error: BaseException | None = None
    ) -> None:
        if self._meter.status == "open":
            self._meter.audio_seconds -= self._unsent_seconds()
            self._meter.unsent_seconds = None
            self._meter.close(status, error)

    def _unsent_seconds(self) -> float:
        """Seconds of audio that wait in the delegate's queue: not sent, so not billed."""
        queue = self._inner._input_ch._queue
        try:
            return sum(item.duration for item in list(queue) if isinstance(item, rtc.AudioFrame))
        except RuntimeError:  # the loop has changed it meanwhile; the next reading will do
            return 0.0

    def _count_tokens(self, event: stt.SpeechEvent) -> None:
        usage = event.recognition_usage
        if usage is not None and (usage.input_tokens or usage.output_tokens):
            self._meter.report_tokens(usage.input_tokens, usage.output_tokens)

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[stt.SpeechEvent]) -> None:
        """The delegate's stream emits the metrics."""

    def _emit_error(self, api_error: Exception, recoverable: bool) -> None:
        if api_error is self._inner_error:
            return  # the delegate has emitted it, and it was passed on
        super()._emit_error(api_error, recoverable)
