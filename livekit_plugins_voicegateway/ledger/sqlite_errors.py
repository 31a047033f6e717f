"""What went wrong with a SQLite file, in words that say how to mend it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from ..errors import LedgerError

__all__ = ["explain"]

_REASONS: Final = {
    sqlite3.SQLITE_BUSY: "another process has kept it locked for {wait:g} s; is one stopped in the "
    "middle of a write, or is a shell open with BEGIN?",
    sqlite3.SQLITE_LOCKED: "another connection of this process has locked a table",
    sqlite3.SQLITE_FULL: "the disk is full; free some space on it",
    sqlite3.SQLITE_READONLY: "it is read-only for this user; make the file and its folder writable",
    sqlite3.SQLITE_PERM: "this user may not open it; look at the permissions of file and folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder must exist and be writable",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; move it aside, or set another "
    "`database.url`",
    sqlite3.SQLITE_CORRUPT: "it is damaged; copy it, move it aside and recover what is in it with "
    "`sqlite3 COPY .recover`",
    sqlite3.SQLITE_IOERR: "the disk or file system reported an error",
}


def explain(path: Path | str, error: sqlite3.Error | OSError, wait: float) -> LedgerError:
    """Make the exception to raise when the database failed.

    Args:
        path: The file.
        error: What was caught.
        wait: Seconds that a locked file is waited for.
    """
    if isinstance(error, OSError):
        return LedgerError(f"the ledger {path} cannot be used: {error.strerror or error}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    reason = _REASONS.get(code, "").format(wait=wait)
    if code == sqlite3.SQLITE_CANTOPEN and isinstance(path, Path):
        reason = _cannot_open(path) or reason
    said = f"{reason} ({error})" if reason else str(error)
    return LedgerError(f"the ledger {path} cannot be used: {said}")


def _cannot_open(path: Path) -> str:
    if path.is_dir():
        return "it is a directory; set `database.url` to a file in it"
    if path.exists() and not os.access(path, os.R_OK):
        return _REASONS[sqlite3.SQLITE_PERM]
    return ""
