"""Recorded against billed, in every case of ``benchmarks/metering.py``: the promised accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)

SENTENCE = 60
"""Characters: text that a plugin holds back until the sentence is whole is recorded when pushed."""


def within_bounds(result: dict[str, Any]) -> bool:
    billed, recorded = result["billed"], result["recorded"]
    difference = abs(recorded - billed)
    if result["unit"] == "seconds":
        return difference <= 0.01 * billed
    if result["unit"] == "characters":
        return difference <= SENTENCE
    return difference <= (0.2 * billed if result["estimated"] else 0)


def test_what_is_recorded_is_what_the_provider_bills_in_every_case(
    run_benchmark: Callable[..., str],
) -> None:
    results = json.loads(run_benchmark("metering.py", "--json"))

    assert {result["unit"] for result in results} == {
        "seconds",
        "tokens in",
        "tokens out",
        "characters",
    }
    assert any(result["estimated"] for result in results)
    assert [result for result in results if not within_bounds(result)] == []
