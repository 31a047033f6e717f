"""What links a ledger to the file at its path, whichever that is by now.

The file can be deleted, replaced or damaged while it is open. `SqliteLink` notices, opens what is
there then, and does again what was done in the wrong file, so that whoever asks or writes need not
know. What can go wrong with the files themselves is in `sqlite_files`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from ..errors import LedgerError
from ..log import logger
from .migrate import create, empty_script, is_current
from .queries import load_queries
from .sqlite_connection import SqliteConnection
from .sqlite_errors import FileDamaged, FileMoved, explain, is_damage
from .sqlite_files import (
    WAL_HEADER,
    Key,
    NotDamaged,
    folder_lock,
    leave_behind,
    look,
    move_aside,
    was_moved_aside,
)
from .sqlite_rescue import rescue

__all__ = ["SqliteLink"]

_TRIES: Final = 5
"""Times that something is done before it is given up, because its file is not there any more."""

T = TypeVar("T")


class SqliteLink:
    """The connections of one ledger; arguments as `SqliteLedger`.

    Args:
        path: The file.
        read_only: Make no file, and mend none.
        wait: Seconds to wait for other processes' locks.

    Attributes:
        generation: Another number when other files have been opened.
    """

    def __init__(self, path: Path, *, read_only: bool, wait: float) -> None:
        self.generation = 0
        self._path = path
        self._read_only = read_only
        self._wait = wait
        self._is_open = False
        self._pid = 0
        self._changing = asyncio.Lock()
        self._rows: SqliteConnection | None = None
        self._leases: SqliteConnection | None = None
        self._asides: list[tuple[Path, BaseException]] = []

    async def open(self) -> None:
        """Connect, and bring the file up to date. Does nothing when it is open.

        Raises:
            LedgerError: The file cannot be used; says why.
        """
        if self._is_open:
            return
        self._pid = os.getpid()
        self._changing = asyncio.Lock()
        await self._connect()
        self._is_open = True

    async def close(self) -> None:
        """Finish what is under way and disconnect. Does nothing when it is closed."""
        self._is_open = False
        connections = [self._leases, self._rows]
        self._leases = self._rows = None
        if self._pid == os.getpid():
            for connection in connections:
                if connection is not None:
                    await connection.close()

    async def on_rows(
        self, work: Callable[[SqliteConnection], Awaitable[T]], *, mend: bool = False
    ) -> T:
        """Do something on the connection for rows and reports, and again if its file has moved.

        Args:
            work: What; what it does in a file that is gone is done once more in the next.
            mend: Whether a damaged file is moved aside for it, and a new one made.

        Raises:
            LedgerError: It failed; says why.
        """
        return await self._do(lambda: self._rows, work, mend)

    async def on_leases(self, work: Callable[[SqliteConnection], Awaitable[T]]) -> T:
        """Do something on the connection for leases, not behind rows that wait for a lock; as
        `on_rows`. Where nothing is written there is only one."""
        return await self._do(
            lambda: self._rows if self._read_only else self._leases, work, not self._read_only
        )

    async def _do(
        self,
        choose: Callable[[], SqliteConnection | None],
        work: Callable[[SqliteConnection], Awaitable[T]],
        mend: bool,
    ) -> T:
        damaged = False
        for last in [*[False] * (_TRIES - 1), True]:
            self._check_open()
            connection = choose()
            try:
                if connection is None:  # it could not be opened again when it was tried last
                    await self._reconnect(None)
                    continue
                return await work(connection)
            except FileMoved as e:
                if last:
                    raise
                await self._reconnect(connection, e)
            except FileDamaged as e:
                if last or (damaged and not mend):
                    raise
                # first with new connections, in case that only what these have in memory is wrong
                await self._reconnect(connection, e if damaged else None)
                damaged = True
        raise AssertionError("unreachable")

    def _check_open(self) -> None:
        if not self._is_open:
            raise LedgerError(
                f"the ledger {self._path} is not open: `await ledger.open()`, or use "
                "`async with ledger:`"
            )
        if self._pid != os.getpid():
            raise LedgerError(
                f"the ledger {self._path} was opened before this process was forked; open one here"
            )

    async def _reconnect(
        self, used: SqliteConnection | None, trouble: LedgerError | None = None
    ) -> None:
        """Open what is there now, unless another task has done so since ``used`` was used."""
        async with self._changing:
            if used not in (self._rows, self._leases) or not self._is_open:
                return
            if isinstance(trouble, FileDamaged) and used is not None:
                await self._mend(used, trouble)
            if isinstance(trouble, FileMoved) and used is not None:
                await self._make_way(used, trouble)
            # before the others are opened: all connections of a process share one -shm
            old = [self._leases, self._rows]
            self._rows = self._leases = None
            for connection in old:
                if connection is not None:
                    with contextlib.suppress(LedgerError):
                        await connection.close()
            await self._connect()

    async def _connect(self) -> None:
        with self._explained():
            for last in [*[False] * (_TRIES - 1), True]:
                try:
                    if self._read_only:
                        self._rows = await self._for_reading()
                    else:
                        await self._for_writing()
                    break
                except FileMoved as e:
                    if last or (e.old.main == e.new.main and e.new.main is not None):
                        raise
        self.generation += 1

    async def _for_writing(self) -> None:
        await asyncio.to_thread(self._prepare)
        uri, sql = f"{self._path.as_uri()}?mode=rw", load_queries("sqlite")
        script = "\n".join((sql["settle"], sql["take_batches"], sql["wait_here"]))
        rows = await SqliteConnection.connect(self._path, uri, script, wait=self._wait)
        try:
            self._leases = await SqliteConnection.connect(
                self._path, uri, sql["settle_leases"], wait=self._wait, eager=True
            )
        except BaseException:
            await rows.close()
            raise
        self._rows = rows

    def _prepare(self) -> None:
        """Make the file, or bring it up to date; a damaged one is moved aside first."""
        path = self._path
        if path.exists() and not os.access(path, os.W_OK) and not path.is_dir():
            raise LedgerError(
                f"the ledger {path} cannot be used: it is read-only for this user; make the file "
                "and its folder writable"
            )
        before = look(str(path))
        try:
            self._check_emptied()
            create(path, wait=self._wait)
        except (sqlite3.DatabaseError, FileDamaged) as e:
            if not isinstance(e, FileDamaged) and not is_damage(e):
                raise
            try:
                self._move_aside(before.main, e.__cause__ or e)
            except NotDamaged:
                raise e from None
            create(path, wait=self._wait)
        while self._asides:
            self._take_over(*self._asides.pop())

    def _check_emptied(self) -> None:
        """SQLite would take a file that was emptied for a new one, and delete the -wal, too."""
        wal = Path(f"{self._path}-wal")
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size == 0 and wal.stat().st_size > WAL_HEADER:
                reason = sqlite3.DatabaseError("it was emptied")
                raise FileDamaged(f"the ledger {self._path} cannot be used: {reason}") from reason

    async def _for_reading(self) -> SqliteConnection:
        path = self._path
        if not path.exists():
            return await SqliteConnection.connect(path, ":memory:", empty_script(), wait=self._wait)
        self._check_emptied()
        uri = f"{path.as_uri()}?mode=ro"
        if not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
            # nobody writes it now, and the files that readers share could not be made
            uri += "&immutable=1"
        if not await asyncio.to_thread(self._is_current, uri):
            # made by an older version, or not finished by whoever made it
            await asyncio.to_thread(create, path, wait=self._wait)
        settle = load_queries("sqlite")["settle_reading"]
        return await SqliteConnection.connect(path, uri, settle, wait=self._wait)

    def _is_current(self, uri: str) -> bool:
        connection = sqlite3.connect(uri, timeout=self._wait, isolation_level=None, uri=True)
        try:
            return is_current(connection, self._path)
        finally:
            connection.close()

    async def _make_way(self, connection: SqliteConnection, moved: FileMoved) -> None:
        """The files are not those that a connection has open: see to it that the right ones are."""
        if moved.new.main == moved.old.main and moved.new.main is not None:
            if not self._read_only:
                if await connection.put_in_place():
                    _said.add(self._path, moved.old.main)  # to the other ledgers of this process
            elif None in (moved.new.wal, moved.new.shm):
                raise moved  # whoever writes mends it; files made here would hinder that
            return
        if self._read_only:
            return
        with self._explained():
            await asyncio.to_thread(self._leave_behind, moved)

    def _leave_behind(self, moved: FileMoved) -> None:
        try:
            with folder_lock(self._path, self._wait):
                # whoever has the lock first says it, and knows what was kept
                self._say(moved, leave_behind(self._path, moved.old))
        except FileNotFoundError:
            self._say(moved, None)  # the folder is gone, too

    def _say(self, moved: FileMoved, kept: Path | None) -> None:
        if not _said.add(self._path, moved.old.main) or was_moved_aside(self._path, moved.old):
            return  # by another ledger of this process, or by whoever moved it
        rest = (
            f" What was written to the old one last is in {kept}: if that file is somewhere else, "
            "name it like this, without -wal, to have both."
            if kept is not None
            else ""
        )
        if moved.new.main is None:
            logger.warning(
                "the ledger %s was deleted while in use: what was in it is gone from reports and "
                "budgets. A new one is made, and usage is recorded there.%s",
                self._path,
                rest,
            )
        else:
            logger.warning(
                "the ledger %s was replaced by another file while in use. Usage is recorded there "
                "from now on.%s",
                self._path,
                rest,
            )

    async def _mend(self, connection: SqliteConnection, damage: FileDamaged) -> None:
        error = damage.__cause__ or damage
        with self._explained():
            try:
                await asyncio.to_thread(self._move_aside, connection.files.main, error)
            except NotDamaged:
                raise damage from None

    def _move_aside(self, seen: Key | None, error: BaseException) -> None:
        aside = move_aside(self._path, seen, wait=self._wait)
        if aside is not None:
            self._asides.append((aside, error))

    def _take_over(self, aside: Path, error: BaseException) -> None:
        """The new file is there: let it have what running programs need, and say what happened."""
        rescued = rescue(aside, self._path, wait=self._wait)
        logger.error(
            "the ledger %s is damaged (%s): it was moved to %s, and a new ledger is made. Of what "
            "was in it, %d projects made at run time and %d requests since %s could be taken "
            "over. `sqlite3 %s .recover | sqlite3 recovered.db` saves what else can be saved "
            "(with the shell of sqlite.org; Debian's is built without it).",
            self._path,
            error,
            aside,
            rescued.projects,
            rescued.requests,
            rescued.since,
            aside,
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            raise explain(self._path, e, self._wait) from e


class _Said:
    """What this process has logged already: several ledgers of it may have the same file open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: set[tuple[Path, object]] = set()

    def add(self, path: Path, file: object) -> bool:
        """Whether it is the first time."""
        with self._lock:
            known = (path, file) in self._files
            self._files.add((path, file))
            return not known


_said = _Said()
