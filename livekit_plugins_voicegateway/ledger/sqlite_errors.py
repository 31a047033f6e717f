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


def explain(path: Path, error: sqlite3.Error | OSError, wait: float) -> LedgerError:
    """Make the exception to raise when the database failed.

    Args:
        path: The file.
        error: What was caught.
        wait: Seconds that a locked file is waited for.
    """
    if path.is_dir():
        # SQLite's own error depends on how it was asked
        reason = "it is a directory; set `database.url` to a file in it"
    elif isinstance(error, OSError):
        reason = error.strerror or str(error)
    else:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_CANTOPEN and path.exists() and not os.access(path, os.R_OK):
            code = sqlite3.SQLITE_PERM
        explained = _REASONS.get(code, "").format(wait=wait)
        reason = f"{explained} ({error})" if explained else str(error)
    return LedgerError(f"the ledger {path} cannot be used: {reason}")
