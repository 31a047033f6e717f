"""What a ledger keeps for alerts, and answers to Prometheus.

`Ledger` has these methods beside those of usage, budgets and reports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..alerts.events import Alert
    from ..metering.usage import Modality
    from .base import Totals

__all__ = ["AlertClaim", "FinishedTotals", "Monitoring"]


class AlertClaim(NamedTuple):
    """An alert that somebody tries to send now.

    Attributes:
        alert: What is to be told.
        tries: How often it was tried, this time included.
    """

    alert: Alert
    tries: int


class FinishedTotals(NamedTuple):
    """What finished requests have used since ever, of one project and model.

    Attributes:
        project: Who paid.
        modality: Kind of model.
        provider: Provider of the model.
        model: The model.
        totals: What was used; ``cost_nanos`` is 0 where no price is known.
    """

    project: str
    modality: Modality
    provider: str
    model: str
    totals: Totals


class Monitoring(ABC):
    """What `Ledger` offers to alerts and metrics."""

    @abstractmethod
    async def add_alert(self, alert: Alert) -> bool:
        """Note an alert, to be sent now.

        Returns:
            False when there is one about the same already; nothing is written then.
        """

    @abstractmethod
    async def next_alert(self) -> float | None:
        """Return the Unix time at which an alert is due; None when none waits."""

    @abstractmethod
    async def claim_alert(self, owner: str, until: float) -> AlertClaim | None:
        """Take the alert that is due for longest; nobody else gets it before ``until``.

        Args:
            owner: Id of who will try to send it.
            until: Unix time after which the owner is taken for dead.

        Returns:
            None when no alert is due.
        """

    @abstractmethod
    async def settle_alert(
        self, alert_id: str, owner: str, *, retry_at: float | None, error: str | None = None
    ) -> None:
        """Note what became of a try. Does nothing when somebody else has taken the alert.

        Args:
            alert_id: Which alert.
            owner: Who tried.
            retry_at: Unix time of the next try; None when it is over.
            error: What the try met; None when it was delivered.
        """

    @abstractmethod
    async def waiting_alerts(self) -> int:
        """Return how many alerts are neither delivered nor given up."""

    @abstractmethod
    async def delete_alerts_before(self, day: str) -> int:
        """Delete the alerts of days before ``day`` that are over; return how many."""

    @abstractmethod
    async def finished_totals(self) -> list[FinishedTotals]:
        """Return what finished requests have used since ever, by project and model.

        A number here never falls but when a finished row is corrected. Reads totals and open
        requests, of which there are few.
        """
