"""Leases: what they grant, how rows pay out of them, and when they end."""

from __future__ import annotations

import inspect
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ledger_places import Place
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.leases import LeaseLedger
from livekit_plugins_voicegateway.ledger.base import Grant, Ledger
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger

sqlite_only = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

BUDGET = 1_000
LIFE = 30.0
YESTERDAY = "2027-01-14"


async def acquire(ledger: Ledger, owner: str = "a", *, want: int, **changes: Any) -> Grant:
    asked: dict[str, Any] = {
        "budget_nanos": BUDGET,
        "need_nanos": 0,
        "share": 1,
        "expires_at": NOON + LIFE,
        **changes,
    }
    day = asked.pop("day", DAY)
    project = asked.pop("project", "prod")
    return await ledger.acquire_lease(project, day, owner, want_nanos=want, **asked)


async def status(ledger: Ledger, day: str = DAY, project: str = "prod") -> tuple[int, int]:
    return await ledger.budget_status(project, day)


def owners(place: Place) -> list[str]:
    return [owner for (owner,) in place.sql("SELECT owner FROM leases ORDER BY owner")]


@pytest.mark.parametrize("kind", [SqliteLedger, PostgresLedger])
@pytest.mark.parametrize("method", ["acquire_lease", "return_lease", "renew_leases"])
def test_a_ledger_is_what_budgets_ask_for(method: str, kind: type[Ledger]) -> None:
    asked = inspect.signature(getattr(LeaseLedger, method))
    assert inspect.signature(getattr(kind, method)) == asked


async def test_nothing_is_spent_or_leased_to_begin_with(ledger: Ledger) -> None:
    assert await status(ledger) == (0, 0)


async def test_a_grant_is_what_is_wanted_while_there_is_enough(ledger: Ledger) -> None:
    assert await acquire(ledger, want=300) == Grant(300, 0, 300)
    assert await acquire(ledger, "b", want=300) == Grant(300, 0, 600)
    assert await status(ledger) == (0, 600)


async def test_a_grant_is_at_most_a_share_of_what_is_left(ledger: Ledger) -> None:
    assert (await acquire(ledger, want=900, share=4)).granted_nanos == 250
    assert (await acquire(ledger, want=900, share=4)).granted_nanos == 187


async def test_what_is_needed_is_granted_whatever_the_share(ledger: Ledger) -> None:
    assert (await acquire(ledger, need_nanos=600, want=900, share=4)).granted_nanos == 600
    assert (await acquire(ledger, need_nanos=400, want=900, share=4)).granted_nanos == 400


async def test_the_first_of_many_do_not_lease_what_the_last_need(ledger: Ledger) -> None:
    large = {"budget_nanos": 1_000_000, "want": 100_000, "share": 16}
    owners = [str(n) for n in range(50)]
    granted = [(await acquire(ledger, owner, **large)).granted_nanos for owner in owners]
    assert granted[0] == 1_000_000 // 16
    assert granted[-1] == 1_000_000 // 4 // 50
    assert (await acquire(ledger, "0", **large)).granted_nanos == 0, "it holds its part"
    assert (await acquire(ledger, "0", **large, need_nanos=3)).granted_nanos == 3
    for owner in owners[1:]:
        await ledger.return_lease("prod", DAY, owner, 1_000_000)
    assert (await acquire(ledger, "0", **large)).granted_nanos > 10_000, "it is alone"


async def test_nothing_is_granted_when_less_is_left_than_needed(ledger: Ledger) -> None:
    await acquire(ledger, want=900)
    assert await acquire(ledger, "b", need_nanos=101, want=500) == Grant(0, 0, 900)
    assert await acquire(ledger, "b", need_nanos=100, want=500) == Grant(100, 0, 1000)
    assert await acquire(ledger, "b", need_nanos=0, want=500) == Grant(0, 0, 1000)


async def test_a_question_changes_nothing(ledger: Ledger, place: Place) -> None:
    await acquire(ledger, want=300)
    await ledger.write([usage_row(cost_nanos=50)])
    assert await acquire(ledger, "b", want=0, expires_at=NOON + 999) == Grant(0, 50, 300)
    assert owners(place) == ["a"]


