"""`WhisperStream`: whisper, which hears whole utterances, as a LiveKit STT stream.

A VAD finds the utterances, whisper transcribes them in a task of its own, in order. It differs
from LiveKit's ``stt.StreamAdapter`` in what a call needs of it: times are those of the stream, the
end of the input loses no words, a slow whisper delays no start of speech, and a pause is
transcribed before it is long enough to end the utterance.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from livekit.agents import APIConnectOptions, APIError, LanguageCode, stt, utils
from livekit.agents.vad import VAD, VADEvent, VADEventType, VADStream

from livekit import rtc

from ..log import logger
from .utterance import Utterance
from .whisper_engine import SAMPLE_RATE, Transcript

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .whisper import Recognizer, WhisperSTT

__all__ = ["WhisperStream"]

ResultT = TypeVar("ResultT")

_BEFORE_SPEECH: Final = 0.3
"""Seconds kept from before the VAD noticed speech, so that no first consonant is cut."""

_DRAFT_AFTER_SILENCE: Final = 0.1
"""Seconds of silence after which an utterance is transcribed on the chance that it was all."""

_DRAFT_EVERY: Final = 0.6
"""Seconds of new speech between two interim transcripts."""

_CLOSING_SILENCE: Final = 1.0
"""Seconds of silence pushed after the last audio: VADs drop speech that no silence ends."""

_USAGE_EVERY: Final = 5.0


class WhisperStream(stt.RecognizeStream):
    """One stream of speech. Made by `WhisperSTT.stream`.

    Events of an utterance: START_OF_SPEECH, INTERIM_TRANSCRIPT (with ``drafts``), FINAL_TRANSCRIPT,
    END_OF_SPEECH. Should the caller speak again before whisper is done, END_OF_SPEECH comes first
    and the final transcript follows it. RECOGNITION_USAGE counts the audio that was pushed.

    `flush` marks nothing: an utterance ends with its silence or with the input.
    """

    def __init__(
        self,
        *,
        stt: WhisperSTT,
        recognizer: Recognizer,
        vad: VAD,
        language: LanguageCode | None,
        drafts: bool,
        conn_options: APIConnectOptions,
    ) -> None:
        super().__init__(stt=stt, conn_options=conn_options, sample_rate=SAMPLE_RATE)
        self._whisper = stt
        self._recognizer = recognizer
        self._vad = vad
        self._language = language
        self._drafts = drafts
        self._pushed = 0.0
        self._reported = 0.0
        self._heard: deque[tuple[NDArray[np.int16], float]] = deque()
        self._position = 0.0
        self._current: Utterance | None = None
        self._unfinished: deque[Utterance] = deque()
        self._hearing: set[asyncio.Task[Any]] = set()

    async def _run(self) -> None:
        detector = self._vad.stream()
        done = utils.aio.Chan[Utterance]()
        tasks = [
            asyncio.create_task(self._forward(detector), name="WhisperStream.forward"),
            asyncio.create_task(self._detect(detector, done), name="WhisperStream.detect"),
            asyncio.create_task(self._finish(done), name="WhisperStream.finish"),
            asyncio.create_task(self._recognizer.ready(), name="WhisperStream.ready"),
        ]
        try:
            await asyncio.gather(*tasks)
            self._report_usage()
        finally:
            await utils.aio.cancel_and_wait(*tasks, *self._hearing)
            await detector.aclose()

    async def _forward(self, detector: VADStream) -> None:
        async for item in self._input_ch:
            if not isinstance(item, rtc.AudioFrame):
                continue
            frame = _mono(item)
            self._pushed += frame.duration
            detector.push_frame(frame)
            if self._pushed - self._reported >= _USAGE_EVERY:
                self._report_usage()
        samples = int(_CLOSING_SILENCE * SAMPLE_RATE)
        detector.push_frame(rtc.AudioFrame(bytes(2 * samples), SAMPLE_RATE, 1, samples))
        detector.end_input()

    async def _detect(self, detector: VADStream, done: utils.aio.Chan[Utterance]) -> None:
        async for event in detector:
            if event.type == VADEventType.INFERENCE_DONE:
                self._on_window(event, done)
            elif event.type == VADEventType.START_OF_SPEECH:
                self._on_start(event)
            elif event.type == VADEventType.END_OF_SPEECH and self._current:
                self._on_end(self._position - event.silence_duration, done)
        if self._current:
            self._on_end(self._position, done)
        done.close()

    def _on_window(self, event: VADEvent, done: utils.aio.Chan[Utterance]) -> None:
        """Keep the audio of one VAD window (32 ms), and see whether a draft is due."""
        for frame in event.frames:
            samples = np.asarray(frame.data, dtype=np.int16)
            self._position += len(samples) / SAMPLE_RATE
            if self._current:
                self._current.add(samples, event.probability)
            else:
                self._heard.append((samples, event.probability))
        while self._heard and _seconds(self._heard) > _BEFORE_SPEECH:
            self._heard.popleft()
        utterance = self._current
        if utterance is None:
            return
        if utterance.too_long:
            self._current = utterance.cut()
            self._transcribe(utterance)
            done.send_nowait(utterance)
        elif self._drafts:
            self._consider_draft(utterance, event.raw_accumulated_silence)

    def _on_start(self, event: VADEvent) -> None:
        for earlier in self._unfinished:
            self._end(earlier)
        onset = self._position - event.speech_duration
        self._current = Utterance(onset, self._position, self._heard)
        self._heard.clear()
        self._send(stt.SpeechEventType.START_OF_SPEECH, speech_start_time=self._wall_clock(onset))

    def _on_end(self, end: float, done: utils.aio.Chan[Utterance]) -> None:
        utterance = self._current
        assert utterance is not None
        self._current = None
        self._heard.extend(utterance.tail(_BEFORE_SPEECH))
        utterance.close(end, self._wall_clock(end))
        self._unfinished.append(utterance)
        if utterance.answer is None:
            self._transcribe(utterance)
        done.send_nowait(utterance)

    async def _finish(self, done: utils.aio.Chan[Utterance]) -> None:
        """Send what was heard, in the order in which it was said."""
        async for utterance in done:
            assert utterance.answer is not None
            try:
                heard = await utterance.answer
            except APIError as error:
                logger.warning("%s: an utterance was not transcribed: %s", self._stt.label, error)
                self._emit_error(error, recoverable=True)
            else:
                if heard.text:
                    self._send(
                        stt.SpeechEventType.FINAL_TRANSCRIPT,
                        alternatives=[self._speech_data(utterance, heard)],
                        speech_end_time=utterance.ended_at,
                    )
            if utterance in self._unfinished:
                self._end(utterance)
                self._unfinished.remove(utterance)
            self._report_usage()

    def _end(self, utterance: Utterance) -> None:
        if not utterance.end_sent:
            utterance.end_sent = True
            self._send(stt.SpeechEventType.END_OF_SPEECH, speech_end_time=utterance.ended_at)

    def _transcribe(self, utterance: Utterance) -> asyncio.Task[Transcript]:
        utterance.answer = self._hear(utterance, draft=False)
        return utterance.answer

    def _hear(self, utterance: Utterance, *, draft: bool) -> asyncio.Task[Transcript]:
        question = self._whisper.question(self._language, draft=draft)
        hearing = self._recognizer.hear(utterance.audio(), question, self._conn_options)
        return self._keep(asyncio.create_task(hearing, name="WhisperStream.hear"))

    def _keep(self, task: asyncio.Task[ResultT]) -> asyncio.Task[ResultT]:
        """Hold a task until it is done. Its exception, if nobody awaits it, is of no interest."""
        self._hearing.add(task)
        task.add_done_callback(self._hearing.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _consider_draft(self, utterance: Utterance, silence: float) -> None:
        """Transcribe early: at a short silence, which may be the end, and while speech goes on."""
        if silence < _DRAFT_AFTER_SILENCE:
            # Speech went on: what was transcribed at the pause before is not the whole.
            utterance.answer = None
        if not self._recognizer.idle or not self._recognizer.loaded:
            return
        if silence >= _DRAFT_AFTER_SILENCE:
            if utterance.answer is None:
                self._follow(utterance, self._transcribe(utterance))
        elif utterance.new_speech >= _DRAFT_EVERY:
            self._follow(utterance, self._hear(utterance, draft=True))

    def _follow(self, utterance: Utterance, answer: asyncio.Task[Transcript]) -> None:
        utterance.mark_draft()

        async def send_interim() -> None:
            heard = await answer
            if heard.text and heard.text != utterance.draft and utterance is self._current:
                utterance.draft = heard.text
                self._send(
                    stt.SpeechEventType.INTERIM_TRANSCRIPT,
                    alternatives=[self._speech_data(utterance, heard)],
                )

        self._keep(asyncio.create_task(send_interim(), name="WhisperStream.interim"))

    def _speech_data(self, utterance: Utterance, heard: Transcript) -> stt.SpeechData:
        return stt.SpeechData(
            language=LanguageCode(heard.language),
            text=heard.text,
            start_time=self.start_time_offset + utterance.start,
            end_time=self.start_time_offset + utterance.end,
            confidence=heard.confidence,
        )

    def _send(
        self,
        kind: stt.SpeechEventType,
        *,
        alternatives: list[stt.SpeechData] | None = None,
        speech_start_time: float | None = None,
        speech_end_time: float | None = None,
    ) -> None:
        self._event_ch.send_nowait(
            stt.SpeechEvent(
                type=kind,
                alternatives=alternatives or [],
                speech_start_time=speech_start_time,
                speech_end_time=speech_end_time,
            )
        )

    def _report_usage(self) -> None:
        if self._pushed > self._reported:
            usage = stt.RecognitionUsage(audio_duration=self._pushed - self._reported)
            self._reported = self._pushed
            self._event_ch.send_nowait(
                stt.SpeechEvent(stt.SpeechEventType.RECOGNITION_USAGE, recognition_usage=usage)
            )

    def _wall_clock(self, position: float) -> float:
        """When a place of the stream was spoken: what was pushed last is spoken now."""
        return time.time() - max(0.0, self._pushed - position)


def _mono(frame: rtc.AudioFrame) -> rtc.AudioFrame:
    if frame.num_channels == 1:
        return frame
    samples = np.asarray(frame.data, dtype=np.int16).reshape(-1, frame.num_channels)
    mixed = samples.mean(axis=1).astype(np.int16)
    return rtc.AudioFrame(mixed.tobytes(), frame.sample_rate, 1, len(mixed))


def _seconds(windows: deque[tuple[NDArray[np.int16], float]]) -> float:
    return sum(len(samples) for samples, _ in windows) / SAMPLE_RATE
