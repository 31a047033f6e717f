"""What went wrong with a PostgreSQL ledger, in words that say how to mend it."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from ..errors import LedgerError

__all__ = ["explain", "is_lost", "shown"]

_REASONS: Final = {
    "08": "the connection to it was lost; it is made again at the next use",
    "28P01": "it does not accept the password of this user",
    "28": "it does not let this user in; look at its pg_hba.conf, and at user and password",
    "3D000": "there is no such database; make it with `createdb`",
    "42501": "this user may not do that; `GRANT CREATE, USAGE ON SCHEMA public` to it, or let one "
    "that may open it first",
    "25006": "it takes no changes: a standby, or set to read-only; name the primary",
    "53100": "its disk is full; free some space on it",
    "53300": "it has no connection left; raise max_connections, or run fewer processes",
    "53": "it has run out of something",
    "55P03": "others have kept a lock for 5 s; is a shell open with BEGIN?",
    "57014": "a statement took too long and was cancelled",
    "57P03": "it is starting, or shutting down; wait a moment",
    "57P": "it was shut down, or has ended the connection",
    "42P01": "a table of the ledger is missing; look at its search_path",
    "42883": "a function of the ledger is missing; look at its search_path",
    "XX001": "its data are damaged; restore a backup",
}
"""By SQLSTATE, or as much of it as matters."""


def shown(url: str) -> str:
    """Name a database without user, password and options: ``postgresql://db.internal/voicegw``."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    host = (
        parts.netloc.rpartition("@")[2]
        or options.get("host", [""])[-1]
        or os.environ.get("PGHOST", "")
        or "localhost"
    )
    if host.startswith("/"):
        host = f"[{host}]"
    database = unquote(parts.path.lstrip("/")) or options.get("dbname", [""])[-1]
    return f"postgresql://{host}/{database or os.environ.get('PGDATABASE', '')}"


def is_lost(error: BaseException) -> bool:
    """Return whether the connection is of no more use."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:3] in ("57P", "08") or (error.sqlstate or "")[:2] == "08"
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError)


def explain(name: str, error: BaseException, wait: float) -> LedgerError:
    """Make the exception to raise when the database failed. Its text never holds a password.

    Args:
        name: The database, as `shown`.
        error: What was caught.
        wait: Seconds that an answer was waited for.
    """
    return LedgerError(f"the ledger {name} cannot be used: {_reason(error, wait)}")


def _reason(error: BaseException, wait: float) -> str:
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        for length in (5, 3, 2):
            if (reason := _REASONS.get(code[:length])) is not None:
                return f"{reason} ({_first_line(error)})"
        return _first_line(error)
    if isinstance(error, TimeoutError):
        return f"it did not answer within {wait:g} s"
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return "nothing listens there; is PostgreSQL running, and are host and port right?"
    if isinstance(error, socket.gaierror):
        return "its host name is not known"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or type(error).__name__}; see sslmode and sslrootcert"
    if isinstance(error, OSError):
        # asyncpg names host and port for each address that it tried
        return "it cannot be reached" + (f" ({error.strerror})" if error.strerror else "")
    if isinstance(error, asyncpg.InterfaceError) and "connection" in str(error):
        return _REASONS["08"]
    # a URL that cannot be read: what asyncpg says of it may quote the password
    return f"{type(error).__name__}; look at its URL"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
