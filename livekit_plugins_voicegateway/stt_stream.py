"""`RecognizeStream`: the stream of ``inference.STT``, and how another model takes over in it.

Audio goes from the caller straight to the delegate's stream, in the same call that the caller
makes, so that a frame costs one addition more than it does on the plugin itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import AsyncIterable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

from livekit.agents import stt
from livekit.agents.types import NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from livekit import rtc

from .accounts import Delegate
from .bugs import never_raises, report_bug
from .delegates import Delegates
from .log import logger
from .metering.attempts import unsent_seconds, watch
from .metering.meter import TranscriptionMeter, begin_meter
from .metering.usage import Quantities
from .recent_audio import RecentAudio
from .telemetry import start_transcription

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .metering.meter import Request
    from .signals import BudgetRefusal

__all__ = ["RecognizeStream", "uses_keyterms"]

ONE_SECOND = Quantities(audio_seconds=1.0, connection_seconds=1.0)
"""What a stream holds of its budget: its next second."""

REPLAY_AT_ONCE = 0.2
"""Seconds of audio that a new delegate is given to hear again before other tasks have their turn:
its stream may have to resample them."""

ANNOUNCED_WITHIN = 3
"""Seconds of audio in which a new delegate announces the speech that the old one announced, or
there was no more of it."""


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
        self._announces = False
        self._unannounced_seconds: int | None = None
        self._unpaid_seconds = 0.0
        self._pushed_seconds = 0.0
        self._opened_at = time.time()
        self._first_frame_at: float | None = None
        self._first_offset = 0.0
        self._offset = 0.0
        self._backlog: deque[rtc.AudioFrame] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        verdict, self._delegate = delegates.admit_now(self._chosen, ONE_SECOND)
        self._refused = verdict.refused
        # also where there is no budget now: the project may get one while this runs
        self._recent = _keep_recent_audio() if delegates.tracks(self._chosen) else None
        self._changed_over = False
        self._inner: stt.RecognizeStream | None = None
        self._meter = self._new_meter(delegates.request(self._delegate))
        self._meter.hold = verdict.hold
        self._span = start_transcription(self._meter.request)
        if self._refused is not None:
            delegates.reject(self._meter.request, self._refused, self._span)
        else:
            try:
                inner = self._new_stream(self._delegate)
            except BaseException:
                delegates.release(verdict.hold)
                self._end_span()
                raise
            self._open(self._delegate, inner)
        super().__init__(stt=owner, conn_options=dataclasses.replace(conn_options, max_retry=0))
        # nobody but the caller reads the events, so the base's tee is not needed
        self._event_aiter = self._event_ch

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Push audio to be recognized."""
        inner = self._inner
        if inner is None:
            return  # refused: the stream ends with the refusal
        duration = frame.duration
        if self._backlog:
            self._backlog.append(frame)
        else:
            inner.push_frame(frame)
            self._meter.push(duration)
        if self._recent is not None:
            try:
                self._pushed(frame, duration)
            except Exception as e:
                report_bug("get ready for another model to take over", e)

    def _pushed(self, frame: rtc.AudioFrame, duration: float) -> None:
        """Get ready for another model to take over; once a second, ask whether it has to."""
        if self._first_frame_at is None:
            self._first_frame_at = time.time() - duration
        self._pushed_seconds += duration
        self._unpaid_seconds += duration
        assert self._recent is not None
        self._recent.push(frame, duration)
        if self._unpaid_seconds >= 1.0:
            self._unpaid_seconds -= 1.0
            self._ask_for_next_second()

    def flush(self) -> None:
        """Mark the end of the current segment."""
        if self._inner is not None:
            self._replay_all()
            self._inner.flush()

    def end_input(self) -> None:
        """Mark the end of input: no more audio will be pushed."""
        if self._inner is not None:
            self._replay_all()
            self._inner.end_input()
        self._input_ch.close()

    @property
    def start_time_offset(self) -> float:
        """Seconds to add to the times of transcripts."""
        return self._inner.start_time_offset if self._inner is not None else self._first_offset

    @start_time_offset.setter
    def start_time_offset(self, value: float) -> None:
        if self._inner is not None:
            self._inner.start_time_offset = value
        self._first_offset = self._offset = value

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
        self._backlog.clear()
        if self._inner is not None:
            await self._inner.aclose()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._finish("completed")
        self._end_span()

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
                self._end_span()
                reason = self._delegates.reason(self._delegate, e)
                if reason is not e:
                    raise reason from e
                raise
            if inner is self._inner:
                self._finish("completed")
                self._end_span()
                return

    def _pass_on(self, event: stt.SpeechEvent) -> None:
        kind = event.type
        if kind == stt.SpeechEventType.RECOGNITION_USAGE:
            self._count_tokens(event)
        elif kind == stt.SpeechEventType.START_OF_SPEECH:
            self._announces = True
            self._unannounced_seconds = None
            if self._speaking and self._changed_over:
                return  # the old delegate has said so already
            self._speaking = True
        elif kind == stt.SpeechEventType.END_OF_SPEECH:
            self._speaking = False
            self._unannounced_seconds = None
        elif event.alternatives:
            self._meter.first_result()
        self._forget_what_was_heard(event)
        self._event_ch.send_nowait(event)
        if kind == stt.SpeechEventType.START_OF_SPEECH:
            self._go_back_if_paid()

    @never_raises("forget audio that was transcribed", None)
    def _forget_what_was_heard(self, event: stt.SpeechEvent) -> None:
        if self._recent is None:
            return
        if event.type == stt.SpeechEventType.START_OF_SPEECH:
            self._recent.speech_begins()
        elif event.type == stt.SpeechEventType.FINAL_TRANSCRIPT and event.alternatives:
            self._recent.heard_until(event.alternatives[0].end_time - self._offset)

    def _ask_for_next_second(self) -> None:
        """Once a second of audio: hold the next one, or change over when there is no money left
        for it, or when there is money again."""
        assert self._recent is not None
        if self._announces and not self._speaking:
            self._recent.speech_begins()
        if self._unannounced_seconds is not None:
            self._unannounced_seconds += 1
            if self._unannounced_seconds > ANNOUNCED_WITHIN:
                self._end_speech()
        if self._delegate is self._chosen:
            self._pay_for_next_second()
        elif not self._speaking:
            self._go_back_if_paid()

    def _end_speech(self) -> None:
        """Speech was over when this delegate took over, and the old one had not said so."""
        self._unannounced_seconds = None
        self._speaking = False
        if not self._event_ch.closed:
            self._event_ch.send_nowait(stt.SpeechEvent(stt.SpeechEventType.END_OF_SPEECH))

    def _pay_for_next_second(self) -> None:
        """Hold the stream's next second of the budget; swap or end when there is none left."""
        if self._refused is not None:
            return
        try:
            verdict, delegate = self._delegates.extend(self._chosen, self._meter.hold, ONE_SECOND)
            # where there is no next second, the meter keeps its hold and settles it as it ends
            if delegate is not self._chosen:
                self._swap(delegate)
            elif verdict.refused is not None:
                self._refuse(verdict.refused)
            elif verdict.hold is not None:
                self._meter.hold = verdict.hold
        except Exception as e:
            report_bug("change over to another model", e)

    def _go_back_if_paid(self) -> None:
        """Between two utterances, or at the very start of one, return to the chosen model when
        there is money again."""
        if self._delegate is self._chosen or self._input_ch.closed:
            return
        try:
            verdict, delegate = self._delegates.admit_now(self._chosen, ONE_SECOND)
            if delegate is self._chosen and verdict.refused is None:
                try:
                    self._swap(delegate)
                except Exception:
                    if verdict.hold is not None:
                        verdict.hold.release()
                    raise
                self._meter.hold = verdict.hold
        except Exception as e:
            report_bug("go back to the chosen model", e)

    def _swap(self, delegate: Delegate[stt.STT[Any]]) -> None:
        """Let ``delegate`` go on, in this very turn of the event loop: no audio comes between."""
        assert self._recent is not None
        self._changed_over = True
        inner = self._new_stream(delegate)  # first: if the plugin fails, all stays as it is
        old, request_id = self._inner, self._meter.request.request_id
        self._finish("completed")
        before, self._delegate = self._delegate, delegate
        self._meter = self._new_meter(
            dataclasses.replace(self._delegates.request(delegate), request_id=request_id)
        )
        self._open(delegate, inner)
        backlog = self._backlog = deque(self._recent.restart())
        self._offset = max(0.0, self._now() - self._recent.seconds)
        inner.start_time_offset = self._offset
        self._announces = False
        self._unannounced_seconds = 0 if self._speaking else None
        self._do(self._replay(inner, backlog))
        logger.info(
            "project %r: %s goes on with %s",
            delegate.project.id,
            before.spec.route.requested,
            delegate.spec.route.requested,
        )
        if old is not None:
            self._do(old.aclose())

    def _now(self) -> float:
        """Where this stream is, on the time line of its transcripts.

        LiveKit's are seconds by the clock, those of a provider seconds of audio; they differ where
        audio was not pushed in real time: muted for a while, or read from a file.
        """
        by_the_clock = time.time() - self._first_frame_at if self._first_frame_at else 0.0
        return self._first_offset + max(self._pushed_seconds, by_the_clock)

    async def _replay(self, inner: stt.RecognizeStream, backlog: deque[rtc.AudioFrame]) -> None:
        """Give the delegate to hear again what the old one has not finished, piece by piece; what
        is pushed meanwhile queues up behind."""
        try:
            while backlog and inner is self._inner:
                self._replay_piece()
                await asyncio.sleep(0)
        except RuntimeError:
            backlog.clear()  # the delegate has ended, and with it this stream

    def _replay_piece(self) -> None:
        assert self._inner is not None
        seconds = 0.0
        while self._backlog and seconds < REPLAY_AT_ONCE:
            frame = self._backlog.popleft()
            self._inner.push_frame(frame)
            self._meter.push(frame.duration)
            seconds += frame.duration

    def _replay_all(self) -> None:
        while self._backlog:
            self._replay_piece()

    def _refuse(self, refused: BudgetRefusal) -> None:
        """End the stream with a refusal."""
        self._refused = refused
        old, self._inner = self._inner, None
        if old is not None:
            self._do(old.aclose())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="voicegateway-swap")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _new_stream(self, delegate: Delegate[stt.STT[Any]]) -> stt.RecognizeStream:
        instance: stt.STT[Any] = delegate.instance
        if self._keyterms and delegate is not self._chosen and instance.capabilities.keyterms:
            # before there is a stream: some plugins connect anew for them, and lose audio
            instance._update_session_keyterms(list(self._keyterms))
        return instance.stream(
            language=NOT_GIVEN if delegate.stands_in else self._language,
            conn_options=self._delegate_options,
        )

    def _open(self, delegate: Delegate[stt.STT[Any]], inner: stt.RecognizeStream) -> None:
        self._delegates.serves(delegate)
        self._inner = inner
        meter = self._meter
        meter.unsent_seconds = lambda: unsent_seconds(inner)
        if delegate.metered:
            self._delegates.track(meter, self._span)
        watch(inner, _Connection(meter))

    @never_raises("begin a row for a stream whose price may have changed", None)
    def respecified(self) -> None:
        """What a price depends on may have changed: what follows gets a row of its own then."""
        before, chosen = self._meter, self._chosen
        if self._delegate is not chosen or not chosen.metered or before.status != "open":
            return
        if self._refused is not None:
            return
        meter = self._new_meter(
            dataclasses.replace(
                before.request,
                model=chosen.model,
                requested_model=chosen.spec.route.requested,
                variant=self._delegates.gateway.router.language(chosen.spec),
            )
        )
        if meter.request == before.request and meter.keyterms == before.keyterms:
            return
        inner = self._inner
        waiting = unsent_seconds(inner) if inner is not None else 0.0
        self._finish("completed")
        self._meter = meter
        # one of its own: a hold is settled with what its one row costs
        self._meter.hold = self._delegates.untaken(chosen)
        if inner is not None:
            self._meter.push(waiting)  # it is sent from now on
            self._meter.unsent_seconds = lambda: unsent_seconds(inner)
        self._meter.connected()
        self._delegates.track(self._meter, self._span)

    def _new_meter(self, request: Request) -> TranscriptionMeter:
        if is_given(self._language):
            request = dataclasses.replace(request, variant=str(self._language))
        gateway, instance = self._delegates.gateway, self._delegate.instance

        def make() -> TranscriptionMeter:
            meter = TranscriptionMeter(request, clock=gateway.clock, monotonic=gateway.monotonic)
            meter.keyterms = uses_keyterms(instance, self._keyterms)
            return meter

        return begin_meter(make, request)

    def _finish(
        self, status: Literal["completed", "failed"], error: BaseException | None = None
    ) -> None:
        meter = self._meter
        if meter.status == "open":
            meter.settle()
            meter.disconnected()
            meter.close(status, error)

    def _end_span(self) -> None:
        if self._span is not None:
            self._span.end()

    @never_raises("count tokens", None)
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


def uses_keyterms(instance: stt.STT[Any], session_keyterms: list[str]) -> bool:
    """Whether a plugin sends keyterms, its own or the session's: Deepgram bills them on top."""
    # the user's, from wherever they came (plugins/deepgram/stt.py)
    own = getattr(getattr(instance, "_opts", None), "keyterm", None)
    return bool(own) or (bool(session_keyterms) and instance.capabilities.keyterms)


@never_raises("get ready for another model to take over", None)
def _keep_recent_audio() -> RecentAudio:
    return RecentAudio()


class _Connection:
    """Tells a meter when its delegate is connected: each attempt is a connection."""

    def __init__(self, meter: TranscriptionMeter) -> None:
        self._meter = meter

    def attempt_began(self) -> None:
        self._meter.connected()

    def attempt_ended(self, error: BaseException | None) -> None:
        self._meter.disconnected()

    def unwatched(self, fault: str) -> None:
        self._meter.fault = fault

    def miscounted(self, fault: str) -> None:
        self._meter.fault = fault
