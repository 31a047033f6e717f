"""`ChunkedStream` and `SynthesizeStream`: the streams of ``inference.TTS``.

The delegate's audio is passed on frame by frame as it comes, with its timed transcripts and its
markers, not through a second ``AudioEmitter``: the session hears what it would hear from the
plugin itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from livekit.agents import tts
from livekit.agents.telemetry import trace_types
from livekit.agents.types import APIConnectOptions
from opentelemetry import trace

from livekit import rtc

from .bugs import never_raises
from .delegates import Delegates
from .metering.attempts import may_be_billed, unwatch, watch
from .metering.meter import SpeechMeter, begin_meter
from .metering.usage import Quantities
from .telemetry import RequestSpan, name_payer, watch_request

if TYPE_CHECKING:
    from livekit.agents.tts.tts import AudioEmitter, SynthesizedAudio

__all__ = ["ChunkedStream", "SynthesizeStream"]

S = TypeVar("S")

USUAL_CHARACTERS = 120
"""Characters that a synthesis holds of its budget before its text is known: a long sentence."""


class _Attempts:
    """Keeps one row for each attempt of a synthesis that may be billed."""

    def __init__(self, delegates: Delegates[tts.TTS[Any]], *, text: str | None) -> None:
        self.characters = 0
        self.meter: SpeechMeter | None = None
        self._span: RequestSpan | None = None
        self.delegates = delegates
        self._whole_text = text is not None
        chosen = delegates.current()
        characters = len(text) if text is not None else USUAL_CHARACTERS
        verdict, self.delegate = delegates.admit_now(chosen, Quantities(characters=characters))
        self._hold = verdict.hold
        self._request = delegates.request(self.delegate)
        self.refused = verdict.refused
        if self.refused is not None:
            delegates.reject(self._request, self.refused)
        else:
            delegates.serves(self.delegate)

    def make(self, make: Callable[[tts.TTS[Any]], S]) -> S:
        """Make the delegate's stream, and let go of what is held when the plugin will not."""
        try:
            return make(self.delegate.instance)
        except BaseException as e:
            self.finish("failed", None, e)
            raise

    @never_raises("count text", None)
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
            gateway = self.delegates.gateway
            first = self.meter is None
            self.meter = begin_meter(
                lambda: SpeechMeter(
                    self._request, clock=gateway.clock, monotonic=gateway.monotonic
                ),
                self._request,
            )
            self.meter.hold = self._hold if first else self.delegates.untaken(self.delegate)
            self._hold = None
            self.delegates.track(self.meter, self._span)
        self.meter.characters = self.characters
        self.meter.sent = self._whole_text

    def attempt_ended(self, error: BaseException | None) -> None:
        """A failed attempt that was billed keeps its own row; one that was not is forgotten."""
        meter = self.meter
        if meter is None or error is None or isinstance(error, asyncio.CancelledError):
            return
        if meter.audio_seconds or (meter.sent and may_be_billed(meter, error)):
            meter.close("failed", error)
        else:
            meter.sent = False

    def unwatched(self, fault: str) -> None:
        """It counts as one attempt, and its row says that it may have been more."""
        self._request = dataclasses.replace(self._request, fault=fault)
        self.attempt_began()

    def miscounted(self, fault: str) -> None:
        """The row says that it may have been more."""
        if self.meter is not None:
            self.meter.fault = fault

    @never_raises("trace a synthesis", None)
    def traced(self, span: trace.Span, caller_span: trace.Span) -> trace.Span | None:
        """The span of the synthesis begins; what LiveKit is to end in its place, if anything.

        An attempt may have begun by then, as the delegate's stream is made first.
        """
        name_payer(caller_span, self._request)
        self._span = watch_request(span, self._request)
        if self._span is None:
            return None
        if self.refused is not None:
            self._span.refused()
        elif self.meter is not None and self.meter.status == "open":
            self.delegates.trace(self.meter, self._span)
        return cast("trace.Span", self._span)

    @never_raises("end the metering of a synthesis", None)
    def finish(
        self,
        status: Literal["completed", "cancelled", "failed"],
        inner: tts.ChunkedStream | tts.SynthesizeStream | None,
        error: BaseException | None = None,
    ) -> None:
        """The synthesis is over."""
        self.delegates.release(self._hold)  # it was admitted, and no attempt began
        self._hold = None
        if self.meter is not None and self.meter.status == "open":
            if inner is not None:
                self.meter.report_tokens(inner._input_tokens, inner._output_tokens)
            self.meter.close(status, error)

    def audio(self, event: SynthesizedAudio) -> None:
        """Audio came back."""
        if self.meter is not None:
            self.meter.audio(event.frame.duration)


