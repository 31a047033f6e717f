"""What holds of jobs that died, however they did."""

from __future__ import annotations

from collections import Counter

from faulting.kill import Aftermath

__all__ = ["check_bound", "check_once", "check_order"]

BOUND = 1.0
"""Seconds of one stream that a process may lose with its life."""


def check_bound(left: Aftermath) -> None:
    """At most a second of any stream is lost, and what the machine stood still meanwhile."""
    for outcome in left.outcomes:
        for stream in outcome.streams:
            assert stream.seconds_lost <= BOUND + outcome.stood_still, (outcome.plan, stream)


def check_once(left: Aftermath) -> None:
    """Nothing is counted twice: no stream, no request, and no row in the totals."""
    for outcome in left.outcomes:
        assert outcome.twice == [], outcome.plan
        # one row and no more for each request that a provider saw, or would have
        requests = Counter(stream.modality for stream in outcome.streams)
        rows = Counter(row.modality for row in outcome.rows)
        assert rows <= requests, outcome.plan
    assert left.checks
    assert not any(check.mismatches for check in left.checks)


def check_order(left: Aftermath) -> None:
    """What a dead process left behind is in order when the next ones have opened the ledger."""
    for outcome in left.outcomes:
        assert outcome.rows, outcome.plan
        assert "open" not in {row.status for row in outcome.rows}, outcome.plan
        died = [row for row in outcome.rows if row.error and "process ended" in row.error]
        assert {row.status for row in died} <= {"cancelled"}
        assert all(row.ended_at is not None for row in outcome.rows)
        assert len(died) >= outcome.left_open
    assert set(left.leased) == {0}
