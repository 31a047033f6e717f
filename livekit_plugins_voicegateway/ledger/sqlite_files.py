"""The files of a SQLite ledger: the one at its path, and the two that SQLite keeps beside it.

Any of them can be deleted, replaced or damaged while it is open, and SQLite then goes on in files
that nobody finds any more. `Watch` tells a connection before and after each statement; the
functions make room for the file that comes next. None of them ever overwrites or deletes data.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import LedgerError
from ..log import logger
from .queries import load_queries
from .sqlite_errors import FileMoved, is_damage
from .sqlite_rescue import take_over

__all__ = [
    "WAL_HEADER",
    "Files",
    "Key",
    "NotDamaged",
    "Watch",
    "folder_lock",
    "leave_behind",
    "look",
    "move_aside",
    "put_in_place",
    "was_moved_aside",
]

Key = tuple[int, int]
"""Device and inode: what a file is, whatever it is called."""

_RETRY: Final = 0.02
"""Seconds between two tries to get the lock of a folder."""

_CHECK_SECONDS: Final = 5.0
"""Seconds that a file is searched for damage at most; a gigabyte takes some two of them."""

WAL_HEADER: Final = 32
"""Bytes of a -wal file in which nothing was written yet, or none of it is valid any more."""

_MEGABYTE: Final = 1 << 20

_COPY: Final = """
import sqlite3, sys
source, target = map(sqlite3.connect, sys.argv[1:])
source.backup(target)
target.close()
"""
"""A program that copies a database; it ends without closing it, which would delete its -wal."""


class Files(NamedTuple):
    """What is at a ledger's path.

    Attributes:
        main: The file; None when there is none.
        wal: The -wal file beside it.
        shm: The -shm file beside it.
        size: Bytes of the file.
        changed_ns: When the file was written last.
    """

    main: Key | None
    wal: Key | None
    shm: Key | None
    size: int
    changed_ns: int


def look(path: str) -> Files:
    """Return what is at a path now; costs a few microseconds."""
    try:
        found = os.stat(path)
        main: Key | None = (found.st_dev, found.st_ino)
        size, changed = found.st_size, found.st_mtime_ns
    except OSError:
        main, size, changed = None, 0, 0
    return Files(main, _key(f"{path}-wal"), _key(f"{path}-shm"), size, changed)


class NotDamaged(Exception):
    """No damage is found in a file, or it has never been a ledger."""


class Watch:
    """Whether the files that a connection has open are still those at the path.

    Used on the connection's thread. Those that are open keep their inodes, so that no other file
    can have the same.

    Args:
        path: The ledger's file.
        before: What was there before the connection was opened.

    Attributes:
        files: What the connection has open.

    Raises:
        FileMoved: Something else came there meanwhile, or this process has files open that have
            been there before and must be closed first.
    """

    def __init__(self, path: Path, before: Files) -> None:
        self._path = str(path)
        self.files = look(self._path)
        if self.files.main != before.main:
            raise FileMoved(path, before, self.files)
        _open_files.add(path, self.files)

    def check(self) -> bool:
        """Look whether all is as it was.

        Returns:
            Whether the file itself was written since the last look.

        Raises:
            FileMoved: Another file, or none, is at the path of one of them.
        """
        now, known = look(self._path), self.files
        if now.main != known.main or (
            now.main is not None and (now.wal != known.wal or now.shm != known.shm)
        ):
            raise FileMoved(Path(self._path), known, now)
        self.files = now
        return now.changed_ns != known.changed_ns or now.size != known.size

    def end(self) -> None:
        """The connection is closed."""
        _open_files.remove(self.files)


class _OpenFiles:
    """What this process has open. All its connections to one file share one -shm, the one that
    the first of them found, until the last is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: dict[Key, list[Key]] = {}

    def add(self, path: Path, files: Files) -> None:
        if files.main is None:
            return
        with self._lock:
            shared = self._shared.get(files.main)
            if shared and shared[0] != files.shm:
                raise FileMoved(path, files._replace(shm=shared[0]), files)
            if files.shm is not None:  # else it is not in WAL mode yet, or nobody writes it
                self._shared.setdefault(files.main, []).append(files.shm)

    def remove(self, files: Files) -> None:
        if files.main is None or files.shm is None:
            return
        with self._lock:
            shared = self._shared.get(files.main)
            if shared:
                shared.pop()
                if not shared:
                    del self._shared[files.main]

    def forget(self) -> None:
        """A forked process has no connection of its own yet."""
        self._lock = threading.Lock()
        self._shared = {}


_open_files = _OpenFiles()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_files.forget)


