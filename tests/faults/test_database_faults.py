"""Faults of the database while calls go on: nothing is lost, nothing twice, and no call fails."""

from __future__ import annotations

import logging

import pytest
from faulting.database import Outcome, strike
from faulting.database_faults import FAULTS, CannotBeMade, Fault, locked
from faulting.opened_at_once import open_at_once
from faulting.power_cut import cut_power
from faulting.survivors import leave_usage

LOGGER = "livekit.plugins.voicegateway"

SHORT = [
    "locked by another process",
    "the disk is full",
    "the file, -wal and -shm are deleted in use",
    "all pages are overwritten with garbage in use",
]
"""Those that show most; the others are in the long form, and in ``tests/ledger`` without calls."""


def named(words: str) -> Fault:
    (fault,) = [fault for fault in FAULTS if fault.words == words]
    return fault


async def outcome_of(
    fault: Fault, seconds: float, caplog: pytest.LogCaptureFixture
) -> tuple[Outcome, list[str]]:
    """What became of it, and what was logged."""
    with caplog.at_level(logging.INFO, LOGGER):
        try:
            outcome = await strike(fault, seconds)
        except CannotBeMade as e:
            pytest.skip(str(e))
    return outcome, [record.getMessage() for record in caplog.records if record.name == LOGGER]


def assert_nothing_happened(outcome: Outcome) -> None:
    assert outcome.failures == []
    assert outcome.during > 0, "calls stood still"
    assert outcome.recorded == outcome.billed
    assert outcome.mismatches == 0
    assert bool(outcome.waiting) == outcome.fault.waits
    moved = [name for name in outcome.files if ".corrupt-" in name]
    assert outcome.fault.moves in (None, bool(moved))


def assert_said_once(outcome: Outcome, lines: list[str]) -> None:
    """At the beginning what is wrong with which file; at the end, if it has one, that it ended."""
    trouble = [line for line in lines if "voicegw.db" in line]
    back = [line for line in lines if "ledger is back:" in line]
    if outcome.fault.at_first and not outcome.fault.waits:
        assert trouble == []
    elif outcome.fault.make is locked:
        assert len(trouble) <= 1, "a file that is locked for a moment is worth no line"
    elif outcome.fault.moves is None:
        assert len(trouble) <= 1, lines
    else:
        assert len(trouble) == 1, lines
    assert len(back) == (len(trouble) if outcome.fault.waits else 0), lines


@pytest.mark.parametrize("words", SHORT)
async def test_usage_of_a_short_fault_is_all_there_afterwards(
    words: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, lines = await outcome_of(named(words), 1.0, caplog)
    assert_nothing_happened(outcome)
    assert_said_once(outcome, lines)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
async def test_usage_of_a_fault_is_all_there_afterwards(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, lines = await outcome_of(fault, fault.seconds, caplog)
    assert_nothing_happened(outcome)
    assert_said_once(outcome, lines)


async def test_usage_survives_a_process_that_is_killed_while_the_ledger_is_locked() -> None:
    billed, recorded = await leave_usage()
    assert recorded == billed
    assert billed.requests == {"llm": 6}


def test_a_power_cut_loses_nothing_that_was_reported_as_written() -> None:
    assert cut_power(10) == 0


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_hundreds_of_power_cuts_lose_nothing_that_was_reported_as_written() -> None:
    assert cut_power(300) == 0


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_sixty_four_programs_open_a_new_ledger_at_once() -> None:
    assert await open_at_once(64) == 0
