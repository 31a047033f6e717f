"""What Cartesia's two endpoints share: checking a request, counting and speaking its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .clips import Word
from .voice import CHARACTERS_PER_SECOND, Voice

__all__ = ["Chunk", "chunks", "count_characters", "problem_with"]

_CHUNK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of speech.

    Attributes:
        pcm: Its samples, 16 bits each.
        seconds: How long they last.
        end: Seconds of the context that are spoken when it ends.
        words: The words that begin in it, timed in seconds of the context.
    """

    pcm: bytes
    seconds: float
    end: float
    words: tuple[Word, ...]


def chunks(voice: Voice, text: str, offset: float) -> Iterator[Chunk]:
    """Speak a text in chunks of 100 ms.

    Args:
        voice: Who speaks.
        text: One transcript.
        offset: Seconds of the context that were spoken before it.
    """
    if not text.strip():
        return
    samples = voice.speak(text)
    words = [
        Word(
            match.group(),
            round(offset + match.start() / CHARACTERS_PER_SECOND, 3),
            round(offset + match.end() / CHARACTERS_PER_SECOND, 3),
        )
        for match in re.finditer(r"\S+", text)
    ]
    size = round(voice.sample_rate * _CHUNK_SECONDS)
    for begin in range(0, len(samples), size):
        piece = samples[begin : begin + size]
        end = offset + (begin + len(piece)) / voice.sample_rate
        beginning = tuple(word for word in words if word.start < end)
        del words[: len(beginning)]
        seconds = len(piece) / voice.sample_rate
        yield Chunk(piece.astype("<i2").tobytes(), seconds, end, beginning)


def count_characters(transcript: str) -> int:
    """Count a transcript as it is billed: one credit for each character.

    The blank at its end does not count: the plugin adds one to every sentence, and sends a lone
    one to end a context.
    """
    return len(transcript.removesuffix(" "))


def problem_with(body: object) -> str | None:
    """Return what is wrong with a request for speech, or None."""
    if not isinstance(body, dict):
        return "the request is not a JSON object"
    if not isinstance(body.get("transcript"), str):
        return "transcript: expected a string"
    if not body.get("model_id"):
        return "model_id: expected the id of a model"
    if not isinstance(body.get("voice"), dict):
        return "voice: expected an object"
    output = body.get("output_format")
    if not isinstance(output, dict):
        return "output_format: expected an object"
    if output.get("container") != "raw" or output.get("encoding") != "pcm_s16le":
        return "output_format: the sandbox speaks only container raw with encoding pcm_s16le"
    rate = output.get("sample_rate")
    if not isinstance(rate, int) or not 8000 <= rate <= 48000:
        return "output_format.sample_rate: expected 8000 to 48000"
    return None
