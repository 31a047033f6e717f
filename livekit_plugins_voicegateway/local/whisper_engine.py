"""Whisper on this machine: from 16 kHz samples to text, with faster-whisper (CTranslate2).

Everything here runs on an engine's thread. `hear` is the stock transcription of faster-whisper;
with ``short_window`` it encodes only as much silence as the utterance needs, not always 30 s.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..log import logger
from .engines import Engine, shared_engine
from .weights import find_whisper, require_library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

__all__ = [
    "SAMPLE_RATE",
    "Loading",
    "Question",
    "Transcript",
    "hear",
    "repeats_itself",
    "whisper_engine",
]

SAMPLE_RATE: Final = 16_000
"""Hz; what whisper hears, mono."""

_FRAMES_PER_SECOND: Final = 100
_FULL_WINDOW: Final = 30.0
_LEAST_WINDOW: Final = 8.0
_LEAST_SILENCE: Final = 2.0
_TOKENS_PER_SECOND: Final = 7
"""Guards of the short window, measured on 117 clips with whisper tiny.en and base: with less than
8 s, or less than 2 s of silence after the speech, whisper repeats itself; people speak at most
some 5 tokens a second."""

_NO_SPEECH: Final = 0.6
_LEAST_LOGPROB: Final = -1.0
"""OpenAI's own thresholds for silence and for a transcript to be mistrusted."""

_LEAST_LOGPROB_PROMPTED: Final = -0.5
"""With keyterms in front of it the short window once lost half a sentence, at -0.7."""

_PHRASE_WORDS: Final = 3
_SAME_WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Loading:
    """What decides which engine serves: objects with equal values share one.

    Attributes:
        size: ``base``, ``large-v3``, …
        weights: Folder from the configuration; None: Hugging Face's cache.
        device: ``cpu``, ``cuda``, or ``auto``: the GPU if CTranslate2 sees one.
        compute_type: CTranslate2's name for the arithmetic, ``int8``; None: ``int8`` on a CPU,
            ``float16`` on a GPU.
        cpu_threads: Threads of one inference.
    """

    size: str
    weights: Path | None
    device: str
    compute_type: str | None
    cpu_threads: int


@dataclass(frozen=True, slots=True)
class Question:
    """How one piece of audio is to be transcribed.

    Attributes:
        language: ISO 639-1 code; None: whisper finds out.
        beam_size: Candidates kept while decoding; 1 is the fastest.
        short_window: Encode the utterance and a few seconds of silence instead of 30 s.
        keyterms: Names and terms that are likely to be said.
        draft: A wrong answer is worth nothing: where the short window is not sure, answer with
            no text instead of taking the full window.
    """

    language: str | None = None
    beam_size: int = 1
    short_window: bool = False
    keyterms: Sequence[str] = ()
    draft: bool = False


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard.

    Attributes:
        text: The words; empty when there were none.
        language: ISO 639-1 code of what was spoken.
        confidence: The mean probability of a token, 0 to 1.
    """

    text: str
    language: str
    confidence: float


def whisper_engine(loading: Loading) -> Engine[Any]:
    """The process's engine for one set of weights; its model is a ``WhisperModel``."""
    return shared_engine(
        ("whisper", loading),
        lambda: Engine(
            f"local/whisper-{loading.size}",
            lambda: _load(loading),
            lambda model: hear(model, _silence(1.0), Question(short_window=True, draft=True)),
        ),
    )


def hear(model: Any, audio: Samples, question: Question) -> Transcript:
    """Transcribe one utterance. Blocks; runs on the engine's thread.

    Args:
        model: A faster-whisper ``WhisperModel``.
        audio: float32, 16 kHz, mono, -1 to 1.
        question: How.
    """
    language = _known_language(model, question.language)
    if not len(audio):
        return Transcript("", language or "", 0.0)
    seconds = len(audio) / SAMPLE_RATE
    if question.short_window and seconds + _LEAST_SILENCE < _FULL_WINDOW:
        answer = _hear_short(model, audio, seconds, language, question)
        if answer is not None:
            return answer
        if question.draft:
            return Transcript("", language or "", 0.0)
    return _hear_full(model, audio, language, question)


