"""How the tests run a benchmark: as its users do, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_benchmark() -> Callable[..., str]:
    """Runs ``python benchmarks/<name>`` with arguments, and gives what it prints."""

    def run(name: str, *arguments: str) -> str:
        process = subprocess.run(
            [sys.executable, f"benchmarks/{name}", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    return run