async def test_a_budget_that_was_cut_grants_nothing_until_enough_has_come_back(
    ledger: Ledger,
) -> None:
    await acquire(ledger, want=800)
    assert (await acquire(ledger, "b", want=1, budget_nanos=500)).granted_nanos == 0
    await ledger.return_lease("prod", DAY, "a", 400)
    assert (await acquire(ledger, "b", want=500, budget_nanos=500)).granted_nanos == 100


@sqlite_only  # elsewhere it makes up its mind when it is its turn
async def test_what_others_took_while_a_process_made_up_its_mind_is_not_granted(
    ledger: Ledger, path: Path
) -> None:
    class TakesItBetween:
        """The time; when it is asked for again, somebody else has got all but 30."""

        def __init__(self) -> None:
            self.asked = 0

        def __call__(self) -> float:
            self.asked += 1
            if self.asked == 2:
                shell = sqlite3.connect(path)
                shell.execute(
                    "INSERT INTO leases (project, day, owner, amount_nanos, expires_at) "
                    "VALUES ('prod', ?, 'b', 970, ?)",
                    (DAY, NOON + LIFE),
                )
                shell.commit()
                shell.close()
            return NOON

    async with SqliteLedger(path, clock=TakesItBetween()) as other:
        assert await acquire(other, want=100) == Grant(30, 0, 1000)
    assert await status(ledger) == (0, 1000)


async def test_a_process_that_others_are_always_ahead_of_is_told_so_and_not_refused(
    path: Path,
) -> None:
    class OthersComeAndGo:
        """The time; whenever somebody looks, others have given back, and then taken again."""

        def __init__(self) -> None:
            self.asked = 0

        def __call__(self) -> float:
            self.asked += 1
            shell = sqlite3.connect(path)
            shell.execute("DELETE FROM leases")
            if self.asked % 2 == 0:
                shell.execute(
                    "INSERT INTO leases (project, day, owner, amount_nanos, expires_at) "
                    "VALUES ('prod', ?, 'b', 1000, ?)",
                    (DAY, NOON + LIFE),
                )
            shell.commit()
            shell.close()
            return NOON

    async with SqliteLedger(path, clock=OthersComeAndGo()) as ledger:
        with pytest.raises(LedgerError, match="'prod' 50 times"):
            await acquire(ledger, want=100)


async def test_a_budget_of_nothing_grants_nothing(ledger: Ledger) -> None:
    assert await acquire(ledger, need_nanos=1, want=9, budget_nanos=0) == Grant(0, 0, 0)


async def test_a_budget_beyond_all_numbers_is_no_fault(ledger: Ledger) -> None:
    grant = await acquire(ledger, want=10**30, budget_nanos=10**30, share=16)
    assert grant.granted_nanos == (2**63 - 1) // 16
    await ledger.return_lease("prod", DAY, "a", 10**30)
    assert await status(ledger) == (0, 0)


async def test_what_others_have_spent_is_not_granted(ledger: Ledger) -> None:
    await ledger.write(
        [
            usage_row(cost_nanos=300),
            usage_row(cost_nanos=200, modality="tts", model="sonic-3"),
            usage_row(cost_nanos=None),
            usage_row(cost_nanos=900, project="staging"),
            usage_row(cost_nanos=900, day=YESTERDAY),
        ]
    )
    assert await acquire(ledger, want=BUDGET) == Grant(500, 500, 500)


async def test_projects_and_days_have_budgets_of_their_own(ledger: Ledger) -> None:
    for where in ({}, {"project": "staging"}, {"day": YESTERDAY}):
        assert (await acquire(ledger, want=BUDGET, **where)).granted_nanos == BUDGET


async def test_what_a_row_costs_is_paid_out_of_its_owners_lease(ledger: Ledger) -> None:
    await acquire(ledger, want=300)
    await acquire(ledger, "b", want=300)
    await ledger.write([usage_row(cost_nanos=100, owner="a")])
    assert await status(ledger) == (100, 500)
    await ledger.write([usage_row(cost_nanos=100, owner="b"), usage_row(cost_nanos=7)])
    assert await status(ledger) == (207, 400)


