"""Jobs that die while they hold calls, in processes of their own: what the ledger has of them."""

from __future__ import annotations

import asyncio
import signal

import pytest
from faulting.kill import FAULTS, OPTIONS, Aftermath, Fault, end_jobs, random_deaths
from faulting.killed_call import Death, Plan
from faulting.killed_jobs import hold_calls
from killed_checks import check_bound, check_once, check_order

pytestmark = pytest.mark.timeout(600)

# of those whom LiveKit kills it depends on the version whether SIGUSR1 ends them or SIGKILL
STATUS: dict[Death, int] = {
    "killed": -signal.SIGKILL,
    "statement": -signal.SIGKILL,
    "commit": -signal.SIGKILL,
    "exit": 3,
    "crash": -signal.SIGSEGV,
    "bad-callback": 0,
}


def plans(first: int, *deaths: Death) -> list[Plan]:
    return [Plan(number, death, 1.0) for number, death in enumerate(deaths, first)]


async def die_in_every_way() -> Aftermath:
    """A worker whose jobs are killed, die by themselves, and end with it."""
    left = Aftermath()
    kills = random_deaths(6)
    async with hold_calls(**OPTIONS, shutdown_process_timeout=2.0) as calls:
        for some in (
            kills[:3],
            kills[3:],
            plans(10, "exit", "bad-callback", "stuck-process"),
            plans(20, "no-memory", "crash", "too-big"),
        ):
            left.outcomes += await calls.end(some)
        left.outcomes += await calls.end(plans(30, "killed", "killed"), locked=True)
        left.outcomes += await calls.end(
            plans(40, "slow-callback", "living"), number=signal.SIGTERM
        )
        left.checks, left.leased = calls.checks, calls.leased
    return left


@pytest.fixture(scope="module")
def left() -> Aftermath:
    return asyncio.run(die_in_every_way())


def test_at_most_a_second_of_a_stream_is_lost(left: Aftermath) -> None:
    check_bound(left)


def test_nothing_is_counted_twice(left: Aftermath) -> None:
    check_once(left)


def test_what_was_left_open_is_closed_by_whoever_opens_the_ledger_next(left: Aftermath) -> None:
    check_order(left)


def test_they_died_as_planned_in_the_middle_of_calls(left: Aftermath) -> None:
    for outcome in left.outcomes:
        expected = STATUS.get(outcome.plan.death)
        assert expected is None or outcome.status == expected, outcome.plan
        under_way = {stream.modality for stream in outcome.streams if stream.under_way}
        assert "stt" in under_way, outcome.plan


def test_a_job_that_ends_by_itself_closes_its_rows(left: Aftermath) -> None:
    for outcome in left.outcomes:
        if outcome.plan.death in ("bad-callback", "living"):
            assert outcome.left_open == 0
            assert not any(stream.seconds_lost > 0.1 for stream in outcome.streams)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_two_hundred_processes_killed_at_random_moments_lose_a_second_of_a_stream_at_most() -> None:
    left = asyncio.run(end_jobs(random_deaths(200)))
    assert len(left.outcomes) == 200
    check_bound(left)
    check_once(left)
    check_order(left)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.text)
def test_jobs_that_die_lose_a_second_of_a_stream_at_most(fault: Fault) -> None:
    left = asyncio.run(
        end_jobs(
            fault.plans(fault.tries),
            options=fault.options,
            number=fault.number,
            locked=fault.locked,
        )
    )
    check_bound(left)
    check_once(left)
    check_order(left)
