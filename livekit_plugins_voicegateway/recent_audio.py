"""Recent audio: what a speech-to-text model may have to hear again when another takes over."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from livekit import rtc

__all__ = ["RecentAudio"]

LONGEST = 30.0
"""Seconds that are kept at most: whisper's window."""

UNANNOUNCED = 3.0
"""Seconds that are kept while nobody speaks: of speech that a delegate has not announced yet, or
announces now."""

AROUND_A_WORD = 0.15
"""Seconds before and after the end of the last final transcript in which the quietest moment is
looked for: providers place the end of a word no better. What is replayed begins there, so that the
last word is not heard again, nor the next one cut."""

MOMENT = 0.04
"""Seconds over which loudness is measured."""


class RecentAudio:
    """The audio of a stream that its delegate has not finished transcribing."""

    __slots__ = ("_begins", "_frames", "_heard", "_position")

    def __init__(self) -> None:
        # positions are seconds of audio since the first delegate's stream began
        self._frames: deque[tuple[float, rtc.AudioFrame]] = deque()
        self._position = 0.0
        self._begins = 0.0
        self._heard: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the present delegate's stream began."""
        return self._position - self._begins

    def push(self, frame: rtc.AudioFrame, seconds: float) -> None:
        """Audio of ``seconds`` was handed to the delegate."""
        self._frames.append((self._position, frame))
        self._position += seconds
        if self._position - self._frames[0][0] > LONGEST:
            self._frames.popleft()

    def heard_until(self, seconds: float) -> None:
        """A final transcript has come, of the delegate's audio until ``seconds``; 0 if that is not
        known."""
        self._heard = self._position
        if 0.0 < seconds <= self.seconds:
            self._heard = self._begins + seconds
        self._forget_before(self._heard - AROUND_A_WORD)

    def speech_begins(self) -> None:
        """If somebody speaks, then only now: the silence before need not be kept."""
        self._forget_before(self._position - UNANNOUNCED)

    def restart(self) -> list[rtc.AudioFrame]:
        """Another delegate's stream begins: the audio that it has to hear first."""
        self._cut_after_last_word()
        self._begins = self._frames[0][0] if self._frames else self._position
        self._heard = None
        return [frame for _, frame in self._frames]

    def _forget_before(self, position: float) -> None:
        while self._frames and self._frames[0][0] < position:
            self._frames.popleft()

    def _cut_after_last_word(self) -> None:
        heard = self._heard
        if heard is None or not self._frames or self._frames[0][0] > heard:
            return
        ends = heard + AROUND_A_WORD
        near = [(at, frame) for at, frame in self._frames if at < ends]
        if near:
            self._forget_before(_quietest_moment(near))


def _quietest_moment(frames: list[tuple[float, rtc.AudioFrame]]) -> float:
    """The middle of the quietest `MOMENT` of some frames, by their positions."""
    samples = np.concatenate([np.frombuffer(frame.data, np.int16) for _, frame in frames])
    begins, first = frames[0]
    per_second = first.sample_rate * first.num_channels
    length = min(len(samples), int(per_second * MOMENT))
    energy = np.cumsum(np.square(samples, dtype=np.float64))
    quietest = int((energy[length:] - energy[:-length]).argmin()) if length < len(samples) else 0
    return begins + (quietest + length / 2) / per_second
