"""Recent audio: what a speech-to-text model may have to hear again when another takes over."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livekit import rtc

__all__ = ["RecentAudio"]

LONGEST = 30.0
"""Seconds that are kept at most: whisper's window."""

ONSET = 0.3
"""Seconds kept before the end of the last final transcript, for a word that begins there: less
than a word takes, so that none is heard twice."""


class RecentAudio:
    """The audio of one delegate's stream that it has not finished transcribing.

    Positions are seconds of audio since the delegate's stream began.
    """

    __slots__ = ("_frames", "_position")

    def __init__(self) -> None:
        self._frames: deque[tuple[float, rtc.AudioFrame]] = deque()
        self._position = 0.0

    def push(self, frame: rtc.AudioFrame, seconds: float) -> None:
        """Audio of ``seconds`` was handed to the delegate."""
        self._frames.append((self._position, frame))
        self._position += seconds
        if self._position - self._frames[0][0] > LONGEST:
            self._frames.popleft()

    def heard_until(self, position: float) -> None:
        """A final transcript has come, of audio until ``position``."""
        if not 0.0 < position <= self._position:
            position = self._position
        while self._frames and self._frames[0][0] < position - ONSET:
            self._frames.popleft()

    def not_heard(self) -> list[rtc.AudioFrame]:
        """The audio that no final transcript has covered yet."""
        return [frame for _, frame in self._frames]

    def clear(self) -> None:
        """Forget everything: it was transcribed."""
        self._frames.clear()

    def begin(self) -> None:
        """Another delegate's stream begins, with the audio that is kept."""
        frames = [frame for _, frame in self._frames]
        self._frames.clear()
        self._position = 0.0
        for frame in frames:
            self._frames.append((self._position, frame))
            self._position += frame.duration
