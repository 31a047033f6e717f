"""Weights are looked for where they belong, and what is missing is named with its place."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.errors import (
    UnknownModelError,
    VoiceGatewayError,
    WeightsMissingError,
)
from livekit_plugins_voicegateway.local.weights import (
    WHISPER_HOMES,
    find_kokoro,
    find_whisper,
    kokoro_voices,
    missing_weights,
)

WHISPER_FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")


def whisper_folder(parent: Path, name: str = "whisper-base") -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    for file in WHISPER_FILES:
        (folder / file).touch()
    return folder


def kokoro_folder(parent: Path, *voices: str) -> Path:
    folder = parent / "kokoro"
    folder.mkdir()
    (folder / "kokoro-v1.0.int8.onnx").touch()
    with zipfile.ZipFile(folder / "voices-v1.0.bin", "w") as archive:
        for voice in voices:
            archive.writestr(f"{voice}.npy", b"")
    return folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of Hugging Face and of the user in which there is nothing."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_whisper_is_found_in_its_own_folder_and_in_the_one_above(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path)
    assert find_whisper("base", folder) == folder
    assert find_whisper("base", tmp_path) == folder


def test_whisper_is_found_under_the_name_of_its_repository(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path, "faster-whisper-small.en")
    assert find_whisper("small.en", tmp_path) == folder


def test_each_missing_file_of_whisper_is_named_with_its_place(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "vocabulary.txt").unlink()
    assert missing_weights("whisper-base", {"weights": str(tmp_path)}) == [
        f"{folder / 'tokenizer.json'} is missing",
        f"{folder / 'vocabulary.txt'} (or .json) is missing",
    ]


def test_sizes_with_128_mel_bands_need_the_file_that_says_so(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path, "whisper-large-v3")
    with pytest.raises(WeightsMissingError, match=r"preprocessor_config\.json is missing"):
        find_whisper("large-v3", tmp_path)
    (folder / "preprocessor_config.json").touch()
    assert find_whisper("large-v3", tmp_path) == folder


def test_without_a_folder_whisper_is_looked_for_in_hugging_faces_cache(empty_cache: Path) -> None:
    assert missing_weights("whisper-base", {}) == [
        f"Systran/faster-whisper-base is not in Hugging Face's cache ({empty_cache / 'hub'})"
    ]
    repository = empty_cache / "hub" / "models--Systran--faster-whisper-base"
    folder = whisper_folder(repository / "snapshots", "a" * 40)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    assert find_whisper("base") == folder
    assert missing_weights("whisper-base", {}) == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"XDG_CACHE_HOME": "/somewhere/cache"},
        {"HF_HOME": "~/models", "XDG_CACHE_HOME": "/somewhere/cache"},
        {"HUGGINGFACE_HUB_CACHE": "$HOME/old", "HF_HOME": "/elsewhere"},
        {"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old"},
    ],
)
def test_hugging_faces_cache_is_where_its_library_has_it(variables: dict[str, str]) -> None:
    code = (
        "from huggingface_hub.constants import HF_HUB_CACHE as theirs; "
        "from livekit_plugins_voicegateway.local.weights import _hugging_face_cache as ours; "
        "print(str(ours()) == theirs, ours(), theirs)"
    )
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGG"))
    }
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=env | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.startswith("True"), answer.stdout


def test_without_a_folder_kokoro_is_looked_for_in_the_users_cache(empty_cache: Path) -> None:
    folder = empty_cache / "cache" / "voicegateway" / "kokoro"
    assert missing_weights("kokoro", {}) == [
        f"{folder / 'kokoro-v1.0.int8.onnx'} is missing",
        f"{folder / 'voices-v1.0.bin'} is missing",
    ]


def test_kokoro_is_found_in_its_own_folder_and_in_the_one_above(tmp_path: Path) -> None:
    folder = kokoro_folder(tmp_path, "af_heart")
    assert find_kokoro(tmp_path) == find_kokoro(folder)
    assert find_kokoro(folder).voices == folder / "voices-v1.0.bin"


def test_a_voice_that_is_not_there_is_missing_too(tmp_path: Path) -> None:
    folder = kokoro_folder(tmp_path, "af_heart", "bm_george")
    assert kokoro_voices(folder / "voices-v1.0.bin") == ["af_heart", "bm_george"]
    assert missing_weights("kokoro", {"weights": folder, "voice": "bm_george"}) == []
    assert missing_weights("kokoro", {"weights": folder, "voice": "zz_top"}) == [
        f"no voice 'zz_top' in {folder / 'voices-v1.0.bin'}"
    ]


def test_a_damaged_file_of_voices_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = kokoro_folder(tmp_path)
    (folder / "voices-v1.0.bin").write_bytes(b"not an archive")
    with pytest.raises(VoiceGatewayError, match=r"voices-v1\.0\.bin cannot be read.*remove it"):
        missing_weights("kokoro", {"weights": folder, "voice": "af_heart"})


def test_a_model_behind_a_server_needs_no_weights_here(empty_cache: Path) -> None:
    options = {"base_url": "http://localhost:8000"}
    assert missing_weights("whisper-large-v3", options) == []
    assert missing_weights("kokoro", options) == []


@pytest.mark.parametrize("model", ["whisper-bas", "whisper-large-v9", "cocoro"])
def test_a_model_that_does_not_exist_is_an_error_that_names_those_that_do(model: str) -> None:
    with pytest.raises(UnknownModelError, match=r"Known: kokoro, whisper-tiny"):
        missing_weights(model, {})


def test_the_known_sizes_are_those_of_faster_whisper() -> None:
    import faster_whisper
    from faster_whisper.utils import _MODELS

    assert set(WHISPER_HOMES) == set(faster_whisper.available_models())
    assert dict(WHISPER_HOMES) == _MODELS


def test_asking_what_is_missing_imports_neither_livekit_nor_a_library_of_a_model() -> None:
    code = (
        "import sys; from livekit_plugins_voicegateway import local; local.missing_weights; "
        "print([m for m in ('livekit.agents', 'faster_whisper', 'ctranslate2', 'kokoro_onnx', "
        "'onnxruntime', 'huggingface_hub', 'numpy') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_model_classes_import_no_library_of_a_model_until_one_is_loaded() -> None:
    code = (
        "import sys; from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT; "
        "WhisperSTT('whisper-base'); KokoroTTS(); "
        "print([m for m in ('faster_whisper', 'ctranslate2', 'kokoro_onnx', 'huggingface_hub') "
        "if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
