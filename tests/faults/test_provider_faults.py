"""Whatever a provider does wrong looks with the gateway as it does without, and is billed right."""

from __future__ import annotations

import pytest
from faulting.providers import CASES, LONG_CASES, Case, Result, try_at_once, try_case

SHORT = [case for number, case in enumerate(CASES) if number % 9 == 4]


def check(result: Result) -> None:
    assert result.differences == []
    assert result.left == []
    assert result.is_billed_right, (result.recorded, result.billed, result.rows)
    assert all(row["status"] != "open" for row in result.rows)


@pytest.mark.parametrize("case", SHORT, ids=[case.name for case in SHORT])
async def test_a_fault_looks_as_it_does_without_the_gateway_and_leaves_nothing(case: Case) -> None:
    check(await try_case(case))


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_every_fault_looks_as_it_does_without_the_gateway_and_leaves_nothing() -> None:
    await try_case(CASES[0])
    for case in CASES:
        check(await try_case(case))


@pytest.mark.faults
@pytest.mark.timeout(1200)
async def test_five_minutes_of_silence_look_as_they_do_without_the_gateway() -> None:
    for result in await try_at_once(LONG_CASES):
        check(result)
