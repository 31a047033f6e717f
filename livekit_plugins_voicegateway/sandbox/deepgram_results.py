"""How Deepgram writes down what was heard, in live and in pre-recorded answers."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from .clips import Word

__all__ = ["alternative", "model_info"]

_CONFIDENCE = 0.99


def alternative(words: Sequence[Word], options: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return one of the ``alternatives`` of a transcript.

    Args:
        words: What was heard.
        options: The query of the request; ``punctuate``, ``smart_format``, ``diarize`` and
            ``language=multi`` have an effect.
    """
    formatted = _is_on(options, "punctuate") or _is_on(options, "smart_format")
    answer: dict[str, Any] = {
        "transcript": " ".join(word.text if formatted else _plain(word.text) for word in words),
        "confidence": _CONFIDENCE if words else 0.0,
        "words": [_word(word, formatted, _is_on(options, "diarize")) for word in words],
    }
    if options.get("language") == ["multi"] and words:
        answer["languages"] = ["en"]
    return answer


def model_info(model: str) -> dict[str, str]:
    """Return what Deepgram says of a model in its metadata."""
    return {"name": model, "version": "sandbox", "arch": model.partition("-")[0]}


def _word(word: Word, formatted: bool, diarize: bool) -> dict[str, Any]:
    written: dict[str, Any] = {
        "word": _plain(word.text),
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": _CONFIDENCE,
    }
    if formatted:
        written["punctuated_word"] = word.text
    if diarize:
        written["speaker"] = 0
    return written


def _plain(text: str) -> str:
    return text.lower().strip(string.punctuation)


def _is_on(options: Mapping[str, Sequence[str]], name: str) -> bool:
    return options.get(name) == ["true"]
