"""Kokoro on this machine: from one piece of text to 24 kHz samples, with kokoro-onnx."""

from __future__ import annotations

import logging
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import VoiceGatewayError, did_you_mean
from .engines import Engine, shared_engine
from .weights import find_kokoro, require_library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SAMPLE_RATE", "Loading", "Stopped", "Wording", "kokoro_engine", "speak", "spoken"]

SAMPLE_RATE: Final = 24_000
"""Hz; what Kokoro speaks, mono."""

_LANGUAGES: Final = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-br",
    "z": "cmn",
}
"""The first letter of a voice's name says its language; espeak-ng's names for them."""

_EMOJI: Final = re.compile(
    "[\u200d\ufe0e\ufe0f\u20e3\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\U000e0020-\U000e007f]"
)


@dataclass(frozen=True, slots=True)
class Loading:
    """What decides which engine serves: objects with equal values share one.

    Attributes:
        weights: Folder from the configuration; None: VoiceGateway's folder in the user's cache.
        threads: Threads of one inference.
    """

    weights: Path | None
    threads: int


@dataclass(frozen=True, slots=True)
class Wording:
    """How a text is to be spoken.

    Attributes:
        voice: Kokoro's name of the voice, ``af_heart``.
        speed: 1.0 is the voice's own; 0.5 to 2.0.
        language: espeak-ng's name of the language; None: the voice's own.
    """

    voice: str
    speed: float = 1.0
    language: str | None = None

    @property
    def pronunciation(self) -> str:
        """espeak-ng's name of the language that is spoken."""
        return self.language or _LANGUAGES.get(self.voice[:1], "en-us")


class Stopped:
    """Ends an inference that nobody waits for any more, so that the next one need not wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._options: Any = None
        self._set = False

    def set(self) -> None:
        """Stop what runs with this, and what would still start."""
        with self._lock:
            self._set = True
            if self._options is not None:
                self._options.terminate = True

    def options(self) -> Any:
        """onnxruntime's ``RunOptions`` for one inference."""
        import onnxruntime  # type: ignore[import-untyped]

        with self._lock:
            self._options = onnxruntime.RunOptions()
            self._options.terminate = self._set
            return self._options


def kokoro_engine(loading: Loading) -> Engine[Any]:
    """The process's engine for one set of weights; its model is a ``Kokoro``."""
    return shared_engine(
        ("kokoro", loading),
        lambda: Engine("local/kokoro", lambda: _load(loading), _warm_up),
    )


def spoken(text: str) -> str:
    """What of a text is to be said: espeak-ng would read out the names of emoji.

    Returns:
        The text without emoji and outer white space; empty when it has no letter and no digit.
    """
    text = _EMOJI.sub("", text).strip()
    return text if any(character.isalnum() for character in text) else ""


def speak(model: Any, text: str, wording: Wording, stopped: Stopped) -> NDArray[np.int16]:
    """Say one piece of text. Blocks; runs on the engine's thread.

    Returns:
        Samples of 24 kHz without silence around them; none when the text has no sound in this
        language.

    Raises:
        VoiceGatewayError: There is no such voice.
    """
    import numpy as np

    if wording.voice not in model.voices:
        raise VoiceGatewayError(
            f"Kokoro has no voice {wording.voice!r}{did_you_mean(wording.voice, model.voices)} "
            f"Known: {', '.join(sorted(model.voices))}."
        )
    phonemes = model.tokenizer.phonemize(text, wording.pronunciation)
    if not model.tokenizer.known(phonemes).strip(" .,;:!?…—\"'()“”¡¿"):
        return np.zeros(0, np.int16)
    model.sess.stopped = stopped
    audio, _ = model.create(phonemes, wording.voice, speed=wording.speed, is_phonemes=True)
    samples: NDArray[np.int16] = (np.clip(audio, -1.0, 1.0) * 32767).astype(np.int16)
    return samples


class _StoppableSession:
    """An onnxruntime session, as kokoro-onnx uses it, whose inference can be stopped."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.stopped = Stopped()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Any, inputs: Any) -> Any:
        return self._session.run(outputs, inputs, self.stopped.options())


def _load(loading: Loading) -> Any:
    require_library("kokoro_onnx")
    weights = find_kokoro(loading.weights)
    import kokoro_onnx
    import onnxruntime

    logging.getLogger("phonemizer").addFilter(_is_of_interest)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = loading.threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # of no use where every text has another length
    # Waiting threads would otherwise burn the core that whisper and the LLM need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        os.fspath(weights.model), options, providers=["CPUExecutionProvider"]
    )
    return kokoro_onnx.Kokoro.from_session(_StoppableSession(session), os.fspath(weights.voices))


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Drop what phonemizer says of nearly every text: that espeak-ng joined or split words."""
    return "words count mismatch" not in record.getMessage()


def _warm_up(model: Any) -> None:
    voice = next(iter(model.voices))
    speak(model, "Hello there.", Wording(voice, language="en-us"), Stopped())
