"""`RecognizeStream`: the stream of ``inference.STT``, and how another model takes over in it.

Audio goes from the caller straight to the delegate's stream, in the same call that the caller
makes, so that a frame costs one addition more than it does on the plugin itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Literal

from livekit.agents import stt
from livekit.agents.types import NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from livekit import rtc

from .delegates import Delegate, Delegates
from .log import logger
from .metering.attempts import watch_attempts
from .metering.meter import TranscriptionMeter
from .metering.usage import Quantities
from .recent_audio import RecentAudio

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .metering.meter import Request
    from .signals import BudgetRefusal

__all__ = ["RecognizeStream"]

ONE_SECOND = Quantities(audio_seconds=1.0, connection_seconds=1.0)
"""What a stream holds of its budget: its next second."""


class RecognizeStream(stt.RecognizeStream):
    """A transcription stream: the delegate's stream, metered on its way through.

    When the project's budget is spent while the stream runs, the local model takes over: it hears
    again what the cloud has not finished transcribing, and all that follows.
    """

    def __init__(
        self,
        owner: stt.STT[Any],
        delegates: Delegates[stt.STT[Any]],
        *,
        language: NotGivenOr[str],
        conn_options: APIConnectOptions,
        keyterms: list[str],
    ) -> None:
        self._delegates = delegates
        self._chosen = delegates.current()
        self._language = language
        self._delegate_options = conn_options
        self._keyterms = keyterms
        self._inner_error: BaseException | None = None
        self._speaking = False
        self._unpaid_seconds = 0.0
        self._opened_at = time.time()
        self._first_offset = 0.0
        self._closing: set[asyncio.Task[None]] = set()
        verdict, self._delegate = delegates.admit_now(self._chosen, ONE_SECOND)
        self._refused = verdict.refused
        self._budgeted = self._chosen.project.daily_budget is not None
        self._recent = RecentAudio() if self._budgeted else None
        self._inner: stt.RecognizeStream | None = None
        self._meter = self._new_meter(delegates.request(self._delegate))
        self._meter.hold = verdict.hold
        if self._refused is not None:
            delegates.gateway.reject(self._meter.request, self._refused)
        else:
            self._open(self._delegate)
        super().__init__(stt=owner, conn_options=dataclasses.replace(conn_options, max_retry=0))
        # nobody but the caller reads the events, so the base's tee is not needed
        self._event_aiter = self._event_ch

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Push audio to be recognized."""
        inner = self._inner
        if inner is None:
            return  # refused: the stream ends with the refusal
        inner.push_frame(frame)
        duration = frame.duration
        self._meter.push(duration)
        if self._recent is not None:
            self._recent.push(frame, duration)
            self._unpaid_seconds += duration
            if self._unpaid_seconds >= 1.0:
                self._unpaid_seconds -= 1.0
                self._pay_for_next_second()

    def flush(self) -> None:
        """Mark the end of the current segment."""
        if self._inner is not None:
            self._inner.flush()

    def end_input(self) -> None:
        """Mark the end of input: no more audio will be pushed."""
        if self._inner is not None:
            self._inner.end_input()
        self._input_ch.close()

    @property
    def start_time_offset(self) -> float:
        """Seconds to add to the times of transcripts."""
        return self._inner.start_time_offset if self._inner is not None else self._first_offset

    @start_time_offset.setter
    def start_time_offset(self, value: float) -> None:
        self._first_offset = value
        if self._inner is not None:
            self._inner.start_time_offset = value

    @property
    def start_time(self) -> float:
        """Unix time at which the stream's audio begins."""
        return self._inner.start_time if self._inner is not None else self._opened_at

    @start_time.setter
    def start_time(self, value: float) -> None:
        if self._inner is not None:
            self._inner.start_time = value

    @property
    def context(self) -> BaseModel | None:
        """What the plugin has learned about the speaker."""
        return self._inner.context if self._inner is not None else None

    @context.setter
    def context(self, value: BaseModel | None) -> None:
        if self._inner is not None:
            self._inner.context = value

    async def aclose(self) -> None:
        """Close this stream immediately."""
        # ours first: the delegate's own monitor then reads its last events, as it would without us
        await super().aclose()
        if self._inner is not None:
            await self._inner.aclose()
        if self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)
        self._finish("completed")

    def __getattr__(self, name: str) -> Any:
        # only what the plugin's stream has on top of LiveKit's
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def _run(self) -> None:
        while True:
            inner = self._inner
            try:
                if inner is None:
                    assert self._refused is not None
                    raise self._refused
                async for event in inner:
                    if inner is not self._inner:
                        break  # what the old delegate still says was said again by the new one
                    self._pass_on(event)
            except Exception as e:
                if inner is not self._inner:
                    continue
                if e is not self._refused:
                    self._inner_error = e
                self._finish("failed", e)
                raise
            if inner is self._inner:
                self._finish("completed")
                return

    def _pass_on(self, event: stt.SpeechEvent) -> None:
        kind = event.type
        if kind == stt.SpeechEventType.RECOGNITION_USAGE:
            self._count_tokens(event)
        elif kind == stt.SpeechEventType.START_OF_SPEECH:
            if self._speaking and self._recent is not None:
                return  # the old delegate has said so already
            self._speaking = True
        elif kind == stt.SpeechEventType.END_OF_SPEECH:
            self._speaking = False
        elif event.alternatives:
            self._meter.first_result()
            if self._recent is not None and kind == stt.SpeechEventType.FINAL_TRANSCRIPT:
                assert self._inner is not None
                self._recent.heard_until(
                    event.alternatives[0].end_time - self._inner.start_time_offset
                )
        self._event_ch.send_nowait(event)
        if kind == stt.SpeechEventType.END_OF_SPEECH:
            self._go_back_if_paid()

    def _pay_for_next_second(self) -> None:
        """Hold the stream's next second of the budget; swap or end when there is none left."""
        if self._delegate is not self._chosen or self._refused is not None:
            return
        try:
            verdict, delegate = self._delegates.extend(self._chosen, self._meter.hold, ONE_SECOND)
            self._meter.hold = verdict.hold
            if delegate is not self._chosen:
                self._swap(delegate, replay=True)
            elif verdict.refused is not None:
                self._refuse(verdict.refused)
        except Exception:
            logger.exception(
                "VoiceGateway could not ask a budget; the stream goes on. Please report this."
            )

    def _go_back_if_paid(self) -> None:
        """Between two utterances, return to the chosen model when there is money again."""
        if self._delegate is self._chosen or self._input_ch.closed:
            return
        try:
            verdict, delegate = self._delegates.admit_now(self._chosen, ONE_SECOND)
            if delegate is self._chosen and verdict.refused is None:
                self._swap(delegate, replay=False)
                self._meter.hold = verdict.hold
        except Exception:
            logger.exception("VoiceGateway could not go back to the chosen model")

    def _swap(self, delegate: Delegate[stt.STT[Any]], *, replay: bool) -> None:
        """Let ``delegate`` go on, in this very turn of the event loop: no audio comes between."""
        assert self._recent is not None
        old, request_id = self._inner, self._meter.request.request_id
        self._finish("completed")
        self._delegate = delegate
        frames = self._recent.not_heard() if replay else []
        if not replay:
            self._recent.clear()
        self._meter = self._new_meter(
            dataclasses.replace(self._delegates.request(delegate), request_id=request_id)
        )
        self._open(delegate)
        assert self._inner is not None
        replayed = sum(frame.duration for frame in frames)
        self._inner.start_time_offset = max(
            0.0, self._first_offset + (time.time() - self._opened_at) - replayed
        )
        self._recent.begin()
        for frame in frames:
            self._inner.push_frame(frame)
            self._meter.push(frame.duration)
        logger.info(
            "project %r: %s goes on with %s",
            delegate.project.id,
            self._chosen.spec.route.requested,
            delegate.spec.route.requested,
        )
        if old is not None:
            self._close(old)

    def _refuse(self, refused: BudgetRefusal) -> None:
        """End the stream with a refusal."""
        self._refused = refused
        old, self._inner = self._inner, None
        if old is not None:
            self._close(old)

    def _close(self, inner: stt.RecognizeStream) -> None:
        task = asyncio.create_task(inner.aclose(), name="voicegateway-close-delegate")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _open(self, delegate: Delegate[stt.STT[Any]]) -> None:
        inner = delegate.instance.stream(
            language=self._language if delegate.stands_in_for is None else NOT_GIVEN,
            conn_options=self._delegate_options,
        )
        instance = delegate.instance
        if self._keyterms and delegate is not self._chosen and instance.capabilities.keyterms:
            instance._update_session_keyterms(self._keyterms)
        self._delegates.serves(delegate)
        self._inner = inner
        meter = self._meter
        meter.unsent_seconds = lambda: unsent_seconds(inner)
        if delegate.metered:
            self._delegates.gateway.track(meter)
        watch_attempts(inner, _Connection(meter))

    def respecified(self) -> None:
        """The model behind this stream may have changed: what follows gets a row of its own."""
        before, spec = self._meter.request, self._chosen.spec
        if self._delegate is not self._chosen or (before.model, before.requested_model) == (
            self._chosen.model,
            spec.route.requested,
        ):
            return
        hold, inner = self._meter.hold, self._inner
        self._finish("completed")
        self._meter = self._new_meter(
            dataclasses.replace(self._delegates.request(self._chosen), request_id=before.request_id)
        )
        self._meter.hold = hold
        if inner is not None:
            self._meter.unsent_seconds = lambda: unsent_seconds(inner)
        self._meter.connected()
        self._delegates.gateway.track(self._meter)

    def _new_meter(self, request: Request) -> TranscriptionMeter:
        if is_given(self._language):
            request = dataclasses.replace(request, variant=str(self._language))
        gateway = self._delegates.gateway
        meter = TranscriptionMeter(request, clock=gateway.clock, monotonic=gateway.monotonic)
        meter.keyterms = bool(self._keyterms or self._delegate.spec.extra.get("keyterm"))
        return meter

    def _finish(
        self, status: Literal["completed", "failed"], error: BaseException | None = None
    ) -> None:
        meter = self._meter
        if meter.status == "open":
            if meter.unsent_seconds is not None:
                meter.audio_seconds -= meter.unsent_seconds()
                meter.unsent_seconds = None
            meter.disconnected()
            meter.close(status, error)

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


class _Connection:
    """Tells a meter when its delegate is connected: each attempt is a connection."""

    def __init__(self, meter: TranscriptionMeter) -> None:
        self._meter = meter

    def attempt_began(self) -> None:
        self._meter.connected()

    def attempt_ended(self, error: BaseException | None) -> None:
        self._meter.disconnected()


def unsent_seconds(stream: stt.RecognizeStream) -> float:
    """Seconds of audio that wait in a stream's queue: not sent, so not billed."""
    queue = stream._input_ch._queue
    try:
        return sum(item.duration for item in list(queue) if isinstance(item, rtc.AudioFrame))
    except RuntimeError:  # the loop has changed it meanwhile; the next reading will do
        return 0.0
