"""Alerts and numbers for Prometheus, in the words of whichever SQL engine keeps the ledger."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from ..alerts.events import Alert
from .base import Totals
from .monitoring import AlertClaim, FinishedTotals, Monitoring
from .queries import Value

__all__ = ["SqlMonitoring"]


class SqlMonitoring(Monitoring):
    """The part of a ledger that alerts and metrics ask."""

    _clock: Callable[[], float]

    @abstractmethod
    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask a query by its name."""

    @abstractmethod
    async def _change(self, query: str, parameters: Mapping[str, Value]) -> int:
        """Write with a query by its name; how many rows were changed."""

    @abstractmethod
    def _check_writable(self) -> None:
        """Raise unless it was opened for writing."""

    async def add_alert(self, alert: Alert) -> bool:
        added = await self._change(
            "add_alert",
            {
                "id": alert.id,
                "about": alert.about,
                "event": alert.event,
                "project": alert.project,
                "day": alert.day,
                "body": alert.body,
                "created_at": alert.created_at,
            },
        )
        return added > 0

    async def next_alert(self) -> float | None:
        ((due_at,),) = await self._fetch("next_alert")
        return None if due_at is None else float(due_at)

    async def claim_alert(self, owner: str, until: float) -> AlertClaim | None:
        self._check_writable()
        claimed = await self._fetch(
            "claim_alert", {"owner": owner, "until": until, "now": self._clock()}
        )
        if not claimed:
            return None
        [(*values, tries)] = claimed
        return AlertClaim(Alert(*values), tries)

    async def settle_alert(
        self, alert_id: str, owner: str, *, retry_at: float | None, error: str | None = None
    ) -> None:
        delivered = retry_at is None and error is None
        await self._change(
            "settle_alert",
            {
                "id": alert_id,
                "owner": owner,
                "due_at": retry_at,
                "delivered_at": self._clock() if delivered else None,
                "error": error,
            },
        )

    async def waiting_alerts(self) -> int:
        ((waiting,),) = await self._fetch("waiting_alerts")
        return int(waiting)

    async def delete_alerts_before(self, day: str) -> int:
        if not await self._fetch("any_old_alert", {"day": day}):
            return 0
        return await self._change("delete_alerts", {"day": day})

    async def finished_totals(self) -> list[FinishedTotals]:
        found = await self._fetch("finished_totals")
        return [FinishedTotals._make((*line[:4], Totals(*line[4:]))) for line in found]
