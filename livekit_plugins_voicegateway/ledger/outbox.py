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
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ..errors import OutboxError
from ..log import logger
from ..metering.usage import UsageRow
from .outbox_files import identity, lock_holder, made
from .queries import load_queries
from .refusals import Refusal, RowTaker, write_all_but
from .row_codec import as_it_is, decode_row, encode_rows, from_what_it_was
from .urls import without_credentials

if TYPE_CHECKING:
    from ..config import Config

__all__ = [
    "LIMIT_BYTES",
    "MOST_REFUSED",
    "Outbox",
    "Refused",
    "Waiting",
    "drain",
    "open_outboxes",
    "outbox_file",
    "send_on",
]

LIMIT_BYTES: Final = 512 * 1024 * 1024
"""Size of an outbox at most: about a million rows, hours of a hundred calls at once."""

BATCH: Final = 1_000
"""Rows that `drain` sends on in one transaction of the ledger."""

_WAIT: Final = 2.0
"""Seconds to wait for another process that writes the outbox; a write takes milliseconds."""

MOST_REFUSED: Final = 10_000
"""Rows that are set aside at most; of more the oldest go."""

_MOST_SAID: Final = 20
"""Times that an outbox says in the log what it sets aside."""

_LONGEST_REASON: Final = 500
"""Characters of what is said of a row that is set aside."""

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


class Refused(NamedTuple):
    """A row that was set aside.

    Attributes:
        number: Its place among them.
        row: The row as JSON, whatever is in it.
        reason: Why the ledger does not take it.
        at: When it was set aside, ISO 8601 UTC.
    """

    number: int
    row: str
    reason: str
    at: str


def outbox_file(folder: Path, url: str) -> Path:
    """The file of the outbox for a ledger.

    Args:
        folder: Where outboxes are.
        url: The ledger's URL; user and password in it make no difference.
    """
    place = without_credentials(url).encode()
    return folder / f"outbox-{hashlib.sha256(place).hexdigest()[:16]}.db"


def open_outboxes(config: Config, *, mend: bool = True) -> list[Outbox]:
    """The outboxes for a configuration's ledger, the one to be used first before the others.

    Args:
        config: Says where they are.
        mend: See `Outbox`.

    Raises:
        ConfigError, UnsetVariableError: Where they are or what they are for cannot be known.
    """
    url = config.database_url
    return [Outbox(outbox_file(folder, url), mend=mend) for folder in config.outbox_folders]


