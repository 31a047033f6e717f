"""Recorded against billed, in every case of ``benchmarks/metering.py``: the promised accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)

SENTENCE = 60
"""Characters: text that a plugin holds back until the sentence is whole is recorded when pushed."""

UNDER_WAY = 0.5
"""Seconds of audio: what was sent into a socket that the provider had dropped already is recorded,
as nobody can say whether it was heard. The busier the machine, the later the drop is noticed."""


def within_bounds(result: dict[str, Any]) -> bool:
    billed, recorded = result["billed"], result["recorded"]
    difference = abs(recorded - billed)
    if result["unit"] == "seconds":
        under_way = UNDER_WAY if result["case"].startswith("socket dropped") else 0
        return 0 <= recorded - billed <= under_way or difference <= 0.01 * billed
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
