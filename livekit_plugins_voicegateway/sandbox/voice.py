"""The voice of the sandbox: a soft babble that follows the letters of a text.

Every character takes a fifteenth of a second. Vowels sound with their own formants, consonants
hum, blanks and punctuation are silent. The same text and voice always give the same samples, and
making a second of audio takes a fraction of a millisecond: each sound is computed once.
"""

from __future__ import annotations

import functools
import math
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["CHARACTERS_PER_SECOND", "Voice"]

CHARACTERS_PER_SECOND = 15
"""Pace of speech; English is spoken at about this pace."""

# First and second formant in Hz and loudness. Vowels after Peterson and Barney (1952).
_SOUNDS: dict[str, tuple[float, float, float]] = {
    "a": (730, 1090, 1.0),
    "e": (530, 1840, 0.9),
    "i": (300, 2290, 0.8),
    "o": (570, 840, 1.0),
    "u": (320, 870, 0.8),
    "y": (300, 2100, 0.6),
    "m": (250, 1000, 0.35),
    "n": (250, 1400, 0.35),
    "l": (360, 1300, 0.45),
    "r": (420, 1300, 0.45),
    "w": (300, 700, 0.45),
    "s": (300, 2600, 0.12),
    "t": (300, 2000, 0.1),
    "k": (300, 1700, 0.1),
    "p": (300, 900, 0.1),
}
_OTHER_LETTER = (350.0, 1500.0, 0.2)
_LOUDNESS = 0.25
_FORMANT_WIDTH = 110.0
_HIGHEST_HARMONIC = 3600.0


class Voice:
    """One of the sandbox's voices.

    Args:
        name: Any id; it decides the pitch, between 120 and 210 Hz.
        sample_rate: In Hz.
    """

    def __init__(self, name: str, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        # Whole multiples of the pace, so that one sound ends in the phase in which the next begins.
        self._pitch = 8 + zlib.crc32(name.encode()) % 6

    def speak(self, text: str) -> npt.NDArray[np.int16]:
        """Return the samples of ``text``: mono, ``len(text) / CHARACTERS_PER_SECOND`` seconds."""
        step = self.sample_rate / CHARACTERS_PER_SECOND
        length = round(len(text) * step)
        # Sounds overlap their neighbours by half a character, where each passes through zero.
        lead = round(step / 2)
        samples = np.zeros(length + math.ceil(2 * step), dtype=np.float32)
        pitch = self._pitch
        for number, character in enumerate(text.lower()):
            if character.isspace():
                # Each word is a little higher or lower than the one before: a melody.
                pitch = self._pitch + zlib.crc32(text[:number].encode()) % 3 - 1
            if character.isalnum():
                sound = _sound(character, pitch, self.sample_rate)
                begin = round(number * step)
                samples[begin : begin + len(sound)] += sound
        return (samples[lead : lead + length] * 32767).astype(np.int16)


@functools.lru_cache(maxsize=1024)
def _sound(character: str, pitch: int, sample_rate: int) -> npt.NDArray[np.float32]:
    """Return one letter's sound, two characters long and faded in and out, to be overlapped."""
    first, second, loudness = _SOUNDS.get(character, _OTHER_LETTER)
    length = math.floor(2 * sample_rate / CHARACTERS_PER_SECOND)
    time = np.arange(length) / sample_rate
    fundamental = pitch * CHARACTERS_PER_SECOND
    highest = min(_HIGHEST_HARMONIC, sample_rate / 2.2)
    sound = np.zeros(length)
    for harmonic in range(1, int(highest / fundamental) + 1):
        frequency = harmonic * fundamental
        strength = _resonance(frequency, first) + 0.5 * _resonance(frequency, second) + 0.02
        sound += strength / math.sqrt(harmonic) * np.sin(2 * np.pi * frequency * time)
    fade = np.hanning(length)
    sound *= _LOUDNESS * loudness * fade / np.abs(sound).max()
    return sound.astype(np.float32)


def _resonance(frequency: float, formant: float) -> float:
    return 1 / (1 + ((frequency - formant) / _FORMANT_WIDTH) ** 2)