class Outbox:
    """The outbox in one file. Belongs to the thread that uses it.

    Args:
        path: The file; made when a row is put there, with its folder, for its owner's eyes only.
        limit_bytes: Size of the file at most.
        mend: Move a damaged file aside, and make a new one; False for who only looks.
    """

    def __init__(self, path: Path, *, limit_bytes: int = LIMIT_BYTES, mend: bool = True) -> None:
        self.path = path
        self._mend = mend
        self._said = 0
        self._said_of_newer = False
        self._limit = limit_bytes
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._sql = load_queries("outbox")

    def exists(self) -> bool:
        """Whether anybody has ever put a row there."""
        return self.path.exists()

    def put(self, rows: Sequence[UsageRow]) -> None:
        """Keep rows, durably; a row that waits already is replaced.

        One that cannot be written down is set aside, and keeps no other from being kept.

        Raises:
            OutboxError: The file cannot be written, or is full.
        """
        refused: list[Refusal] = []
        try:
            text = _written_down(rows)
        except (ValueError, TypeError):
            text, refused = _what_can_be_written_down(rows)
        self._use(lambda connection: self._put(connection, text))
        if refused:
            self.set_aside(refused)

    def set_aside(self, refusals: Sequence[Refusal]) -> None:
        """Keep rows that the ledger does not take for what is in them, apart from those that wait.

        The log says so; there are `MOST_REFUSED` of them at most.

        Raises:
            OutboxError: The file cannot be written.
        """
        lines = [[str(row.id), as_it_is(row), why[:_LONGEST_REASON]] for row, why in refusals]
        rows = json.dumps(lines, ensure_ascii=False).encode("utf-8", "replace").decode()

        def keep(connection: sqlite3.Connection) -> int:
            connection.execute(self._sql["set_aside"], {"rows": rows})
            return connection.execute(self._sql["forget"], {"most": MOST_REFUSED}).rowcount

        self._say(refusals, forgotten=self._use(keep))

    def refused(self, limit: int) -> list[Refused]:
        """Rows that were set aside, the oldest first.

        Args:
            limit: How many at most.

        Raises:
            OutboxError: The file cannot be read.
        """
        found = self._use(
            lambda connection: connection.execute(self._sql["refused"], {"limit": limit}).fetchall()
        )
        return [Refused(*line) for line in found]

    def try_again(self) -> int:
        """Let what was set aside wait again, to be sent once more; how many rows.

        Raises:
            OutboxError: The file cannot be written.
        """
        if not self.count_refused():
            return 0
        again, numbers = [], []
        for refused in self.refused(MOST_REFUSED):
            with contextlib.suppress(ValueError, TypeError):  # of a newer version: it stays
                again.append(from_what_it_was(refused.row))
                numbers.append(refused.number)
        self.put(again)  # what it sets aside again gets another number
        self._use(
            lambda connection: connection.execute(
                self._sql["take_back"], {"numbers": json.dumps(numbers)}
            )
        )
        return len(again)

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
                if not self._said_of_newer:
                    self._said_of_newer = True
                    logger.warning(
                        "a row in %s cannot be read by this version of VoiceGateway; it stays "
                        "there for a newer one",
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
        return self._number_of("count")

    def count_refused(self) -> int:
        """How many rows are set aside.

        Raises:
            OutboxError: The file cannot be read.
        """
        if self._connection is None and not self.exists():
            return 0
        return self._number_of("count_refused")

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
                    made(self.path.with_suffix(".drain")), timeout=0, isolation_level=None
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

    def carrier(self) -> int | None:
        """The process that drains the outbox now, or is ready to.

        Not for a process that drains: asking would give up its lock.

        Returns:
            Its id; 0 for one that cannot be seen from here; None when there is none, and where the
            system does not tell (all but Linux).
        """
        return lock_holder(self.path.with_suffix(".drain"))

    def moved_aside(self) -> list[Path]:
        """The files that were here, were damaged, and were moved aside; the oldest first."""
        found = self.path.parent.glob(f"{self.path.name}.corrupt-*Z")
        return sorted(found)

    def close(self) -> None:
        """Close the file; it is opened again when it is used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _number_of(self, query: str) -> int:
        ((count,),) = self._use(lambda connection: connection.execute(self._sql[query]).fetchall())
        return int(count)

    def _say(self, refusals: Sequence[Refusal], *, forgotten: int) -> None:
        if forgotten:
            logger.error(
                "VoiceGateway drops the oldest %d rows of usage that the ledger refuses: more than "
                "%d are set aside in %s",
                forgotten,
                MOST_REFUSED,
                self.path,
            )
        for row, reason in refusals:
            self._said += 1
            if self._said <= _MOST_SAID:
                logger.error(
                    "VoiceGateway sets aside usage that is refused (%s): request %s of project %r, "
                    "%s/%s. It is kept in %s; `voicegw outbox` shows it, and `voicegw outbox "
                    "--send` tries it again, after an update of whichever refuses it.%s",
                    reason,
                    row.request_id,
                    row.project,
                    row.provider,
                    row.model,
                    self.path,
                    " Of more of them the log says nothing." if self._said == _MOST_SAID else "",
                )

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
                if getattr(e, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED or not self._mend:
                    raise
                self._move_aside(e)
            return self._committed(work)

    def _committed(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result = work(self._open())
        if self._identity != identity(self.path):
            # deleted or replaced meanwhile: what was written is in no file that anybody finds
            self.close()
            result = work(self._open())
        return result

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity == identity(self.path):
            return self._connection
        self.close()
        connection = sqlite3.connect(made(self.path), timeout=_WAIT, isolation_level=None)
        try:
            connection.execute(self._sql["settle"])
            if not connection.execute(self._sql["has_table"]).fetchone()[0]:
                connection.execute(self._sql["shrink"])
                connection.execute(self._sql["use_wal"])
                connection.execute(self._sql["create"])
                connection.execute(self._sql["create_refused"])
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, identity(self.path)
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
    """Send on what waits, in order of arrival, and take out what the ledger has committed. What it
    refuses for what is in it is set aside, and the others go on.

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
            refused = await write_all_but(ledger, [one.row for one in waiting])
            if refused:
                outbox.set_aside(refused)
            outbox.remove(waiting)
        sent, last = sent + len(waiting), reached


def _written_down(rows: Sequence[UsageRow]) -> str:
    if not all(isinstance(row.id, str) for row in rows):
        raise TypeError("a row has no id")
    return f"[{encode_rows(rows)}]".encode("utf-8", "replace").decode()


def _what_can_be_written_down(rows: Sequence[UsageRow]) -> tuple[str, list[Refusal]]:
    written, refused = [], []
    for row in rows:
        try:
            written.append(_written_down([row])[1:-1])
        except (ValueError, TypeError) as e:
            refused.append(Refusal(row, f"it cannot be written down: {e}"))
    return f"[{','.join(written)}]", refused
