"""What a worker notices, made into alerts: the gateway calls this when a budget runs out, a price
is not known, or the ledger fails.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from ..errors import VoiceGatewayError
from ..ledger.urls import without_credentials
from ..log import logger
from ..metering.ids import uuid7
from .events import budget_alert, ledger_alert, price_alert

if TYPE_CHECKING:
    from ..budgets import Budget
    from ..config import Config
    from ..ledger import Ledger
    from ..metering.meter import Request
    from .worker import AlertWorker

__all__ = ["Notices", "make_notices"]


def make_notices(
    config: Config,
    open_ledger: Callable[[], Awaitable[Ledger]],
    owner: str,
    *,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], str] = uuid7,
) -> Notices | None:
    """Make what a process tells its alerts to; None when nobody is to be told.

    A call needs no alerts: what is wrong with their configuration is logged, and nobody is told.

    Args:
        config: Says who is told.
        open_ledger: Opens the ledger for writing.
        owner: Id of this process.
        clock: Unix time in seconds.
        new_id: Makes a UUIDv7.
    """
    try:
        endpoint = config.alerts.endpoint
        if endpoint is None:
            return None
        database = config.database_url
    except VoiceGatewayError as e:
        logger.error("nobody is told of alerts: %s", e)
        return None
    from .worker import AlertWorker

    return Notices(
        AlertWorker(endpoint, open_ledger, owner, clock=clock),
        database=without_credentials(database),
        day_of=config.days.day_of,
        clock=clock,
        new_id=new_id,
    )


class Notices:
    """Turns what happens in this process into alerts. Its methods cost microseconds.

    Args:
        worker: Tells them.
        database: The ledger's URL, without password.
        day_of: Gives the calendar day of a Unix time in the configured zone.
        clock: Unix time in seconds.
        new_id: Makes a UUIDv7.
    """

    def __init__(
        self,
        worker: AlertWorker,
        *,
        database: str,
        day_of: Callable[[float], str],
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._worker = worker
        self._database = database
        self._day_of = day_of
        self._clock = clock
        self._new_id = new_id
        self._unpriced: set[tuple[str, ...]] = set()

    def budget_near(self, budget: Budget) -> None:
        """80 % of a day's budget are spent."""
        self._tell_budget("budget.near", budget)

    def budget_spent(self, budget: Budget) -> None:
        """The ledger has said that nothing is left of a day's budget.

        Tells that it is near its end, too, unless that was told: what running requests hold can
        take a budget from below 80 % to its end at once.
        """
        self._tell_budget("budget.near", budget)
        self._tell_budget("budget.exceeded", budget)

    def price_unknown(self, request: Request, day: str) -> None:
        """Nobody knows what a request costs. Called for each row of it."""
        key = (day, request.project, request.modality, request.provider, request.model)
        if key in self._unpriced:
            return
        self._unpriced = {known for known in self._unpriced if known[0] >= day} | {key}
        self._worker.tell(
            price_alert(
                alert_id=f"alert_{self._new_id()}",
                at=self._clock(),
                project=request.project,
                day=day,
                modality=request.modality,
                provider=request.provider,
                model=request.model,
            )
        )

    def ledger_failing(self, error: BaseException) -> None:
        """Usage cannot be written."""
        now = self._clock()
        self._worker.tell_directly(
            ledger_alert(
                at=now,
                day=self._day_of(now),
                host=socket.gethostname(),
                database=self._database,
                # others' texts may quote what is none of the receiver's business
                error=str(error) if isinstance(error, VoiceGatewayError) else type(error).__name__,
            )
        )

    def look(self) -> None:
        """Something waits in the ledger to be sent."""
        self._worker.look()

    def close(self, timeout: float = 5.0) -> None:
        """Note what is not noted yet, leave what is not sent to others, and end the thread.

        Args:
            timeout: Seconds that it blocks at most.
        """
        self._worker.close(timeout)

    def _tell_budget(
        self, event: Literal["budget.near", "budget.exceeded"], budget: Budget
    ) -> None:
        self._worker.tell(
            budget_alert(
                event,
                alert_id=f"alert_{self._new_id()}",
                at=self._clock(),
                project=budget.project.id,
                day=budget.day,
                limit_nanos=budget.limit_nanos,
                spent_nanos=budget.spent_by_all,
                action=budget.project.budget_action,
                resets_at=budget.resets_at,
            )
        )
