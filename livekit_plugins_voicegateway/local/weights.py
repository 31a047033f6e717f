"""Where the weights of local models are looked for, and which files must be there.

Used by ``voicegw check`` and by the engines. Looking never fetches anything: that is
`downloads.download`, which only ``download-files`` calls. Nothing of livekit-agents is imported.
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import (
    ProviderNotInstalledError,
    UnknownModelError,
    VoiceGatewayError,
    WeightsMissingError,
    did_you_mean,
)

__all__ = [
    "KOKORO_MODELS",
    "KOKORO_VOICES",
    "WHISPER_FILES",
    "WHISPER_HOMES",
    "KokoroWeights",
    "find_kokoro",
    "find_whisper",
    "kokoro_cache",
    "kokoro_voices",
    "missing_weights",
    "require_library",
    "whisper_size",
]

_REQUIREMENT: Final = "'livekit-plugins-voicegateway[local]'"

_SYSTRAN: Final = "Systran/faster-whisper-"

WHISPER_HOMES: Final[Mapping[str, str]] = {
    **{
        size: _SYSTRAN + size
        for size in (
            "tiny",
            "tiny.en",
            "base",
            "base.en",
            "small",
            "small.en",
            "medium",
            "medium.en",
            "large-v1",
            "large-v2",
            "large-v3",
        )
    },
    "large": _SYSTRAN + "large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
"""Sizes of whisper, and their repositories on Hugging Face: those that faster-whisper 1.2 knows."""

_WIDE_SIZES: Final = (
    "large-v3",
    "large",
    "large-v3-turbo",
    "turbo",
    "distil-large-v3",
    "distil-large-v3.5",
)
"""Sizes with 128 mel bands, which faster-whisper learns from ``preprocessor_config.json`` only."""

WHISPER_FILES: Final = (
    "config.json",
    "preprocessor_config.json",
    "model.bin",
    "tokenizer.json",
    "vocabulary.*",
)
"""The files of such a repository that make the model; the same patterns as faster-whisper's."""

KOKORO_MODELS: Final = (
    "kokoro-v1.0.int8.onnx",
    "kokoro-v1.0.fp16.onnx",
    "kokoro-v1.0.onnx",
)
"""Names of the model in kokoro-onnx's release, the fastest on a CPU first."""

KOKORO_VOICES: Final = "voices-v1.0.bin"


@dataclass(frozen=True, slots=True)
class KokoroWeights:
    """The two files of Kokoro: the model, and its voices."""

    model: Path
    voices: Path


def missing_weights(model: str, options: Mapping[str, object]) -> list[str]:
    """What a local model lacks to run on this machine.

    Args:
        model: ``whisper-<size>`` or ``kokoro``: the model string without ``local/`` and suffix.
        options: The provider's options from voicegw.yaml, of which ``weights``, ``base_url`` and
            ``voice`` are read. A model behind a ``base_url`` needs no weights here.

    Returns:
        One phrase for each missing file (or voice), with the place where it was looked for;
        nothing when all is there.

    Raises:
        UnknownModelError: There is no such local model.
        ProviderNotInstalledError: The extra ``local`` is not installed.
    """
    size = None if model == "kokoro" else whisper_size(model)
    if options.get("base_url"):
        return []
    weights = _as_path(options.get("weights"))
    require_library("faster_whisper" if size else "kokoro_onnx")
    try:
        if size:
            find_whisper(size, weights)
            return []
        found = find_kokoro(weights)
    except WeightsMissingError as error:
        return list(error.missing)
    voice = options.get("voice")
    if isinstance(voice, str) and voice not in kokoro_voices(found.voices):
        return [f"no voice {voice!r} in {found.voices}"]
    return []


def whisper_size(model: str) -> str:
    """The size in ``whisper-<size>`` (or in a bare ``<size>``).

    Raises:
        UnknownModelError: There is no such size. Names the nearest ones.
    """
    size = model.removeprefix("whisper-")
    if size not in WHISPER_HOMES:
        known = ["kokoro", *(f"whisper-{known}" for known in WHISPER_HOMES)]
        raise UnknownModelError(
            f"there is no local model {model!r}{did_you_mean(f'whisper-{size}', known)} "
            f"Known: {', '.join(known)}."
        )
    return size