def _load(loading: Loading) -> Any:
    require_library("faster_whisper")
    folder = find_whisper(loading.size, loading.weights)
    import ctranslate2  # type: ignore[import-untyped]
    import faster_whisper  # type: ignore[import-untyped]

    device = loading.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    return faster_whisper.WhisperModel(
        os.fspath(folder),
        device=device,
        compute_type=loading.compute_type or ("int8" if device == "cpu" else "float16"),
        cpu_threads=loading.cpu_threads,
    )


def _hear_full(model: Any, audio: Samples, language: str | None, question: Question) -> Transcript:
    segments, info = model.transcribe(
        audio,
        language=language,
        beam_size=question.beam_size,
        without_timestamps=True,
        condition_on_previous_text=False,
        hotwords=", ".join(question.keyterms) or None,
    )
    # A generator: the work is done while it is read.
    heard = list(segments)
    text = "".join(segment.text for segment in heard).strip()
    weight = sum(len(segment.tokens) for segment in heard)
    logprob = sum(segment.avg_logprob * len(segment.tokens) for segment in heard)
    return Transcript(text, info.language, math.exp(logprob / weight) if weight and text else 0.0)


def _hear_short(
    model: Any, audio: Samples, seconds: float, language: str | None, question: Question
) -> Transcript | None:
    """None: the guards mistrust the answer, take the full window."""
    from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]

    window = math.ceil(max(_LEAST_WINDOW, seconds + _LEAST_SILENCE))
    padded = _silence(window)
    padded[: len(audio)] = audio
    features = model.feature_extractor(padded, padding=0)[:, : window * _FRAMES_PER_SECOND]
    encoded = model.encode(features)
    if language is None:
        token, _ = model.model.detect_language(encoded)[0][0]
        language = str(token).strip("<|>")
    tokenizer = Tokenizer(
        model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
    )
    prompt = model.get_prompt(
        tokenizer, [], without_timestamps=True, hotwords=", ".join(question.keyterms) or None
    )
    allowed = math.ceil(_TOKENS_PER_SECOND * seconds) + _TOKENS_PER_SECOND
    result = model.model.generate(
        encoded,
        [prompt],
        beam_size=question.beam_size,
        max_length=min(len(prompt) + allowed, model.max_length),
        return_scores=True,
        return_no_speech_prob=True,
        suppress_blank=True,
        suppress_tokens=[-1],
    )[0]
    if result.no_speech_prob > _NO_SPEECH:
        return Transcript("", language, 0.0)
    tokens = result.sequences_ids[0]
    logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
    text = tokenizer.decode(tokens).strip()
    least = _LEAST_LOGPROB_PROMPTED if question.keyterms else _LEAST_LOGPROB
    if logprob < least or len(tokens) >= allowed or repeats_itself(text):
        return None
    return Transcript(text, language, math.exp(logprob))


def repeats_itself(text: str) -> bool:
    """Whether a phrase of three words or more comes twice in a row, or one word four times."""
    words = re.findall(r"[\w']+", text.lower())
    for length in range(1, len(words) // 2 + 1):
        times = 2 if length >= _PHRASE_WORDS else _SAME_WORDS
        run = 0
        for place in range(length, len(words)):
            run = run + 1 if words[place] == words[place - length] else 0
            if run == length * (times - 1):
                return True
    return False


def _known_language(model: Any, language: str | None) -> str | None:
    supported: Sequence[str] = model.supported_languages
    if len(supported) == 1:
        return supported[0]
    if language is not None and language not in supported:
        _warn_of_language(language)
        return None
    return language


@functools.cache
def _warn_of_language(language: str) -> None:
    logger.warning("whisper does not know the language %r: it is detected instead", language)


def _silence(seconds: float) -> Samples:
    import numpy as np

    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)
