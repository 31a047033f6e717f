"""A small run of ``benchmarks/overhead.py``: that it runs and prints, not how fast anything is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.timeout(300)

FIGURES = {
    "an STT frame, loop time",
    "an LLM chunk, loop time",
    "a TTS frame, loop time",
    "final transcript, median",
    "final transcript, 99th percentile",
    "first token, median",
    "first token, 99th percentile",
    "first audio, median",
    "first audio, 99th percentile",
    "import after a worker's other imports, processor time",
    "a usage row of an STT stream, loop time",
    "a usage row of a completion, loop time",
    "a usage row of a synthesis, loop time",
    "an STT stream opened and closed, loop time",
    "a completion opened and closed, loop time",
    "a synthesis opened and closed, loop time",
    "lag of the loop with 5 calls, median",
    "lag of the loop with 5 calls, 99th percentile",
}


def test_overhead_prints_a_line_for_everything_that_it_measures(
    run_benchmark: Callable[..., str],
) -> None:
    head, rule, *lines = run_benchmark("overhead.py", "--quick").partition("\n\n")[0].splitlines()

    assert head.startswith("| what | direct | direct again | FallbackAdapter | gateway |")
    assert {line.count("|") for line in (head, rule, *lines)} == {head.count("|")}
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines} == FIGURES


def test_overhead_gives_the_figures_of_one_section_as_json(
    run_benchmark: Callable[..., str],
) -> None:
    figures = json.loads(run_benchmark("overhead.py", "--quick", "--json", "--only", "events"))

    assert [figure["unit"] for figure in figures] == ["µs"] * 3
    for figure in figures:
        assert figure["values"].keys() == {"direct", "direct again", "FallbackAdapter", "gateway"}
        assert all(value > 0 for value in figure["values"].values())
        assert figure["bound"]
        assert figure["met"] in (True, False)