async def test_a_row_pays_for_its_growth_only(ledger: Ledger) -> None:
    await acquire(ledger, want=300)
    row = usage_row(status="open", cost_nanos=None, owner="a", duration_ms=1.0)
    await ledger.write([row])
    assert await status(ledger) == (0, 300)
    for cost in (40, 100, 100):
        await ledger.write([replace(row, cost_nanos=cost)])
        assert await status(ledger) == (cost, 300 - cost)


async def test_a_cost_that_shrinks_goes_back_into_the_lease(ledger: Ledger) -> None:
    await acquire(ledger, want=300)
    row = usage_row(cost_nanos=200, owner="a")
    await ledger.write([row])
    await ledger.write([replace(row, cost_nanos=150)])
    assert await status(ledger) == (150, 150)
    await ledger.write([replace(row, cost_nanos=None)])
    assert await status(ledger) == (0, 300)


async def test_a_cost_that_shrinks_goes_nowhere_when_there_is_no_lease(ledger: Ledger) -> None:
    await acquire(ledger, want=300)
    row = usage_row(cost_nanos=200, owner="a")
    await ledger.write([row])
    await ledger.return_lease("prod", DAY, "a", 100)
    await ledger.write([replace(row, cost_nanos=150)])
    assert await status(ledger) == (150, 0)


async def test_what_is_spent_beyond_a_lease_is_paid_by_the_next_grant(ledger: Ledger) -> None:
    await acquire(ledger, want=100)
    row = usage_row(cost_nanos=130, owner="a")
    await ledger.write([row])
    assert await status(ledger) == (130, 0)
    assert await acquire(ledger, want=50) == Grant(50, 130, 20)
    await ledger.write([usage_row(cost_nanos=5, owner="a")])
    assert await status(ledger) == (135, 15)


async def test_what_was_spent_beyond_a_lease_and_was_not_is_no_lease(ledger: Ledger) -> None:
    await acquire(ledger, want=100)
    row = usage_row(cost_nanos=130, owner="a")
    await ledger.write([row])
    await ledger.write([replace(row, cost_nanos=120)])
    assert await status(ledger) == (120, 0)
    await ledger.write([replace(row, cost_nanos=90)])
    assert await status(ledger) == (90, 10)


async def test_a_row_that_moves_takes_its_cost_along(ledger: Ledger) -> None:
    await acquire(ledger, want=300)
    await acquire(ledger, want=300, day=YESTERDAY)
    row = usage_row(cost_nanos=100, owner="a")
    await ledger.write([row])
    await ledger.write([replace(row, day=YESTERDAY, cost_nanos=120)])
    assert await status(ledger) == (0, 300)
    assert await status(ledger, YESTERDAY) == (120, 180)


async def test_a_row_that_changes_hands_pays_what_is_new(ledger: Ledger) -> None:
    await acquire(ledger, want=300)
    await acquire(ledger, "b", want=300)
    row = usage_row(cost_nanos=100, owner="a")
    await ledger.write([row])
    await ledger.write([replace(row, cost_nanos=130, owner="b")])
    assert await status(ledger) == (130, 470)


async def test_a_lease_is_given_back_in_part_or_as_a_whole(ledger: Ledger, place: Place) -> None:
    await acquire(ledger, want=300)
    await ledger.return_lease("prod", DAY, "a", 100)
    assert await status(ledger) == (0, 200)
    assert owners(place) == ["a"]
    await ledger.return_lease("prod", DAY, "a", 500)
    assert await status(ledger) == (0, 0)
    assert owners(place) == []
    await ledger.return_lease("prod", DAY, "a", 500)


async def test_a_lease_that_is_not_renewed_comes_back(ledger: Ledger, clock: Any) -> None:
    await acquire(ledger, want=BUDGET)
    clock.now = NOON + LIFE - 0.001
    assert (await acquire(ledger, "b", want=1)).granted_nanos == 0
    clock.now = NOON + LIFE
    assert await status(ledger) == (0, 0)
    assert await acquire(ledger, "b", want=BUDGET, expires_at=NOON + 99) == Grant(1000, 0, 1000)


