"""A bug of ours in metering, pricing, budgets or the ledger: the call does not notice it."""

from __future__ import annotations

import pytest
from faulting.own_bugs import Outcome, stage, try_all

UNRECORDED = (
    "attempts._watch_attempts",
    "attempt_began",
    "Gateway.track",
    "Recorder.track",
)
"""Where a bug leaves nothing that could be written: the log is all there is."""


def check(outcomes: list[Outcome]) -> None:
    noticed = [(o.target, o.when, o.differences) for o in outcomes if o.differences]
    assert not noticed, "calls have noticed a bug"
    struck = [o for o in outcomes if o.strikes]
    assert len(struck) > len(outcomes) / 2
    silent = [(o.target, o.when) for o in struck if not o.reported]
    assert not silent, "nothing in the log says so"
    assert not [(o.target, o.when) for o in outcomes if not o.recovered], "the recorder has ended"
    wrong = [(o.target, o.when, o.wrong) for o in outcomes if o.wrong]
    assert not wrong, "rows say less than was used, and do not say that they do"
    lost = [(o.target, o.when, o.missing) for o in outcomes if o.missing]
    assert not [found for found in lost if not found[0].endswith(UNRECORDED)], "rows are missing"


async def test_no_call_notices_a_bug_of_ours_and_every_row_is_right_or_marked() -> None:
    async with stage() as (sandbox, folder):
        check(await try_all(sandbox, folder, ("before",), every=12))


@pytest.mark.faults
@pytest.mark.timeout(3600)
# a connection that was opened by what then raises is nobody's
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_no_call_notices_a_bug_anywhere_in_what_counts_and_writes_it() -> None:
    async with stage() as (sandbox, folder):
        outcomes = await try_all(sandbox, folder, ("before", "after"))
    assert len(outcomes) > 300
    check(outcomes)
