"""Run a program in an interpreter of its own, and read what it says as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from textwrap import dedent
from typing import Any


def run_program(program: str, *, env: Mapping[str, str] | None = None) -> Any:
    """Run ``program``, which calls ``answer(value)`` once.

    Args:
        program: Python, indented as it likes.
        env: Environment variables beside those of this process.

    Returns:
        The value that it answered with.
    """
    preamble = "import json\ndef answer(value):\n    print('ANSWER', json.dumps(value))\n"
    finished = subprocess.run(
        [sys.executable, "-c", preamble + dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    answers = [line for line in finished.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(answers) == 1, finished.stdout
    return json.loads(answers[0].removeprefix("ANSWER "))
