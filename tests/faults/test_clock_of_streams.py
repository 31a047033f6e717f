"""A clock that is set, and a day that begins, during real streams: all is recorded, once."""

from __future__ import annotations

import pytest
from faulting.clock import CASES, Case, Result, try_case

NAMES = (
    "an hour back",
    "a day forward",
    "back and forward over midnight",
    "the midnight that ends 2027-10-31 in Europe/Berlin",
    "the midnight that begins 2027-10-03 in Australia/Lord_Howe",
    "the midnight that begins 2027-09-05 in America/Santiago",
)
SHORT = [case for case in CASES if case.name in NAMES]


def check(result: Result) -> None:
    assert result.problems == []
    days = [row["day"] for row in result.rows if row["modality"] == "stt"]
    assert len(days) >= 1
    if "back and forward over midnight" in result.case.name:
        assert days == ["2027-01-16", "2027-01-15", "2027-01-16", "2027-01-15", "2027-01-16"]


@pytest.mark.parametrize("case", SHORT, ids=[case.name for case in SHORT])
async def test_a_stream_is_recorded_whole_whatever_the_clock_does(case: Case) -> None:
    check(await try_case(case))


def test_every_short_case_is_there() -> None:
    assert len(SHORT) == len(NAMES)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_stream_is_recorded_whole_in_each_zone_and_at_each_step(case: Case) -> None:
    check(await try_case(case))
