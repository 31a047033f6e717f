"""Recordings whose words are known, and how they are found again in other audio.

Audio is looked at in steps of 10 ms: how loud it is, and how its energy is spread over nine bands
between 150 and 3900 Hz. Where the bands of a stretch of 400 ms run as they do somewhere in a clip,
that stretch is that part of the clip. The likeness does not depend on volume, sample rate or where
the stream was cut into frames, and it survives resampling and a telephone line. Loss of audio is
therefore seen: a word whose middle was never received is not found.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["STEPS_PER_SECOND", "WINDOW", "Clip", "Match", "Word", "find", "spread"]

Samples = npt.NDArray[np.float32]
Bands = npt.NDArray[np.float32]

STEPS_PER_SECOND = 100
WINDOW = 40
"""Steps that are compared at a time: 400 ms."""

SPEECH_LEVEL = 0.01
"""Root mean square above which a step counts as speech: -40 dBFS."""

_BAND_EDGES = (150, 300, 450, 650, 900, 1200, 1600, 2200, 3000, 3900)
_FLOOR_DB = -60.0


class Word(NamedTuple):
    """A word and when it is said, in seconds."""

    text: str
    start: float
    end: float


class Match(NamedTuple):
    """Where audio was found: it ends just before step ``end`` of ``clip``."""

    clip: Clip
    end: int
    likeness: float


class Steps:
    """Cuts a stream of samples into steps of 10 ms, each with the next 10 ms, and measures them.

    Args:
        sample_rate: In Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._step = sample_rate // STEPS_PER_SECOND
        self._window = 2 * self._step
        self._fade = np.hanning(self._window).astype(np.float32)
        frequencies = np.fft.rfftfreq(self._window, 1 / sample_rate)
        self._edges = np.searchsorted(frequencies, _BAND_EDGES)
        self._rest = np.zeros(0, dtype=np.float32)

    def cut(self, samples: Samples) -> tuple[npt.NDArray[np.bool_], Samples]:
        """Take the next samples; return for each new step if it is speech, and its samples."""
        audio = np.concatenate([self._rest, samples])
        count = max(0, (len(audio) - self._window) // self._step + 1)
        self._rest = audio[count * self._step :]
        if count == 0:
            return np.zeros(0, dtype=np.bool_), np.zeros((0, self._window), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(audio, self._window)
        windows = windows[:: self._step][:count]
        power = (windows[:, : self._step] ** 2).mean(axis=1)
        return power > SPEECH_LEVEL**2, windows

    def bands(self, windows: Samples) -> Bands:
        """Return the energy of steps in each band, in dB."""
        power = np.abs(np.fft.rfft(windows * self._fade, axis=1)) ** 2 / self._window**2
        energy = np.add.reduceat(power, self._edges, axis=1)[:, :-1]
        decibels: npt.NDArray[np.float64] = np.maximum(10 * np.log10(energy + 1e-12), _FLOOR_DB)
        return decibels.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A recording with its transcript. Made by `from_samples` or `from_wav`.

    Attributes:
        text: What is said.
        words: The words and when they are said, in steps of the clip.
        bands: Energy of each step in each band, in dB, less the clip's mean of that band.
        mean: That mean.
    """

    text: str
    words: tuple[Word, ...]
    bands: Bands = field(repr=False)
    mean: Bands = field(repr=False)

    @classmethod
    def from_samples(cls, samples: Samples, sample_rate: int, text: str) -> Clip:
        """Make a clip of mono samples between -1 and 1.

        Raises:
            ValueError: No step of it is loud enough to be speech, or it has no words.
        """
        silence = np.zeros(sample_rate * WINDOW // STEPS_PER_SECOND, dtype=np.float32)
        steps = Steps(sample_rate)
        speech, windows = steps.cut(np.concatenate([silence, samples, silence]))
        bands = steps.bands(windows)
        if not speech.any():
            raise ValueError(f"the clip of {text!r} is silent: nothing in it is above -40 dBFS")
        if not text.split():
            raise ValueError("a clip needs the text that is said in it")
        mean = bands.mean(axis=0)
        return cls(text, spread(text, np.flatnonzero(speech)), bands - mean, mean)

    @classmethod
    def from_wav(cls, path: Path, text: str) -> Clip:
        """Make a clip of a WAV file of 16 bits; of several channels the mean is taken."""
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise ValueError(
                    f"{path}: expected 16 bits a sample, not {8 * file.getsampwidth()}"
                )
            samples = pcm_to_samples(file.readframes(file.getnframes()), file.getnchannels())
            return cls.from_samples(samples, file.getframerate(), text)

    def likeness(self, bands: Bands) -> npt.NDArray[np.float64]:
        """Return how alike ``bands`` is to each stretch of the clip of the same length, up to 1."""
        length = len(bands)
        if len(self.bands) < length:
            return np.zeros(0)
        sought = bands - self.mean
        sought = sought - sought.mean()
        product = np.zeros(len(self.bands) - length + 1)
        for band in range(sought.shape[1]):
            product += np.correlate(self.bands[:, band], sought[:, band])
        total = _running_sum(self.bands.sum(axis=1), length)
        squares = _running_sum((self.bands**2).sum(axis=1), length)
        variance = np.maximum(squares - total**2 / sought.size, 1e-3)
        scale = np.sqrt(variance) * np.sqrt((sought**2).sum() + 1e-3)
        likeness: npt.NDArray[np.float64] = product / scale
        return likeness


def find(clips: Sequence[Clip], bands: Bands) -> Match | None:
    """Return the place in ``clips`` that is most like ``bands``; None when all are too short."""
    best: Match | None = None
    for clip in clips:
        likeness = clip.likeness(bands)
        if len(likeness) == 0:
            continue
        begin = int(likeness.argmax())
        if best is None or likeness[begin] > best.likeness:
            best = Match(clip, begin + len(bands), float(likeness[begin]))
    return best


def spread(text: str, steps: Sequence[int] | npt.NDArray[np.intp]) -> tuple[Word, ...]:
    """Give each word of ``text`` its share of ``steps`` (numbers of steps), by its letters."""
    words = text.split()
    total = sum(map(len, words))
    timed, before = [], 0
    for word in words:
        begin = before * len(steps) // total
        before += len(word)
        end = max(begin, before * len(steps) // total - 1)
        timed.append(Word(word, float(steps[begin]), float(steps[end]) + 1))
    return tuple(timed)


def pcm_to_samples(pcm: bytes, channels: int) -> Samples:
    """Turn interleaved 16-bit samples into mono samples between -1 and 1."""
    samples = np.frombuffer(pcm, dtype="<i2").reshape(-1, channels)
    mono: Samples = samples.mean(axis=1, dtype=np.float32) / 32768
    return mono


def _running_sum(values: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float64]:
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, dtype=np.float64, out=sums[1:])
    return sums[length:] - sums[: len(sums) - length]