async def test_a_lease_that_is_renewed_lives_on(ledger: Ledger, clock: Any) -> None:
    await acquire(ledger, want=300)
    await acquire(ledger, want=300, project="staging")
    await acquire(ledger, "b", want=100)
    clock.now = NOON + 10
    renewed = await ledger.renew_leases("a", NOON + 10 + LIFE)
    assert sorted(renewed) == [("prod", DAY), ("staging", DAY)]
    clock.now = NOON + LIFE
    assert await status(ledger) == (0, 300)
    assert await status(ledger, project="staging") == (0, 300)


async def test_a_lease_that_has_expired_is_not_renewed(ledger: Ledger, clock: Any) -> None:
    await acquire(ledger, want=300)
    clock.now = NOON + LIFE
    assert list(await ledger.renew_leases("a", NOON + LIFE + LIFE)) == []
    assert await status(ledger) == (0, 0)


async def test_a_lease_that_has_expired_is_not_added_to(ledger: Ledger, clock: Any) -> None:
    await acquire(ledger, want=300)
    await ledger.write([usage_row(cost_nanos=400, owner="a")])
    clock.now = NOON + LIFE
    assert await acquire(ledger, want=50, expires_at=NOON + 99) == Grant(50, 400, 50)
    assert await status(ledger) == (400, 50)


async def test_a_lease_that_is_added_to_lives_on_as_a_whole(ledger: Ledger, clock: Any) -> None:
    await acquire(ledger, want=300)
    clock.now = NOON + 10
    await acquire(ledger, want=100, expires_at=NOON + 10 + LIFE)
    clock.now = NOON + LIFE
    assert await status(ledger) == (0, 400)


async def test_expired_leases_are_deleted_in_passing(
    ledger: Ledger, clock: Any, place: Place
) -> None:
    await acquire(ledger, want=300)
    await acquire(ledger, "b", want=300, expires_at=NOON + 99)
    clock.now = NOON + LIFE
    await ledger.renew_leases("b", NOON + 99)
    assert owners(place) == ["b"]


async def test_housekeeping_deletes_leases_of_past_days(ledger: Ledger, place: Place) -> None:
    await acquire(ledger, "yesterday", want=1, day=YESTERDAY)
    await acquire(ledger, "expired", want=1, expires_at=NOON - 1)
    await acquire(ledger, "today", want=1)
    await ledger.housekeeping(retention_days=400, today=DAY)
    assert owners(place) == ["today"]


async def test_who_only_reads_learns_the_status_and_leases_nothing(
    ledger: Ledger, place: Place
) -> None:
    await acquire(ledger, want=300)
    await ledger.write([usage_row(cost_nanos=100, owner="a")])
    async with place.ledger(read_only=True) as reader:
        assert await status(reader) == (100, 200)
        with pytest.raises(LedgerError, match="for reading only"):
            await acquire(reader, "b", want=1)
        with pytest.raises(LedgerError, match="for reading only"):
            await reader.return_lease("prod", DAY, "a", 1)


async def test_a_ledger_that_does_not_exist_has_nothing_spent_or_leased(path: Path) -> None:
    async with SqliteLedger(path, read_only=True) as reader:
        assert await status(reader) == (0, 0)
    assert not path.exists()


async def test_names_that_are_no_text_are_leased_to_like_others(ledger: Ledger) -> None:
    assert (await acquire(ledger, "\ud800'; --", want=5)).granted_nanos == 5
    assert await status(ledger) == (0, 5)


async def test_a_lock_that_is_never_let_go_is_named(path: Path) -> None:
    async with SqliteLedger(path, busy_timeout=0.05) as ledger:
        shell = sqlite3.connect(path, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process has kept it locked"):
            await acquire(ledger, want=1)
        assert await acquire(ledger, want=0) == Grant(0, 0, 0)
        shell.execute("ROLLBACK")
        shell.close()
        assert (await acquire(ledger, want=1, expires_at=2**40)).granted_nanos == 1
