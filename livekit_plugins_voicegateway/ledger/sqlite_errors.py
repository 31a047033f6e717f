"""What went wrong with a SQLite file, in words that say how to mend it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import LedgerError

if TYPE_CHECKING:
    from .sqlite_files import Files

__all__ = ["FileDamaged", "FileMoved", "explain", "is_damage"]

_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

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


class FileDamaged(LedgerError):
    """What SQLite has read makes no sense."""


class FileMoved(LedgerError):
    """The files that a connection has open are not those at the ledger's path.

    Args:
        path: The ledger's file.
        old: What the connection has open.
        new: What is there.
    """

    def __init__(self, path: Path, old: Files, new: Files) -> None:
        self.old = old
        self.new = new
        if new.main is None:
            what = "it was deleted while in use"
        elif old.main != new.main:
            what = "it was replaced by another file while in use"
        else:
            what = (
                "its -wal or -shm file was deleted while in use; end all programs that use the "
                "ledger, and start them again"
            )
        super().__init__(f"the ledger {path} cannot be used: {what}")


def is_damage(error: BaseException) -> bool:
    """Whether an error of SQLite says that what it has read makes no sense."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGE


def explain(path: Path, error: sqlite3.Error | OSError, wait: float) -> LedgerError:
    """Make the exception to raise when the database failed.

    Args:
        path: The file.
        error: What was caught.
        wait: Seconds that a locked file is waited for.
    """
    damaged = False
    if path.is_dir():
        # SQLite's own error depends on how it was asked
        reason = "it is a directory; set `database.url` to a file in it"
    elif isinstance(error, OSError):
        reason = error.strerror or str(error)
    else:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_CANTOPEN and path.exists() and not os.access(path, os.R_OK):
            code = sqlite3.SQLITE_PERM
        elif code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(path):
            code = sqlite3.SQLITE_FULL  # the -shm cannot be made longer, or not be made
        elif code == sqlite3.SQLITE_IOERR and path.exists() and not os.access(path, os.W_OK):
            code = sqlite3.SQLITE_READONLY  # since it was opened
        damaged = is_damage(error)
        explained = _REASONS.get(code, "").format(wait=wait)
        reason = f"{explained} ({error})" if explained else str(error)
    kind = FileDamaged if damaged else LedgerError
    return kind(f"the ledger {path} cannot be used: {reason}")


def _is_full(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except (OSError, AttributeError):  # Windows has none
        return False
