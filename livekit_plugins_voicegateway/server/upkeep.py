"""What a server does beside answering: it keeps the ledger in order, and sends alerts.

Workers do the same for as long as they run; the server does it for those that are gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from ..alerts.worker import POLL_SECONDS, AlertWorker
from ..config import Config
from ..errors import LedgerError, OutboxError
from ..ledger import make_ledger, open_ledger
from ..ledger.outbox import drain, open_outboxes
from ..log import logger
from ..metering.ids import uuid7

__all__ = ["keeping_order", "sending_alerts"]

_INTERVAL: Final = 60.0
"""Seconds between two times that the ledger is put in order."""


@asynccontextmanager
async def keeping_order(
    config: Config, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[None]:
    """Take in what waits in the outbox, close the requests of dead processes, and delete what
    retention lets go, once a minute.

    Args:
        config: Says where the ledger is, how long requests are kept, and when a day begins.
        clock: Unix time in seconds.
    """
    task = asyncio.create_task(_keep_order(config, clock))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def sending_alerts(
    config: Config, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[None]:
    """Send the alerts that nobody has sent, for as long as this is open; none without a webhook.

    Args:
        config: Says who is told.
        clock: Unix time in seconds.

    Raises:
        UnsetVariableError: The webhook needs an environment variable that is not set.
        ConfigError: What a variable holds is no address, or no secret.
    """
    endpoint = config.alerts.endpoint
    if endpoint is None:
        yield
        return
    worker = AlertWorker(
        endpoint,
        lambda: open_ledger(config.database_url, clock=clock),
        uuid7(),
        clock=clock,
        poll=POLL_SECONDS,
    )
    worker.look()
    try:
        yield
    finally:
        # it waits for a message that is under way
        await asyncio.to_thread(worker.close)


async def _keep_order(config: Config, clock: Callable[[], float]) -> None:
    failing = False
    while True:
        try:
            # on a thread: an outbox is read without asyncio
            await asyncio.to_thread(asyncio.run, _put_in_order(config, clock))
            failing = False
        except (LedgerError, OutboxError) as error:
            if not failing:
                logger.error("the ledger cannot be put in order: %s", error)
            failing = True
        await asyncio.sleep(_INTERVAL)


async def _put_in_order(config: Config, clock: Callable[[], float]) -> None:
    # a connection of its own: nobody waits for it, and who follows sees what it does
    async with make_ledger(config.database_url, clock=clock) as ledger:
        problem: OutboxError | None = None
        for outbox in open_outboxes(config):
            try:
                await drain(outbox, ledger)
            except OutboxError as e:
                problem = e
            finally:
                outbox.close()
        await ledger.housekeeping(
            retention_days=config.cost_tracking.retention_days,
            today=config.days.day_of(clock()),
        )
        if problem is not None:
            raise problem
