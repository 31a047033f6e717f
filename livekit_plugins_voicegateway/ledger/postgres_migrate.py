"""Brings the schema of a PostgreSQL ledger up to date. `PostgresLedger.open` calls this.

Any number of processes may do it at once: what is missing is applied in one transaction by whoever
gets the lock first. A database that a newer version has migrated is used as long as what is unknown
here only adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..errors import LedgerError
from .postgres_connection import PostgresConnection, Statements
from .queries import Migration, load_migrations, load_queries

__all__ = ["bring_up_to_date", "is_current"]

_WAIT: Final = 120.0
"""Seconds for one step while others may be at it, and for a migration that has much to do."""


async def bring_up_to_date(
    connection: PostgresConnection, name: str, migrations: Sequence[Migration] | None = None
) -> None:
    """Apply what a database lacks.

    Args:
        connection: A connection that may change it.
        name: The database, for messages.
        migrations: What to apply; those of this version when left out.

    Raises:
        LedgerError: The database belongs to a newer version, or cannot keep a ledger.
    """
    known = load_migrations("postgres") if migrations is None else migrations

    async def migrate(statements: Statements) -> None:
        await statements.fetch("migrate_alone")
        await statements.run(load_queries("postgres")["create_migrations"])
        applied = await _applied(statements)
        for migration in known:
            if migration.number not in applied:
                await statements.run(migration.script)
                await statements.change(
                    "record_migration",
                    {
                        "number": migration.number,
                        "name": migration.name,
                        "additive": migration.additive,
                    },
                )
        await statements.fetch("make_months")

    await connection.in_transaction(migrate, wait=_WAIT)


async def is_current(
    connection: PostgresConnection, name: str, migrations: Sequence[Migration] | None = None
) -> bool:
    """Return whether a database lacks none of our migrations; arguments as `bring_up_to_date`.

    Raises:
        LedgerError: A newer version has changed it in a way that this one cannot go on with.
    """
    known = load_migrations("postgres") if migrations is None else migrations
    ((exists,),) = await connection.fetch("has_migrations")
    if not exists:
        return False
    applied = await _applied(connection)
    newest = known[-1].number
    for number, (title, additive) in applied.items():
        if number > newest and not additive:
            raise LedgerError(
                f"the ledger {name} was migrated by a newer version of VoiceGateway (it has "
                f"{title}, this version knows up to {known[-1].name}): update this installation "
                "with `pip install -U livekit-plugins-voicegateway`"
            )
    return all(migration.number in applied for migration in known)


async def _applied(on: PostgresConnection | Statements) -> dict[int, tuple[str, bool]]:
    return {
        number: (name, additive) for number, name, additive in await on.fetch("applied_migrations")
    }
