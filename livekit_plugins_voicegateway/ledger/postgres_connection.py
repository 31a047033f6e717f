"""A connection to a ledger in PostgreSQL: queries by name, faults in plain words, made again when
it was lost.

`PostgresLedger` has one for everything, and a second one for leases that must not wait behind rows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import asyncpg

from ..log import logger
from .postgres_errors import explain, is_lost
from .postgres_rows import clean, clean_key
from .queries import load_numbered_queries, load_queries

__all__ = ["LONG", "PostgresConnection", "Statements"]

LONG: Final = 600.0
"""Seconds for what reads or deletes all requests."""

_TRIES: Final = 5
"""Times that a change is tried which PostgreSQL gives up because two wait for each other."""

_KEYS: Final = frozenset(
    ("id", "project", "provider", "model", "room", "owner", "before_id", "after_id")
)
"""Parameters that are compared with texts which an index holds."""

_LISTS_OF_KEYS: Final = frozenset(("ids", "rooms"))
"""The same, several at once."""

T = TypeVar("T")


class Statements:
    """Queries by name, on a connection that is open. What fails is raised as asyncpg has it.

    Args:
        connection: The connection.
        wait: Seconds to wait for an answer.
    """

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], wait: float) -> None:
        self._connection = connection
        self._wait = wait
        self._sql = load_numbered_queries("postgres")

    async def fetch(
        self, query: str, parameters: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask, and return the lines of the answer.

        Args:
            query: Its name.
            parameters: Values by name; those that it does not name are left out.
        """
        text, names = self._sql[query]
        values = _storable(names, parameters or {})
        found = await self._connection.fetch(text, *values, timeout=self._wait)
        return [tuple(line) for line in found]

    async def change(self, query: str, parameters: Mapping[str, Any]) -> int:
        """Write, and return how many rows were changed; arguments as `fetch`."""
        text, names = self._sql[query]
        values = _storable(names, parameters)
        said: str = await self._connection.execute(text, *values, timeout=self._wait)
        return int(said.rpartition(" ")[2])

    async def run(self, script: str) -> None:
        """Run statements without parameters."""
        await self._connection.execute(script, timeout=self._wait)

    async def listen(self, channel: str, heard: Callable[[object, int, str, object], None]) -> None:
        """Have ``heard`` called for each notification on a channel. Twice is the same as once.

        Args:
            channel: Its name.
            heard: Gets connection, process id of who notified, channel, and what it said.
        """
        async with asyncio.timeout(self._wait):
            await self._connection.add_listener(channel, heard)


class PostgresConnection:
    """A connection that is made at its first use. Belongs to the event loop that uses it first.

    Args:
        url: Where the database is, as asyncpg reads it.
        name: The same without password, for messages.
        wait: Seconds to wait for the server, at each try to connect and for each answer.
        read_only: Whether the server shall refuse changes.
    """

    def __init__(self, url: str, name: str, *, wait: float, read_only: bool) -> None:
        self._url = url
        self._name = name
        self._wait = wait
        self._read_only = read_only
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._told: dict[str, Callable[[], None]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer on it."""
        return self._turn.locked()

    async def fetch(
        self, query: str, parameters: Mapping[str, Any] | None = None, *, wait: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask, and return the lines of the answer.

        Args:
            query: Its name.
            parameters: Values by name; those that it does not name are left out.
            wait: Seconds to wait for the answer, instead of the usual time.

        Raises:
            LedgerError: The database failed; says why.
        """
        return await self._with_connection(
            lambda statements: statements.fetch(query, parameters), wait or self._wait
        )

    async def change(
        self, query: str, parameters: Mapping[str, Any], *, wait: float | None = None
    ) -> int:
        """Write in one transaction, and return how many rows were changed; arguments as `fetch`.

        Raises:
            LedgerError: The database failed; says why.
        """
        return await self._with_connection(
            lambda statements: statements.change(query, parameters), wait or self._wait
        )

    async def in_transaction(
        self, work: Callable[[Statements], Awaitable[T]], *, wait: float | None = None
    ) -> T:
        """Do several things in one transaction; it is undone when ``work`` raises.

        Args:
            work: Gets the connection; called again if the transaction was given up.
            wait: Seconds to wait for each answer, instead of the usual time.

        Raises:
            LedgerError: The database failed; says why.
        """

        async def do(statements: Statements) -> T:
            async with statements._connection.transaction():
                return await work(statements)

        return await self._with_connection(do, wait or self._wait)

    async def listen(self, channel: str, told: Callable[[], None]) -> None:
        """Have ``told`` called for each notification on a channel, from now on.

        It is one more use of the same connection: when that was lost, notifications come again from
        the next use on. A server that lets nobody listen, such as a standby, is no failure.

        Args:
            channel: Its name; there is one listener for each.
            told: Called on this event loop.

        Raises:
            LedgerError: The database failed; says why.
        """
        self._told[channel] = told
        await self._with_connection(self._listen_on, self._wait)

    async def _listen_on(self, statements: Statements) -> None:
        for channel in self._told:
            try:
                await statements.listen(channel, self._heard)
            except asyncpg.PostgresError as e:
                if is_lost(e):
                    raise
                logger.debug("the ledger %s lets nobody listen: %s", self._name, e)

    def _heard(self, connection: object, pid: int, channel: str, payload: object) -> None:
        self._told[channel]()

    async def close(self) -> None:
        """Wait for what is under way, and disconnect."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None and not connection.is_closed():
                try:
                    await connection.close(timeout=self._wait)
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    connection.terminate()

    async def _with_connection(self, work: Callable[[Statements], Awaitable[T]], wait: float) -> T:
        async with self._turn, self._in_plain_words(wait):
            if self._connection is None or self._connection.is_closed():
                self._connection = None
                self._connection = await self._connect()
            for tries_left in reversed(range(_TRIES)):
                try:
                    return await work(Statements(self._connection, wait))
                except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                    if not tries_left:
                        raise
            raise AssertionError("the last try has returned or raised")

    @contextlib.asynccontextmanager
    async def _in_plain_words(self, wait: float) -> AsyncIterator[None]:
        try:
            yield
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as e:
            if self._connection is not None and is_lost(e):
                self._connection.terminate()
                self._connection = None
            raise explain(self._name, e, wait) from e

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        try:
            connection = await asyncpg.connect(
                self._url, timeout=self._wait, server_settings={"application_name": "voicegateway"}
            )
        except (ValueError, asyncpg.ClientConfigurationError) as e:
            # what it says of the URL may quote the password; nor does the cause show it
            raise explain(self._name, e, self._wait) from None
        try:
            await connection.execute(load_queries("postgres")["settle"], timeout=self._wait)
            if self._read_only:
                await connection.execute(load_queries("postgres")["settle_reading"])
            await self._listen_on(Statements(connection, self._wait))
        except BaseException:
            connection.terminate()
            raise
        return connection


def _storable(names: tuple[str, ...], parameters: Mapping[str, Any]) -> list[Any]:
    """Order values by the numbers of their parameters, and bring texts into the form of rows."""
    return [_storable_value(name, parameters[name]) for name in names]


def _storable_value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return clean_key(value) if name in _KEYS else clean(value)
    if name in _LISTS_OF_KEYS:
        return [clean_key(text) for text in value]
    return value
