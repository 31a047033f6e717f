"""Usage that waits on this host until the ledger takes it, and survives the process meanwhile.

An outbox is a small SQLite file that the processes of a user share, one for each ledger. A process
whose ledger cannot be written puts its rows there; `drain` sends them on in the order in which they
came, and takes them out only after the ledger has committed them. Sending a row twice is the same
as sending it once, so that nothing is lost or counted twice when a process dies in between.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from ..errors import OutboxError
from ..log import logger
from ..metering.usage import UsageRow
from .queries import load_queries
from .row_codec import decode_row, encode_rows
from .urls import without_credentials

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["LIMIT_BYTES", "Outbox", "Waiting", "drain", "open_outboxes", "outbox_file", "send_on"]

LIMIT_BYTES: Final = 512 * 1024 * 1024
"""Size of an outbox at most: about a million rows, hours of a hundred calls at once."""

BATCH: Final = 1_000
"""Rows that `drain` sends on in one transaction of the ledger."""

_WAIT: Final = 2.0
"""Seconds to wait for another process that writes the outbox; a write takes milliseconds."""

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

T = TypeVar("T")


class Waiting(NamedTuple):
    """A row that waits.

    Attributes:
        sequence: Its place in the order of arrival.
        row: The row, in the latest version that was put there.
    """

    sequence: int
    row: UsageRow


class RowTaker(Protocol):
    """What takes the rows in the end: a ledger."""

    async def write(self, rows: list[UsageRow]) -> None:
        """Write all rows in one transaction; raises when none was written."""


def outbox_file(folder: Path, url: str) -> Path:
    """The file of the outbox for a ledger.

    Args:
        folder: Where outboxes are.
        url: The ledger's URL; user and password in it make no difference.
    """
    place = without_credentials(url).encode()
    return folder / f"outbox-{hashlib.sha256(place).hexdigest()[:16]}.db"


def open_outboxes(config: Config) -> list[Outbox]:
    """The outboxes for a configuration's ledger, the one to be used first before the others.

    Raises:
        ConfigError, UnsetVariableError: Where they are or what they are for cannot be known.
    """
    return [Outbox(outbox_file(folder, config.database_url)) for folder in config.outbox_folders]


class Outbox:
    """The outbox in one file. Belongs to the thread that uses it.

    Args:
        path: The file; made when a row is put there, with its folder, for its owner's eyes only.
        limit_bytes: Size of the file at most.
    """

    def __init__(self, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit = limit_bytes
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._sql = load_queries("outbox")

    def exists(self) -> bool:
        """Whether anybody has ever put a row there."""
        return self.path.exists()

    def put(self, rows: Sequence[UsageRow]) -> None:
        """Keep rows, durably; a row that waits already is replaced.

        Raises:
            OutboxError: The file cannot be written, or is full.
        """
        text = f"[{encode_rows(rows)}]".encode("utf-8", "replace").decode()
        self._use(lambda connection: self._put(connection, text))

    def after(self, sequence: int, limit: int) -> tuple[list[Waiting], int]:
        """The rows that came next after the one with this number.

        Args:
            sequence: 0 for the first.
            limit: How many at most.

        Returns:
            The rows, and the number of the last one that was looked at. Rows that a newer version
            of this program wrote and this one cannot read stay where they are.

        Raises:
            OutboxError: The file cannot be read.
        """
        found = self._use(
            lambda connection: connection.execute(
                self._sql["after"], {"sequence": sequence, "limit": limit}
            ).fetchall()
        )
        rows = []
        for number, text in found:
            try:
                rows.append(Waiting(number, decode_row(json.loads(text))))
            except (ValueError, TypeError, LookupError):
                logger.warning(
                    "a row in %s cannot be read by this version of VoiceGateway; it stays there",
                    self.path,
                )
        return rows, found[-1][0] if found else sequence

    def remove(self, waiting: Sequence[Waiting]) -> None:
        """Take out rows, unless a newer version of them has come.

        Raises:
            OutboxError: The file cannot be written.
        """
        numbers = json.dumps([one.sequence for one in waiting])
        self._use(
            lambda connection: connection.execute(self._sql["remove"], {"sequences": numbers})
        )

    def is_empty(self) -> bool:
        """Whether nothing waits; cheap however much does.

        Raises:
            OutboxError: The file cannot be read.
        """
        if self._connection is None and not self.exists():
            return True
        found = self._use(lambda connection: connection.execute(self._sql["any"]).fetchall())
        return not found

    def count(self) -> int:
        """How many rows wait.

        Raises:
            OutboxError: The file cannot be read.
        """
        if self._connection is None and not self.exists():
            return 0
        ((count,),) = self._use(
            lambda connection: connection.execute(self._sql["count"]).fetchall()
        )
        return int(count)

    @contextlib.contextmanager
    def draining(self) -> Iterator[bool]:
        """Be the one process that drains the outbox, for as long as the context is open.

        Yields:
            Whether this process is the one; the next can be as soon as it ends, however it ends.
        """
        lock = None
        try:
            with self._explained():
                lock = sqlite3.connect(
                    _made(self.path.with_suffix(".drain")), timeout=0, isolation_level=None
                )
                try:
                    lock.execute(self._sql["lock"])
                except sqlite3.OperationalError as e:
                    if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                    ours = False
                else:
                    ours = True
            yield ours
        finally:
            if lock is not None:
                lock.close()

    def close(self) -> None:
        """Close the file; it is opened again when it is used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _put(self, connection: sqlite3.Connection, rows: str) -> None:
        ((size,),) = connection.execute(self._sql["size"]).fetchall()
        if size >= self._limit:
            raise OSError(errno.ENOSPC, f"it is full: it has {size:,} bytes")
        connection.execute(self._sql["put"], {"rows": rows})

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._explained():
            try:
                return self._committed(work)
            except sqlite3.DatabaseError as e:
                if getattr(e, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                    raise
                self._move_aside(e)
            return self._committed(work)

    def _committed(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result = work(self._open())
        if self._identity != _identity(self.path):
            # deleted or replaced meanwhile: what was written is in no file that anybody finds
            self.close()
            result = work(self._open())
        return result

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity == _identity(self.path):
            return self._connection
        self.close()
        connection = sqlite3.connect(_made(self.path), timeout=_WAIT, isolation_level=None)
        try:
            connection.execute(self._sql["settle"])
            if not connection.execute(self._sql["has_table"]).fetchone()[0]:
                connection.execute(self._sql["shrink"])
                connection.execute(self._sql["use_wal"])
                connection.execute(self._sql["create"])
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, _identity(self.path)
        return connection

    def _move_aside(self, error: sqlite3.Error) -> None:
        self.close()
        now = datetime.datetime.now(datetime.UTC)
        aside = self.path.with_name(f"{self.path.name}.corrupt-{now:%Y%m%dT%H%M%S.%fZ}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}{suffix}", f"{aside}{suffix}")
        logger.error(
            "VoiceGateway's outbox %s is damaged (%s): it was moved to %s, and a new one is made. "
            "`sqlite3 %s .recover` shows what can be saved.",
            self.path,
            error,
            aside,
            aside,
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            self.close()
            if getattr(e, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                reason = "its disk is full"
            elif isinstance(e, OSError):
                reason = e.strerror or str(e)
            else:
                reason = str(e)
            raise OutboxError(f"the outbox {self.path} cannot be used: {reason}") from e


async def drain(outbox: Outbox, ledger: RowTaker) -> int | None:
    """Send on what waits, in order of arrival, and take out what the ledger has committed.

    Args:
        outbox: Where it waits.
        ledger: Where it goes.

    Returns:
        How many rows were sent; None when another process is at it.

    Raises:
        OutboxError: The outbox cannot be used; rows stay, or are sent once more.
        LedgerError: The ledger does not take them; they stay.
    """
    if outbox.is_empty():
        return 0
    with outbox.draining() as ours:
        return await send_on(outbox, ledger) if ours else None


async def send_on(outbox: Outbox, ledger: RowTaker) -> int:
    """`drain` for a process that is the one to drain already (see `Outbox.draining`).

    Returns:
        How many rows were sent.

    Raises:
        OutboxError, LedgerError: As `drain`.
    """
    sent = last = 0
    while True:
        waiting, reached = outbox.after(last, BATCH)
        if reached == last:
            return sent
        if waiting:
            await ledger.write([one.row for one in waiting])
            outbox.remove(waiting)
        sent, last = sent + len(waiting), reached


def _made(path: Path) -> Path:
    """Make the file unless it is there, for its owner's eyes only; SQLite's own get its mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if hasattr(os, "geteuid") and folder.st_uid not in (os.geteuid(), 0):
        # in a folder for everybody's files somebody may have been there before us
        raise PermissionError(errno.EPERM, f"the folder {path.parent} belongs to another user")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
