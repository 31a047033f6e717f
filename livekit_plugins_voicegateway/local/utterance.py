"""One utterance while it is being spoken: its audio, its times, and what was heard of it so far."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from .whisper_engine import SAMPLE_RATE, Transcript

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Window = tuple[NDArray[np.int16], float]

__all__ = ["Utterance"]

_LONGEST: Final = 27.0
"""Seconds after which an utterance is cut: whisper hears 30 s at once."""

_CUT_WITHIN: Final = 5.0
"""Seconds at the end of a too long utterance in which the quietest moment is looked for."""


class Utterance:
    """Speech between two silences.

    Args:
        start: When speech began, in seconds since the stream's first sample.
        now: Where the stream is now, in the same seconds.
        before: Windows of audio from before the VAD was sure, each with its probability of speech.

    Attributes:
        start: See above.
        end: Its end, or how far it has come.
        ended_at: The end as unix time; None while it is spoken.
        answer: The transcription of all that there is of it.
        draft: The text of the last interim transcript.
        end_sent: Whether END_OF_SPEECH went out.
    """

    def __init__(self, start: float, now: float, before: Iterable[Window] = ()) -> None:
        self.start = start
        self.end = now
        self.ended_at: float | None = None
        self.answer: asyncio.Task[Transcript] | None = None
        self.draft = ""
        self.end_sent = False
        self._windows: list[Window] = list(before)
        self._seconds = sum(len(samples) for samples, _ in self._windows) / SAMPLE_RATE
        self._drafted = self._seconds

    @property
    def too_long(self) -> bool:
        """Whether it must be cut before whisper hears it."""
        return self._seconds > _LONGEST

    @property
    def new_speech(self) -> float:
        """Seconds spoken since the last draft."""
        return self._seconds - self._drafted

    def add(self, samples: NDArray[np.int16], probability: float) -> None:
        """Append one VAD window with its probability of speech."""
        self._windows.append((samples, probability))
        self._seconds += len(samples) / SAMPLE_RATE
        self.end += len(samples) / SAMPLE_RATE

    def mark_draft(self) -> None:
        """Remember that all there is so far is being transcribed."""
        self._drafted = self._seconds

    def close(self, end: float, ended_at: float) -> None:
        """Set its end: seconds of the stream, and unix time."""
        self.end = end
        self.ended_at = ended_at

    def audio(self) -> NDArray[np.float32]:
        """All of it, as whisper hears it."""
        samples = np.concatenate([samples for samples, _ in self._windows])
        return samples.astype(np.float32) / np.float32(32768)

    def tail(self, seconds: float) -> list[Window]:
        """Its last windows, for the beginning of what may follow at once."""
        count = 0
        length = 0.0
        while count < len(self._windows) and length < seconds:
            count += 1
            length += len(self._windows[-count][0]) / SAMPLE_RATE
        return self._windows[len(self._windows) - count :]

    def cut(self) -> Utterance:
        """End this utterance at its quietest recent moment; return the one that begins there."""
        place = len(self._windows)
        length = 0.0
        quietest = (2.0, place)
        while place > 1 and length < _CUT_WITHIN:
            place -= 1
            samples, probability = self._windows[place]
            length += len(samples) / SAMPLE_RATE
            quietest = min(quietest, (probability, place))
        rest = self._windows[quietest[1] :]
        del self._windows[quietest[1] :]
        following = Utterance(self.end, self.end, rest)
        following.start -= following._seconds
        following._drafted = 0.0
        self._seconds -= following._seconds
        self.end = following.start
        self.answer = None
        return following
