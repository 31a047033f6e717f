"""Real weights and recorded speech for the tests of local models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_speech import Clip
from support.machine import MODELS, without_models

from livekit_plugins_voicegateway.local.engines import close_engines
from livekit_plugins_voicegateway.local.weights import find_kokoro, kokoro_voices


def _need(*files: str) -> Path:
    absent = [f"{file} is not in .models" for file in files if not (MODELS / file).is_file()]
    if absent:
        without_models(absent)
    return MODELS


@pytest.fixture
def whisper_weights() -> Path:
    """The folder with whisper-tiny.en and whisper-base."""
    return _need("whisper-tiny.en/model.bin", "whisper-base/model.bin")


@pytest.fixture
def kokoro_weights() -> Path:
    """The folder with Kokoro."""
    return _need("kokoro/kokoro-v1.0.int8.onnx", "kokoro/voices-v1.0.bin")


@pytest.fixture
def language_model() -> Path:
    """The file of the small language model."""
    file = "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    return _need(file) / file


@pytest.fixture
def voice(kokoro_weights: Path) -> str:
    """A voice that is there: an English one, or the one that stands in for it without npm."""
    known = kokoro_voices(find_kokoro(kokoro_weights).voices)
    return "af_heart" if "af_heart" in known else "jm_kumo"


@pytest.fixture(autouse=True, scope="module")
def _no_engines_left() -> Iterator[None]:
    """Weights are loaded once for the tests of a file."""
    yield
    close_engines()


@pytest.fixture
def austen() -> Clip:
    """3.3 s: "He might even have been made amiable himself"."""
    return Clip("austen-0930")


@pytest.fixture
def austen_long() -> Clip:
    """5.3 s: "Unless to be rather cold-hearted and rather selfish is to be ill-disposed"."""
    return Clip("austen-0890")


@pytest.fixture
def robot() -> Clip:
    """2.8 s: "Go forward ten meters"."""
    return Clip("goforward")
