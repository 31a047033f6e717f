"""The ledger of a worker that may not hold a database's credentials: a server's, over HTTP.

`HttpLedger` does what a worker needs: it writes usage, exchanges leases and reads the projects
made at run time. Reports, and what changes projects, are asked on the server.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from decimal import InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..errors import LedgerError, RowsRefusedError
from ..metering.usage import UsageRow
from ..times import to_iso
from .base import Grant, Ledger
from .http_connection import HttpConnection
from .http_messages import LONGEST_LEASE, grant_of, leases_of, projects_of
from .http_rows import bodies_of, encode_row
from .http_values import MOST_NANOS, fitting_text
from .projects import ManagedRows

if TYPE_CHECKING:
    from ..alerts.events import Alert

__all__ = ["HttpLedger"]

T = TypeVar("T")

_CHUNK = 64
"""Rows that are encoded before the event loop, or another thread, may go on."""

_MOST_UNHEARD = 100
"""Answers that did not come and are remembered."""


async def _is_asked_there(self: HttpLedger, *_: object, **__: object) -> NoReturn:
    raise LedgerError(
        f"the ledger is kept by the server {self.url}, which workers only write to: look at its "
        f"dashboard, ask its API ({self.url}/v1/…, docs/http-api.md), or run the command where "
        "the server runs"
    )


_asked_there: Any = _is_asked_there


class HttpLedger(Ledger):
    """A ledger that a server keeps.

    Args:
        url: Where the server is, with the token as `urls.with_token` puts it.
        read_only: Refuse to write.
        clock: Unix time in seconds. Only differences of it reach the server, so that it does not
            matter whether the two machines have the same time.

    Attributes:
        url: Where the server is, without the token.
    """

    def __init__(
        self, url: str, *, read_only: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = HttpConnection(url)
        self.url = self._connection.url
        self.read_only = read_only
        self._clock = clock
        self._managed = ManagedRows(0, {})
        self._managed_tag = ""
        self._unheard: list[dict[str, object]] = []  # leases that may have been granted

    async def open(self) -> None:
        """Does nothing: a connection is made when there is something to say."""

    async def close(self) -> None:
        await self._connection.close()

    async def write(self, rows: Sequence[UsageRow]) -> None:
        """Write rows, durably. A thousand of them, or nearly a megabyte, are one transaction; a
        recorder sends no more at once."""
        self._check_writable()
        encoded: list[bytes] = []
        try:
            for start in range(0, len(rows), _CHUNK):
                encoded += map(encode_row, rows[start : start + _CHUNK])
                await asyncio.sleep(0)
        except (ValueError, TypeError, OverflowError) as e:
            why = f"a row cannot be sent to the ledger's server {self.url}: {e}"
            raise RowsRefusedError(why) from e
        for body in bodies_of(encoded):
            await self._connection.post("/v1/usage", body)

    async def housekeeping(self, *, retention_days: int, today: str) -> None:
        """Does nothing: the server does it for all its workers."""

    async def close_stale(self, older_than_seconds: float) -> int:
        """Does nothing, as `housekeeping`."""
        return 0

    async def delete_usage_before(self, day: str) -> int:
        """Does nothing, as `housekeeping`."""
        return 0

    async def delete_dead_leases(self, today: str) -> None:
        """Does nothing, as `housekeeping`."""

    async def delete_alerts_before(self, day: str) -> int:
        """Does nothing, as `housekeeping`."""
        return 0

    async def budget_status(self, project: str, day: str) -> tuple[int, int]:
        asked = await self._lease(project, day, "-", 0, 0, 0, share=1, seconds=1.0)
        return asked.settled_nanos, asked.leased_nanos

    async def acquire_lease(
        self,
        project: str,
        day: str,
        owner: str,
        *,
        budget_nanos: int,
        need_nanos: int,
        want_nanos: int,
        share: int,
        expires_at: float,
    ) -> Grant:
        self._check_writable()
        seconds = self._seconds_until(expires_at)
        return await self._lease(
            project, day, owner, budget_nanos, need_nanos, want_nanos, share=share, seconds=seconds
        )

    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        self._check_writable()
        await self._say(
            "/v1/leases/return",
            {
                "project": _name(project),
                "day": day,
                "owner": owner,
                "nanos": min(nanos, MOST_NANOS),
            },
        )

    async def renew_leases(self, owner: str, expires_at: float) -> Collection[tuple[str, str]]:
        self._check_writable()
        await self._give_up_unheard()
        asked = {"owner": owner, "seconds": self._seconds_until(expires_at)}
        return self._read(leases_of, await self._say("/v1/leases/renew", asked))

    async def projects_version(self) -> int:
        return (await self.managed_projects()).version

    async def managed_projects(self) -> ManagedRows:
        answer = await self._connection.get("/v1/managed-projects", etag=self._managed_tag)
        if answer.status != 304:
            self._managed = self._read(projects_of, answer.data)
            self._managed_tag = answer.etag
        return self._managed

    async def listen_for_projects(self, changed: Callable[[], None]) -> None:
        """Does nothing: a server says nothing that it was not asked."""

    async def add_alert(self, alert: Alert) -> bool:
        self._check_writable()
        said = {**asdict(alert), "created_at": to_iso(alert.created_at)}
        return self._read(lambda data: bool(data["new"]), await self._say("/v1/alerts", said))

    async def next_alert(self) -> None:
        """None: what is noted at the server is sent by it."""

    async def claim_alert(self, owner: str, until: float) -> None:
        """None, as `next_alert`."""

    async def settle_alert(
        self, alert_id: str, owner: str, *, retry_at: float | None, error: str | None = None
    ) -> None:
        """Does nothing, as `next_alert`."""

    # reports, exports, metrics and changes of projects: asked where the ledger is
    costs = has_project = version = rows = check_totals = _asked_there
    calls = call_lines = call_latencies = call_turns = _asked_there
    rows_of_days = totals_of_days = newest_mark = rows_written_after = rows_with_ids = _asked_there
    daily_costs = live_counts = live_rows = latencies = charges = _asked_there
    waiting_alerts = finished_totals = _asked_there
    open_requests = write_project = project_changes = _asked_there

    async def _lease(
        self,
        project: str,
        day: str,
        owner: str,
        budget_nanos: int,
        need_nanos: int,
        want_nanos: int,
        *,
        share: int,
        seconds: float,
    ) -> Grant:
        await self._give_up_unheard()
        whose: dict[str, object] = {"project": _name(project), "day": day, "owner": owner}
        asked = {
            **whose,
            "grant": uuid.uuid4().hex,
            "budget_nanos": min(budget_nanos, MOST_NANOS),
            "need_nanos": min(need_nanos, MOST_NANOS),
            "want_nanos": min(want_nanos, MOST_NANOS),
            "share": share,
            "seconds": seconds,
        }
        try:
            return self._read(grant_of, await self._say("/v1/leases", asked))
        except LedgerError:
            self._unheard.append({**whose, "nanos": 0, "grant": asked["grant"]})
            del self._unheard[:-_MOST_UNHEARD]
            raise

    async def _give_up_unheard(self) -> None:
        """Give back what may have been granted by an answer that did not come."""
        while self._unheard:
            await self._say("/v1/leases/return", self._unheard[0])
            del self._unheard[0]

    def _seconds_until(self, expires_at: float) -> float:
        return max(0.001, min(expires_at - self._clock(), LONGEST_LEASE))

    async def _say(self, path: str, what: Mapping[str, object]) -> Any:
        return await self._connection.post(path, json.dumps(what).encode())

    def _read(self, read: Callable[[Any], T], data: Any) -> T:
        try:
            return read(data)
        except (ValueError, LookupError, TypeError, InvalidOperation):
            raise LedgerError(
                f"the ledger's server {self.url} cannot be used: what it answers is not of "
                "VoiceGateway"
            ) from None

    def _check_writable(self) -> None:
        if self.read_only:
            raise LedgerError(f"the ledger of {self.url} was opened for reading only")


def _name(project: str) -> str:
    # as in rows, so that both mean the same project
    return fitting_text(project, 200)
