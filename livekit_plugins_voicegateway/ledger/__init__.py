"""The ledger: what was used and what it cost, in a database that many processes write.

`open_ledger` picks the engine from ``database.url``. The recorder writes, reports and budgets read;
all of them see `Ledger` and nothing of the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..errors import LedgerError
from .base import STALE_AFTER, Ledger
from .urls import is_server, without_credentials

__all__ = ["STALE_AFTER", "Ledger", "make_ledger", "open_ledger"]

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def make_ledger(
    url: str, *, read_only: bool = False, clock: Callable[[], float] = time.time
) -> Ledger:
    """Return the ledger at a URL, not opened yet: ``async with make_ledger(url) as ledger:``.

    Args:
        url: ``sqlite:///voicegw.db`` (relative), ``sqlite:////var/lib/voicegw.db`` (absolute),
            ``postgresql://user:password@host:5432/database`` with options as asyncpg has them,
            ``https://host`` of a server that keeps it, with its token as `urls.with_token` puts it.
        read_only: For reports: refuse to write. A file that does not exist is an empty ledger.
        clock: Unix time in seconds.

    Raises:
        LedgerError: The URL names no database that a ledger can be kept in, or its driver is not
            installed; then it says the pip install.
    """
    if url.startswith(_POSTGRES):
        return _make_postgres_ledger(url, read_only=read_only, clock=clock)
    if is_server(url):
        from .http import HttpLedger

        return HttpLedger(url, read_only=read_only, clock=clock)
    path = url.removeprefix(_SQLITE)
    if path == url or path in ("", ":memory:"):
        raise LedgerError(
            f"{without_credentials(url)!r} is no place for a ledger: write sqlite:///voicegw.db "
            "(relative to the working directory), sqlite:////var/lib/voicegw.db (absolute), "
            "postgresql://user@host/database or https://host of a server"
        )
    from .sqlite import SqliteLedger

    return SqliteLedger(Path(path), read_only=read_only, clock=clock)


async def open_ledger(
    url: str, *, read_only: bool = False, clock: Callable[[], float] = time.time
) -> Ledger:
    """Open the ledger at a URL; arguments as `make_ledger`. Close it with ``await close()``.

    Raises:
        LedgerError: It cannot be opened; says why.
    """
    ledger = make_ledger(url, read_only=read_only, clock=clock)
    await ledger.open()
    return ledger


def _make_postgres_ledger(url: str, *, read_only: bool, clock: Callable[[], float]) -> Ledger:
    try:
        from .postgres import PostgresLedger
    except ModuleNotFoundError as e:
        if e.name != "asyncpg":
            raise
        name = without_credentials(url).partition("?")[0]
        raise LedgerError(
            f"the ledger {name} cannot be used: its driver is not installed; "
            "`pip install 'livekit-plugins-voicegateway[postgres]'`"
        ) from None
    return PostgresLedger(url, read_only=read_only, clock=clock)
