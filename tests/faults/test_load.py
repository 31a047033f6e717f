"""Many calls at once: what the ledger has is what the providers bill, to the token."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faulting.load import ONE_FILE, ONE_PROCESS, QUICK, Load, Plan, bear, finding


def assert_exact(load: Load) -> None:
    assert sum(report.turns for report in load.gateway) > 0
    assert [report.errors for report in load.gateway] == [{}] * load.plan.processes
    # a connection that a provider took up late is made again by the plugin: the stream is the same
    assert load.recorded.streams == load.plan.processes * load.plan.calls
    assert load.recorded == replace(load.billed, streams=load.recorded.streams)
    assert load.still_open == 0
    assert load.mismatches == 0
    assert (finding(load).lost, finding(load).twice) == ("nothing", "nothing")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("plan", QUICK, ids=["one process", "one file"])
async def test_totals_of_calls_at_once_are_exact(plan: Plan) -> None:
    assert_exact(await bear(plan, compare=False))


@pytest.mark.faults
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("plan", [ONE_PROCESS, ONE_FILE], ids=["one process", "one file"])
async def test_totals_of_hundreds_of_calls_for_ten_minutes_are_exact_and_memory_is_flat(
    plan: Plan,
) -> None:
    load = await bear(plan, compare=False)
    assert_exact(load)
    for report in load.gateway:
        # it would have grown by as much as a call's rows and texts in each second half otherwise
        middle = report.memory_mb[len(report.memory_mb) // 2]
        assert report.memory_mb[-1] < 1.1 * middle