async def _pass_on(
    stream: ChunkedStream | SynthesizeStream,
    inner: tts.ChunkedStream | tts.SynthesizeStream | None,
    attempts: _Attempts,
    caller_span: trace.Span,
) -> None:
    """Pass the delegate's audio on until it ends, and end the row.

    Raises:
        BudgetRefusal: The budget is spent, and nothing may serve.
    """
    span = trace.get_current_span()
    span = stream._tts_request_span = attempts.traced(span, caller_span) or span
    if inner is None:
        assert attempts.refused is not None
        stream._emit_error(attempts.refused, recoverable=False)
        raise attempts.refused
    span.set_attribute(trace_types.ATTR_TTS_LABEL, stream._tts.label)
    send = stream._event_ch.send_nowait
    resampled = _Resampled(attempts.delegate.instance.sample_rate, stream._tts.sample_rate)
    try:
        async for event in inner:
            if resampled.needed:
                for part in resampled.push(event):
                    send(part)
            else:
                send(event)
    except asyncio.CancelledError:
        attempts.finish("cancelled", inner)
        raise
    except Exception as e:
        # the delegate has emitted the error, and it was passed on
        attempts.finish("failed", inner, e)
        # a budget, when that refused all models of an adapter
        reason = attempts.delegates.reason(attempts.delegate, e)
        if reason is not e:
            raise reason from e
        raise
    attempts.finish("completed", inner)
    instance = attempts.delegate.instance
    served: dict[str, Any] = {trace_types.ATTR_GEN_AI_RESPONSE_MODEL: instance.model}
    if provider := trace_types.gen_ai_provider_name(instance.provider):
        served[trace_types.ATTR_GEN_AI_PROVIDER_NAME] = provider
    span.set_attributes(served)
    caller_span.set_attributes(served)


class _Resampled:
    """Brings the local fallback's audio to the rate that the session began with.

    A session builds its own resampler from the first frame only (voice/generation.py).
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.needed = from_rate != to_rate
        self._resampler = rtc.AudioResampler(from_rate, to_rate) if self.needed else None

    def push(self, event: SynthesizedAudio) -> list[SynthesizedAudio]:
        """The audio of ``event`` at the other rate; all of it with the last event."""
        assert self._resampler is not None
        frames = self._resampler.push(event.frame)
        if event.is_final:
            frames += self._resampler.flush()
        events = [
            dataclasses.replace(event, frame=frame, is_final=False, delta_text="")
            for frame in frames
        ]
        if events:
            events[0].frame.userdata.update(event.frame.userdata)
            events[0].delta_text = event.delta_text
            events[-1].is_final = event.is_final
        return events


class ChunkedStream(tts.ChunkedStream):
    """A synthesis of a whole text: the delegate's stream, metered on its way through."""

    _tts_request_span_name: ClassVar[str] = "voicegateway_tts"
    # the delegate's own request span, made before ours and beside it, has the attempts
    _tts_attempt_span_name: ClassVar[str | None] = None

    def __init__(
        self,
        owner: tts.TTS[Any],
        delegates: Delegates[tts.TTS[Any]],
        text: str,
        conn_options: APIConnectOptions,
    ) -> None:
        self._attempts = _Attempts(delegates, text=text)
        self._caller_span = trace.get_current_span()
        self._inner: tts.ChunkedStream | None = None
        if self._attempts.refused is None:
            self._inner = self._attempts.make(
                lambda instance: instance.synthesize(text, conn_options=conn_options)
            )
            self._attempts.push(text)
            watch(self._inner, self._attempts, self._attempts.audio)
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
        if self._inner is not None:
            await self._inner.aclose()
            unwatch(self._inner)
        self._attempts.finish("cancelled", self._inner)


class SynthesizeStream(tts.SynthesizeStream):
    """A synthesis of text as it comes: the delegate's stream, metered on its way through."""

    _tts_request_span_name: ClassVar[str] = "voicegateway_tts"
    # the delegate's own request span, made before ours and beside it, has the attempts
    _tts_attempt_span_name: ClassVar[str | None] = None

    def __init__(
        self,
        owner: tts.TTS[Any],
        delegates: Delegates[tts.TTS[Any]],
        conn_options: APIConnectOptions,
    ) -> None:
        self._attempts = _Attempts(delegates, text=None)
        self._caller_span = trace.get_current_span()
        self._inner: tts.SynthesizeStream | None = None
        if self._attempts.refused is None:
            # made here and not in the task: plugins read TTS._expressive in the constructor, and
            # the session sets it right before it calls stream() (voice/agent.py)
            self._inner = self._attempts.make(
                lambda instance: instance.stream(conn_options=conn_options)
            )
            self._watch_text_sent(self._inner)
            watch(self._inner, self._attempts, self._attempts.audio)
        super().__init__(tts=owner, conn_options=dataclasses.replace(conn_options, max_retry=0))
        # nobody but the caller reads the events, so the base's tee is not needed
        self._event_aiter = self._event_ch

    def push_text(self, token: str) -> None:
        """Push some text to be spoken."""
        if not token or self._input_ch.closed:
            return
        self._pushed_text += token
        if self._inner is not None:
            taken = len(self._inner._input_buffer)
            self._inner.push_text(token)
            if len(self._inner._input_buffer) > taken:  # it drops what follows a flush
                self._attempts.push(token)

    def flush(self) -> None:
        """Mark the end of the current segment."""
        if self._inner is not None:
            self._inner.flush()

    def end_input(self) -> None:
        """Mark the end of the text."""
        if self._inner is not None:
            self._inner.end_input()
        self._input_ch.close()

    @property
    def _started_time(self) -> float:
        # read by tts.FallbackAdapter, and put on each frame for the session's metrics
        return self._inner._started_time if self._inner is not None else 0.0

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
        if self._inner is not None:
            await self._inner.aclose()
            unwatch(self._inner)
            vars(self._inner).pop("_mark_started", None)
        self._attempts.finish("cancelled", self._inner)

    def _watch_text_sent(self, inner: tts.SynthesizeStream) -> None:
        # plugins call it with every piece of text they send (tts/tts.py, for their metrics)
        mark_started = inner._mark_started

        sent = never_raises("note that text was sent", None)(self._attempts.sent)

        def marked() -> None:
            sent()
            mark_started()

        inner._mark_started = marked  # type: ignore[method-assign]