def find_whisper(size: str, weights: Path | None = None) -> Path:
    """The folder with the files of one size of whisper.

    Args:
        size: ``base``, ``large-v3``, …
        weights: A folder from the configuration: the model's own, or one that holds
            ``whisper-<size>`` or ``faster-whisper-<size>``. None: Hugging Face's cache.

    Raises:
        WeightsMissingError: Names each missing file and where it was looked for.
    """
    if weights is None:
        folder = _hugging_face_folder(WHISPER_HOMES[size])
        if folder is None:
            raise WeightsMissingError(
                f"local/whisper-{size}",
                [f"{WHISPER_HOMES[size]} is not in Hugging Face's cache ({_hugging_face_cache()})"],
            )
    else:
        folder = _first_folder(
            weights, f"whisper-{size}", f"faster-whisper-{size}", marker="model.bin"
        )
    required = ["model.bin", "config.json", "tokenizer.json"]
    if size in _WIDE_SIZES:
        required.append("preprocessor_config.json")
    missing = [f"{folder / name} is missing" for name in required if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in ("vocabulary.txt", "vocabulary.json")):
        missing.append(f"{folder / 'vocabulary.txt'} (or .json) is missing")
    if missing:
        raise WeightsMissingError(f"local/whisper-{size}", missing)
    return folder


def find_kokoro(weights: Path | None = None) -> KokoroWeights:
    """The two files of Kokoro.

    Args:
        weights: A folder from the configuration: the one with the files, or one that holds
            ``kokoro``. None: VoiceGateway's folder in the user's cache.

    Raises:
        WeightsMissingError: Names each missing file and where it was looked for.
    """
    folder = (
        kokoro_cache()
        if weights is None
        else _first_folder(weights, "kokoro", marker=KOKORO_VOICES)
    )
    model = next((folder / name for name in KOKORO_MODELS if (folder / name).is_file()), None)
    voices = folder / KOKORO_VOICES
    missing = []
    if model is None:
        missing.append(f"{folder / KOKORO_MODELS[0]} is missing")
    if not voices.is_file():
        missing.append(f"{voices} is missing")
    if model is None or missing:
        raise WeightsMissingError("local/kokoro", missing)
    return KokoroWeights(model, voices)


def kokoro_voices(voices: Path) -> list[str]:
    """The names of the voices in a file of voices, without loading them.

    Raises:
        VoiceGatewayError: The file is damaged.
    """
    try:
        with zipfile.ZipFile(voices) as archive:
            return sorted(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise VoiceGatewayError(
            f"{voices} cannot be read ({error}): remove it and run `voicegw download-files`"
        ) from error


def kokoro_cache() -> Path:
    """Where ``download-files`` puts Kokoro, which has no cache of its own."""
    import platformdirs

    return platformdirs.user_cache_path("voicegateway", appauthor=False) / "kokoro"


def require_library(module: str) -> None:
    """Check that a library of the extra ``local`` is installed, without importing it.

    Raises:
        ProviderNotInstalledError: It is not. Says the ``pip install``.
    """
    if importlib.util.find_spec(module) is None:
        raise ProviderNotInstalledError("local", _REQUIREMENT)


def _first_folder(weights: Path, *names: str, marker: str) -> Path:
    weights = weights.expanduser()
    for folder in (*(weights / name for name in names), weights):
        if (folder / marker).is_file():
            return folder
    return next((weights / name for name in names if (weights / name).is_dir()), weights)


def _hugging_face_folder(repository: str) -> Path | None:
    """The snapshot of a repository's main branch in Hugging Face's cache.

    Read off the cache's documented layout: its library takes 0.3 s to import, which the event
    loop of a call must not pay for.
    """
    folder = _hugging_face_cache() / f"models--{repository.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    snapshot = folder / "snapshots" / revision
    return snapshot if snapshot.is_dir() else None


def _hugging_face_cache() -> Path:
    """Where Hugging Face's library keeps what it fetched, by the variables that it reads."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := os.environ.get(variable):
            return Path(os.path.expandvars(folder)).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = os.environ.get("HF_HOME") or os.fspath(cache)
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def _as_path(value: object) -> Path | None:
    return Path(str(value)) if value else None
