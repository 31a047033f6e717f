"""PostgreSQL away: calls go on, and all that they used is there afterwards, once."""

from __future__ import annotations

import pytest
from faulting.postgres_away import HOUR, QUICK, Outcome, be_away, finding, missing
from postgres_server import PostgresServer
from support.postgres import postgres_server

__all__ = ["postgres_server"]


def assert_all_is_there_once(outcome: Outcome) -> None:
    assert outcome.errors == {}
    assert outcome.turns > 0, "calls stood still"
    assert outcome.rows > 0, "nothing waited"
    assert missing(outcome.billed, outcome.recorded) == []
    assert missing(outcome.recorded, outcome.billed) == []
    line = finding(outcome)
    assert line.lost.startswith("nothing; of the ")
    assert line.twice == "nothing"
    assert (outcome.mismatches, outcome.out_of_order, outcome.left) == (0, 0, 0)
    # what the killed process has used before its last second is there, too
    whole, part = outcome.killed_billed, outcome.killed_recorded
    assert part.audio_seconds > 0
    assert whole.audio_seconds - part.audio_seconds <= 2.0 * outcome.plan.calls
    assert whole.requests["llm"] - part.requests["llm"] <= 2 * outcome.plan.calls


@pytest.mark.timeout(300)
async def test_usage_of_a_host_is_all_there_when_postgresql_is_back(
    postgres_server: PostgresServer,
) -> None:
    assert_all_is_there_once(await be_away(QUICK, postgres_server))


@pytest.mark.faults
@pytest.mark.timeout(5400)
async def test_usage_of_a_host_is_all_there_when_postgresql_is_back_after_an_hour(
    postgres_server: PostgresServer,
) -> None:
    assert_all_is_there_once(await be_away(HOUR, postgres_server))
