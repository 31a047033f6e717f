"""Admission: what becomes of one request when its project's budget has answered.

A budget says whether there is money (`budgets`); the project's action and the configuration say
what follows from it. `Admission` turns the two into one of: go on, go on with the local fallback,
or raise.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from .budgets import Answer, Budget, Hold
from .bugs import report_bug
from .config import LedgerFailureAction
from .leases import Budgets
from .log import logger
from .money import dollars
from .projects import BudgetAction, Project

if TYPE_CHECKING:
    from .signals import BudgetRefusal

__all__ = ["Admission", "Verdict"]

LONGEST_WAIT = 0.05
"""Seconds that a request waits for the ledger at most."""


class Verdict:
    """What becomes of a request. No dataclass: a frozen one takes as long to make as the decision.

    Attributes:
        hold: What it holds of the budget; None when nothing is counted against it.
        refused: Why the chosen model may not be used; None when it may. With ``throttle`` the
            local fallback serves in its place, where there is one.
    """

    __slots__ = ("hold", "refused")

    def __init__(self, hold: Hold | None = None, refused: BudgetRefusal | None = None) -> None:
        self.hold = hold
        self.refused = refused

    @property
    def throttled(self) -> bool:
        """Whether the local fallback is to serve."""
        return self.refused is not None and self.refused.action == "throttle"


class Admission:
    """Decides about requests of all projects of this process.

    Args:
        budgets: The budgets.
        on_ledger_failure: What a project with a budget does when its spend cannot be known.
    """

    def __init__(self, budgets: Budgets, on_ledger_failure: LedgerFailureAction) -> None:
        self._budgets = budgets
        self._on_ledger_failure = on_ledger_failure

    def decide_now(self, project: Project, nanos: int) -> Verdict:
        """Decide without waiting; a request that would have to wait is let through.

        Args:
            project: Who pays.
            nanos: What the request is expected to cost; 0 for a model that is free.
        """
        budget = self._budgets.of(project)
        if budget is None:
            return Verdict()
        found = budget.admit(nanos)
        if found is Answer.WAIT:
            return Verdict(budget.untaken())
        return Verdict(found) if isinstance(found, Hold) else self._verdict(budget, found)

    async def decide(self, project: Project, nanos: int) -> Verdict:
        """Decide; a burst that has outrun its slice waits for the ledger, `LONGEST_WAIT` at most.

        Args:
            project: Who pays.
            nanos: What the request is expected to cost; 0 for a model that is free.
        """
        budget = self._budgets.of(project)
        if budget is None:
            return Verdict()
        found = budget.admit(nanos)
        if found is Answer.WAIT:
            found = await _admitted_in_time(budget, nanos)
        return Verdict(found) if isinstance(found, Hold) else self._verdict(budget, found)

    def extended(self, project: Project, hold: Hold | None, nanos: int) -> Verdict:
        """Decide about the next second of a running stream, without waiting."""
        if hold is None:
            return self.decide_now(project, nanos)
        budget = self._budgets.of(project)
        if budget is None:
            return Verdict(hold)  # the limit is gone; what was held is let go of at the end
        found = hold.extend(nanos)
        if isinstance(found, Hold) or found is Answer.WAIT:
            return Verdict(hold)
        verdict = self._verdict(budget, found)
        return verdict if verdict.refused is not None else Verdict(hold)

    def check(self, project: Project) -> None:
        """Raise what a request would raise now, without making one.

        Raises:
            BudgetExceededError: The budget is spent and the action is ``block``.
            BudgetThrottleSignal: The budget is spent and the action is ``throttle``.
        """
        try:
            refused = self.refusal(project)
        except Exception as e:
            report_bug("find out whether a budget is spent", e)
            return
        if refused is not None:
            raise refused

    def refusal(self, project: Project) -> BudgetRefusal | None:
        """What a request would raise now; None when it would be let through."""
        budget = self._budgets.of(project)
        if budget is None or not budget.is_spent:
            return None
        return self._verdict(budget, Answer.SPENT).refused

    def _verdict(self, budget: Budget, answer: Answer) -> Verdict:
        project = budget.project
        if answer is Answer.SPENT:
            action: BudgetAction = project.budget_action
            if action == "warn":
                self._warn(budget)
                return Verdict(budget.untaken())
            return Verdict(refused=_refusal(budget, action, "Today's money is spent."))
        if self._on_ledger_failure == "allow" or project.budget_action == "warn":
            return Verdict(budget.untaken())
        return Verdict(
            refused=_refusal(
                budget,
                self._on_ledger_failure,
                "The ledger does not answer, so today's spend is not known.",
            )
        )

    def _warn(self, budget: Budget) -> None:
        if budget.warned:
            return
        budget.warned = True
        logger.warning(
            "project %r has spent its daily budget of %s; requests go on (budget_action: warn)",
            budget.project.id,
            dollars(budget.limit_nanos),
        )


def _refusal(budget: Budget, action: BudgetAction, reason: str) -> BudgetRefusal:
    # imported here: the command line reads budgets too, and has no livekit-agents
    from .signals import BudgetExceededError, BudgetThrottleSignal

    kind = BudgetThrottleSignal if action == "throttle" else BudgetExceededError
    return kind(
        reason,
        project=budget.project.id,
        limit_nanos=budget.limit_nanos,
        spent_nanos=budget.spent_by_all,
        action=action,
        resets_at=budget.resets_at,
    )


async def _admitted_in_time(budget: Budget, nanos: int) -> Hold | Answer:
    """Ask again whenever the ledger has answered, for `LONGEST_WAIT`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LONGEST_WAIT
    in_time = True
    found: Hold | Answer = Answer.WAIT
    while found is Answer.WAIT and in_time:
        event = asyncio.Event()
        budget.on_answer(partial(loop.call_soon_threadsafe, event.set))
        try:
            async with asyncio.timeout_at(deadline):
                await event.wait()
        except TimeoutError:
            in_time = False  # it may have answered all the same, and the loop had other work
        found = budget.admit(nanos)
    return Answer.UNKNOWN if found is Answer.WAIT else found