@contextlib.contextmanager
def folder_lock(path: Path, wait: float) -> Iterator[None]:
    """Be the one process that makes, moves or replaces a ledger's file. Leaves nothing behind.

    Args:
        path: The ledger's file; its folder is what is locked.
        wait: Seconds to wait for another process.

    Raises:
        LedgerError: Another process is at it for longer.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be moved or deleted anyway
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LedgerError(
                        f"the ledger {path} cannot be used: another process makes or moves the "
                        f"file for more than {wait:g} s"
                    ) from None
                time.sleep(_RETRY)
        yield
    finally:
        os.close(folder)


def leave_behind(path: Path, old: Files | None = None) -> Path | None:
    """Take the -wal and -shm of a file that is gone out of the way of the one that comes next.

    SQLite would apply what they say to the new file. Needs `folder_lock`.

    Args:
        path: Where the file was.
        old: Its files, when they are known; whatever lies there otherwise.

    Returns:
        Where the -wal is now, if anything is in it.
    """
    kept: Path | None = None
    now = look(str(path))
    if now.wal is not None and (old is None or now.wal == old.wal):
        wal = Path(f"{path}-wal")
        if wal.stat().st_size > WAL_HEADER:
            kept = Path(f"{_free(path, 'deleted')}-wal")
            os.rename(wal, kept)
        else:
            wal.unlink()
    if now.shm is not None and (old is None or now.shm == old.shm):
        Path(f"{path}-shm").unlink()
    return kept


def move_aside(path: Path, seen: Key | None, *, wait: float) -> Path | None:
    """Move a damaged ledger to a name that says so, with all that belongs to it.

    Of all processes that find the damage one moves the file, and only the one that it has seen.

    Args:
        path: The ledger's file.
        seen: The file that was found to be damaged, as `look` knows it.
        wait: Seconds to wait for other processes.

    Returns:
        The file's new place; None when there is another file by now.

    Raises:
        NotDamaged: No damage is found in it any more, or it has never been a ledger.
        LedgerError, OSError, sqlite3.Error: It cannot be looked at, or not be moved.
    """
    with folder_lock(path, wait):
        if look(str(path)).main != seen:
            return None
        if not _is_damaged(path, wait):
            raise NotDamaged
        aside = _free(path, "corrupt")
        for suffix in ("", "-wal", "-shm"):  # the file first: from now on nobody can open it
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
        _sync_folder(path)
    return aside


def was_moved_aside(path: Path, old: Files) -> bool:
    """Whether a file that was at a path has been moved aside, by whichever process."""
    return any(_key(str(aside)) == old.main for aside in path.parent.glob(f"{path.name}.corrupt-*"))


def put_in_place(path: Path, source: sqlite3.Connection, old: Files, *, wait: float) -> bool:
    """Put a copy of an open ledger at its path, whose -wal or -shm was deleted.

    A copy is another file, for everybody who has the ledger open. What others commit in the old
    one from now on is not reported as durable, and when they close it SQLite leaves the new
    -wal alone. Runs on the connection's thread.

    Args:
        path: The ledger's file.
        source: A connection that still has all its files open.
        old: These files, as they were when all was well.
        wait: Seconds to wait for other processes.

    Returns:
        Whether that was done; not if it has been done already.

    Raises:
        LedgerError, OSError, sqlite3.Error: The copy cannot be made.
    """
    with folder_lock(path, wait):
        now = look(str(path))
        if now.main != old.main:
            return False
        complete = (
            now.changed_ns == old.changed_ns
            and now.wal in (None, old.wal)
            and now.shm in (None, old.shm)
        )
        copy = _free(path, "copy")
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            if complete:
                with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target:
                    source.backup(target)
            else:
                # another process has gone on with files of its own, which this one cannot open
                # beside its old ones
                _copy_as_others_see_it(path, copy)
            for suffix in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{path}{suffix}")
            os.replace(copy, path)
        except BaseException:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{copy}{suffix}")
            raise
        _sync_folder(path)
    if not complete:
        take_over(source, path, wait=wait)
    logger.warning(
        "the files %s-wal and -shm were deleted while in use: the ledger was written anew, from "
        "what was still open. They belong to the ledger; never delete them by themselves.",
        path,
    )
    return True


def _copy_as_others_see_it(path: Path, copy: Path) -> None:
    # our own program, and two names as its arguments: no shell reads them
    command = [sys.executable, "-I", "-c", _COPY, str(path), str(copy)]
    copied = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if copied.returncode:
        reason = copied.stderr.strip().rpartition("\n")[2]
        raise LedgerError(
            f"the ledger {path} cannot be used: its -wal or -shm file was deleted while in use, "
            f"and it cannot be copied ({reason}); end all programs that use the ledger, and start "
            "them again"
        )


def _is_damaged(path: Path, wait: float) -> bool:
    """Whether there is damage for a connection that knows nothing from before."""
    if path.is_dir():
        return False
    wal = Path(f"{path}-wal")
    if path.stat().st_size == 0:
        # SQLite would take it for new, and delete the -wal
        return wal.exists() and wal.stat().st_size > WAL_HEADER
    sql = load_queries("sqlite")
    deadline = time.monotonic() + _CHECK_SECONDS
    uri = f"{path.as_uri()}?mode=rw"
    with contextlib.closing(
        sqlite3.connect(uri, timeout=wait, isolation_level=None, uri=True)
    ) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            ((found,),) = connection.execute(sql["find_damage"]).fetchall()
        except sqlite3.DatabaseError as e:
            if e.sqlite_errorcode & 0xFF == sqlite3.SQLITE_INTERRUPT:
                return True  # too big to be sure; two connections have found damage in it
            if not is_damage(e):
                raise
            if e.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
                return _was_ledger(path)
            return True
    return bool(found != "ok")


def _was_ledger(path: Path) -> bool:
    """Whether a file whose beginning is no database's was a ledger once, and not somebody's
    letters that `database.url` names by mistake."""
    with path.open("rb") as file:
        beginning = file.read(_MEGABYTE)
    return b"schema_migrations" in beginning or not any(beginning)


def _free(path: Path, what: str) -> Path:
    """A name that no file has: ``voicegw.db.corrupt-20261123T104500Z``."""
    now = datetime.datetime.now(datetime.UTC)
    name = f"{path.name}.{what}-{now:%Y%m%dT%H%M%SZ}"
    number, free = 1, path.with_name(name)
    while any(os.path.lexists(f"{free}{suffix}") for suffix in ("", "-wal", "-shm")):
        number += 1
        free = path.with_name(f"{name}-{number}")
    return free


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _key(path: str) -> Key | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
