"""settled + leased <= budget, whatever processes do and in whatever order they do it.

Hypothesis plays several processes on several days: they acquire, write rows whose costs grow and
shrink, give back, renew, vanish; time passes and the budget is changed. A model in a few lines says
what must be so after each step.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from support.ledger_places import fresh_place
from support.postgres import PostgresServer
from support.usage_rows import NOON, usage_row

from livekit_plugins_voicegateway.ledger.base import Grant
from livekit_plugins_voicegateway.metering.usage import UsageRow

LIFE = 30.0
PROJECTS = ("prod", "staging")
DAYS = ("2027-01-15", "2027-01-16")

T = TypeVar("T")

amounts = st.integers(0, 40) | st.integers(0, 2_000)
accounts = st.sampled_from((("prod", DAYS[0]), ("prod", DAYS[1]), ("staging", DAYS[0])))

Account = tuple[str, str]
"""A project and a day: what a budget is for."""


@dataclass
class Lease:
    held: int  # granted less given back less spent; below 0 when more was spent
    expires_at: float


class Written(NamedTuple):
    """A row, by its place among the rows of the machine."""

    index: int


class Leases(RuleBasedStateMachine):
    """Costs are whatever they are; the subclass keeps them within the leases."""

    within_lease: ClassVar = False
    server: ClassVar[PostgresServer | None] = None

    owners = Bundle("owners")
    rows = Bundle("rows")

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.left = ExitStack()
        folder = Path(self.left.enter_context(tempfile.TemporaryDirectory()))
        place = self.left.enter_context(fresh_place(self.server, folder, lambda: self.now))
        self.runner = self.left.enter_context(asyncio.Runner())
        self.ledger = place.ledger()
        self.run(self.ledger.open())

        self.budget = dict.fromkeys(PROJECTS, 1_000)
        self.leases: dict[tuple[Account, str], Lease] = {}
        self.written: list[UsageRow] = []
        self.allowed: dict[Account, int] = {}  # by the budgets under which something was granted
        self.beyond: dict[Account, int] = {}  # spent while the lease had nothing for it
        self.processes = 0

    def teardown(self) -> None:
        self.run(self.ledger.close())
        self.left.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # what the model says

    def settled(self, account: Account) -> int:
        return sum(row.cost_nanos or 0 for row in self.written if (row.project, row.day) == account)

    def leased(self, account: Account) -> int:
        return sum(
            max(0, lease.held)
            for (of, _), lease in self.leases.items()
            if of == account and lease.expires_at > self.now
        )

    def live(self, account: Account, owner: str) -> Lease | None:
        lease = self.leases.get((account, owner))
        return lease if lease is not None and lease.expires_at > self.now else None

    def spend(self, account: Account, owner: str, nanos: int) -> None:
        lease = self.live(account, owner)
        covered = max(0, lease.held) if lease is not None else 0
        self.beyond[account] = self.beyond.get(account, 0) + max(0, nanos - covered)
        if (account, owner) in self.leases:
            self.leases[account, owner].held -= nanos

    def affordable(self, account: Account, owner: str, nanos: int) -> int:
        if not self.within_lease:
            return nanos
        lease = self.live(account, owner)
        return min(nanos, max(0, lease.held)) if lease is not None else 0

    # what happens

    @initialize(target=owners)
    def begin(self) -> Any:
        return multiple("process-a", "process-b")

    @rule(target=owners)
    def start_process(self) -> str:
        self.processes += 1
        return f"process-{self.processes}"

    @rule(
        owner=owners,
        account=accounts,
        need=amounts,
        want=amounts,
        share=st.sampled_from((1, 2, 16)),
    )
    def acquire(self, owner: str, account: Account, need: int, want: int, share: int) -> None:
        project, day = account
        budget = self.budget[project]
        unspent = budget - self.settled(account)
        left = unspent - self.leased(account)
        mine = self.live(account, owner)
        others = [
            lease
            for (of, who), lease in self.leases.items()
            if of == account and who != owner and lease.held > 0 and lease.expires_at > self.now
        ]
        fair = unspent // max(1, share // 4) // (len(others) + 1)
        fair -= max(0, mine.held) if mine is not None else 0
        granted = max(0, need, min(want, left // share, fair)) if left >= need else 0

        answer = self.run(
            self.ledger.acquire_lease(
                project,
                day,
                owner,
                budget_nanos=budget,
                need_nanos=need,
                want_nanos=want,
                share=share,
                expires_at=self.now + LIFE,
            )
        )
        if granted:
            lease = self.live(account, owner) or Lease(0, 0.0)
            self.leases[account, owner] = Lease(lease.held + granted, self.now + LIFE)
            self.allowed[account] = max(self.allowed.get(account, 0), budget)
            assert answer.settled_nanos + answer.leased_nanos <= budget
        assert answer == Grant(granted, self.settled(account), self.leased(account))

    @rule(target=rows, owner=owners, account=accounts, cost=st.none() | amounts)
    def write(self, owner: str, account: Account, cost: int | None) -> Written:
        if cost is not None:
            cost = self.affordable(account, owner, cost)
        project, day = account
        row = usage_row(
            project=project,
            day=day,
            status="open",
            cost_nanos=cost,
            duration_ms=0.0,
            owner=owner,
        )
        self.run(self.ledger.write([row]))
        self.spend(account, owner, cost or 0)
        self.written.append(row)
        return Written(len(self.written) - 1)

    @rule(of=rows, more=amounts, closed=st.booleans())
    def cost_grows(self, of: Written, more: int, closed: bool) -> None:
        row = self.written[of.index]
        account = (row.project, row.day)
        assert row.owner is not None
        more = self.affordable(account, row.owner, more)
        if row.status != "open":
            closed = True
        later = replace(
            row,
            status="completed" if closed else "open",
            cost_nanos=(row.cost_nanos or 0) + more,
            duration_ms=(row.duration_ms or 0.0) + 1.0,
        )
        self.run(self.ledger.write([later, later]))
        self.spend(account, row.owner, more)
        self.written[of.index] = later

    @rule(of=rows, less=amounts)
    def cost_shrinks(self, of: Written, less: int) -> None:
        row = self.written[of.index]
        less = min(less, row.cost_nanos or 0)
        final = replace(row, status="completed", cost_nanos=(row.cost_nanos or 0) - less)
        self.run(self.ledger.write([final]))
        assert row.owner is not None
        self.spend((row.project, row.day), row.owner, -less)
        self.written[of.index] = final

    @rule(of=rows)
    def write_again_what_was_written(self, of: Written) -> None:
        self.run(self.ledger.write([self.written[of.index]]))

    @rule(owner=owners, account=accounts, nanos=amounts)
    def give_back(self, owner: str, account: Account, nanos: int) -> None:
        self.run(self.ledger.return_lease(*account, owner, nanos))
        lease = self.leases.get((account, owner))
        if lease is not None:
            if max(0, lease.held) <= nanos:
                del self.leases[account, owner]
            else:
                lease.held -= nanos

    @rule(owner=owners)
    def renew(self, owner: str) -> None:
        renewed = self.run(self.ledger.renew_leases(owner, self.now + LIFE))
        alive = {account for account, of in self.leases if of == owner and self.live(account, of)}
        assert set(renewed) == alive
        for (account, of), lease in list(self.leases.items()):
            if lease.expires_at <= self.now:
                del self.leases[account, of]
            elif of == owner:
                lease.expires_at = self.now + LIFE

    @rule(seconds=st.sampled_from((0.5, 9.0, LIFE / 2, LIFE, 3600.0)))
    def time_passes(self, seconds: float) -> None:
        # who does not renew meanwhile has crashed
        self.now += seconds

    @rule()
    def somebody_opens_the_ledger(self) -> None:
        self.run(self.ledger.housekeeping(retention_days=400, today=DAYS[0]))
        for key, lease in list(self.leases.items()):
            if lease.expires_at <= self.now:
                del self.leases[key]

    @rule(project=st.sampled_from(PROJECTS), budget=amounts)
    def change_budget(self, project: str, budget: int) -> None:
        self.budget[project] = budget

    # what must be so

    @invariant()
    def ledger_and_model_agree(self) -> None:
        for project in PROJECTS:
            for day in DAYS:
                found = self.run(self.ledger.budget_status(project, day))
                assert found == (self.settled((project, day)), self.leased((project, day)))

    @invariant()
    def no_more_is_given_out_than_the_budget_has(self) -> None:
        for project in PROJECTS:
            for day in DAYS:
                settled, leased = self.run(self.ledger.budget_status(project, day))
                account = (project, day)
                beyond = self.beyond.get(account, 0)
                assert settled + leased <= self.allowed.get(account, 0) + beyond
                if self.within_lease:
                    assert beyond == 0


class LeasesThatAreKept(Leases):
    """Nobody spends more than it has leased."""

    within_lease = True


@pytest.mark.parametrize("machine", [Leases, LeasesThatAreKept])
def test_no_more_is_spent_and_leased_than_the_budget_has(
    machine: type[Leases], engine: PostgresServer | None
) -> None:
    limits = settings(
        max_examples=30 if engine is None else 12,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(type("Here", (machine,), {"server": engine}), settings=limits)
