"""Wrong input by the million, on every surface: what is tried, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fuzzing import fuzzer_script
from fuzzing.targets import TARGETS

from .experiment import Experiment, Finding

__all__ = ["experiments", "fuzzed"]

_SHORT: Final = 1_000
"""The short form tries one of so many."""


async def fuzzed(target: str, runs: int, folder: Path) -> Mapping[str, Any]:
    """Let the coverage-guided fuzzer try a target in a process of its own.

    Args:
        target: Its name.
        runs: Inputs, the examples among them.
        folder: Where its report and what breaks a promise are written to.

    Returns:
        The report: ``inputs``, ``accepted``, ``refused``, ``slowest_ms`` …

    Raises:
        AssertionError: A promise was broken; says by which input.
    """
    report = folder / f"{target}.json"
    process = await asyncio.create_subprocess_exec(
        "nice",
        sys.executable,
        str(fuzzer_script()),
        target,
        f"--runs={runs}",
        f"--report={report}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    if process.returncode or "broken" in told or not told:
        why = f"{told.get('broken', '')} {told.get('input', '')}"
        raise AssertionError(f"{target}: {why}\n{said.decode(errors='replace')[-4000:]}")
    return told


async def _run(short: bool) -> list[Finding]:
    side_by_side = asyncio.Semaphore(min(2, os.cpu_count() or 1))

    async def one(name: str, folder: Path) -> Finding:
        target = TARGETS[name]
        runs = max(200, target.runs // _SHORT) if short else target.runs
        async with side_by_side:
            told = await fuzzed(name, runs, folder)
        accepted, refused = told.get("accepted", 0), told.get("refused", 0)
        return Finding(
            fault=f"wrong input: {target.surface}",
            tries=told["inputs"],
            lost="nothing",
            note=f"{accepted} accepted, {refused} refused with a reason, nothing else; the slowest "
            f"took {told['slowest_ms']:.0f} ms of the processor",
        )

    with tempfile.TemporaryDirectory() as folder:
        return list(await asyncio.gather(*(one(name, Path(folder)) for name in TARGETS)))


def experiments() -> list[Experiment]:
    """The experiments of this module."""
    return [Experiment("bad-input", _run)]
