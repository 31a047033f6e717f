"""A small run of ``benchmarks/local_latency.py``: that it runs and prints every stage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_a_turn_is_measured_stage_by_stage(
    whisper_weights: Path, kokoro_weights: Path, language_model: Path, voice: str
) -> None:
    pytest.importorskip("xllamacpp")
    command = [sys.executable, "benchmarks/local_latency.py", "--clips", "goforward"]
    process = subprocess.run(
        [*command, "--only", "preemptive", "--voice", voice],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    head, _, row = process.stdout.strip().splitlines()[-3:]
    assert row.count("|") == head.count("|")
    transcript, asked, token, text, first, last = (float(cell) for cell in row.split("|")[2:8])
    assert transcript <= asked <= token <= text < first <= last
