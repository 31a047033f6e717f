"""Keeps a worker's projects as the ledger has them: a thread that looks once a second.

While nothing changes a look is one small query on a connection that only reads. PostgreSQL says on
the same connection that something has changed, so that there it is seen at once; looking goes on
all the same, for what is said may get lost. Whatever is wrong with the ledger, a call goes on with
the projects that are known.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .background import BackgroundThread
from .bugs import report_bug
from .errors import VoiceGatewayError
from .log import logger

if TYPE_CHECKING:
    from .config import Config
    from .ledger import Ledger
    from .managed import ProjectCatalogue

__all__ = ["ProjectWatcher"]

ROUND_SECONDS = 1.0
"""Seconds between two looks, unless the ledger says that something has changed."""

FIRST_LOOK_SECONDS = 1.0
"""Seconds that a process waits for its first look at most, before its first model is made."""

QUICK_LOOK_SECONDS = 0.05
"""Seconds that an unknown project is looked for at most; an event loop stands still meanwhile."""


class ProjectWatcher:
    """Looks for projects that were made, changed or deleted since the last look.

    Args:
        config: The configuration as the file has it.
        env: Environment variables, ``VOICEGW_SECRET_KEY`` among them.
        take_in: Told on this thread of the configuration with all projects, when it has changed.
    """

    def __init__(
        self,
        config: Config,
        *,
        env: Mapping[str, str] = os.environ,
        take_in: Callable[[Config], None],
    ) -> None:
        self._config = config
        self._env = env
        self._take_in = take_in
        self._bell = _Bell()
        self._stopping = threading.Event()
        self._tickets: deque[threading.Event] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._thread = BackgroundThread("projects", self._main)
        self._lock = threading.Lock()
        self._looked_at = 0.0

        # the thread alone touches what follows
        self._ledger: Ledger | None = None
        self._catalogue: ProjectCatalogue | None = None
        self._listening = False
        self._trouble = ""

    def start(self) -> None:
        """Begin to watch, once; waits for the first look, `FIRST_LOOK_SECONDS` at most."""
        with self._lock:
            if self._thread.has_begun or self._stopping.is_set():
                return
            first = threading.Event()
            self._tickets.append(first)
            self._thread.begin()
        first.wait(FIRST_LOOK_SECONDS)

    def look_now(self) -> None:
        """Look now, for `QUICK_LOOK_SECONDS` at most; does nothing when that was done just now."""
        with self._lock:
            now = time.monotonic()
            if not self._thread.has_begun or now - self._looked_at < ROUND_SECONDS:
                return
            self._looked_at = now
        ticket = threading.Event()
        self._tickets.append(ticket)
        self._bell.ring()
        ticket.wait(QUICK_LOOK_SECONDS)

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` on the thread soon, for what a change brings and a call must not wait for."""
        self._jobs.append(job)
        self._bell.ring()

    def close(self, timeout: float = 5.0) -> bool:
        """End the thread.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it has ended in time.
        """
        self._stopping.set()
        self._bell.ring()
        return self._thread.join(timeout)

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            try:
                while not self._stopping.is_set():
                    self._bell.hush()
                    tickets = [self._tickets.popleft() for _ in range(len(self._tickets))]
                    runner.run(self._look())
                    for ticket in tickets:
                        ticket.set()
                    self._work()
                    runner.run(self._bell.heard(ROUND_SECONDS))
            finally:
                # what was opened on this event loop is of no use on another
                runner.run(self._close())

    async def _look(self) -> None:
        try:
            if self._catalogue is None:
                # here: only a process that has projects to look for needs a database driver
                from .ledger import make_ledger
                from .managed.catalogue import ProjectCatalogue

                self._ledger = make_ledger(self._config.database_url, read_only=True)
                self._catalogue = ProjectCatalogue(self._config, self._ledger, env=self._env)
            assert self._ledger is not None
            await self._ledger.open()
            if not self._listening:
                await self._ledger.listen_for_projects(self._bell.ring)
                self._listening = True
            known = self._catalogue.notes
            if await self._catalogue.refresh():
                for note in self._catalogue.notes:
                    if note not in known:
                        logger.warning("%s", note)
                self._take_in(self._catalogue.config)
            self._trouble = ""
        except Exception as e:
            if not isinstance(e, (VoiceGatewayError, OSError)):
                report_bug("look for projects made at run time", e)
            if self._trouble != str(e):
                self._trouble = str(e)
                logger.debug("VoiceGateway cannot look for projects made at run time: %s", e)
            await self._close()

    async def _close(self) -> None:
        self._listening = False
        if self._ledger is None:
            return
        try:
            await self._ledger.close()
        except Exception as e:
            logger.debug("VoiceGateway could not close its ledger: %s", e)

    def _work(self) -> None:
        while self._jobs and not self._stopping.is_set():
            try:
                self._jobs.popleft()()
            except Exception as e:
                report_bug("take in a change of a project", e)


class _Bell:
    """Rung on any thread, and heard on one that runs an event loop while it waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rung = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def ring(self) -> None:
        """Let whoever waits go on, or not begin to wait."""
        with self._lock:
            self._rung = True
            if self._waiting is not None:
                loop, event = self._waiting
                loop.call_soon_threadsafe(event.set)

    def hush(self) -> None:
        """Forget that it was rung."""
        with self._lock:
            self._rung = False

    async def heard(self, seconds: float) -> None:
        """Wait until it is rung, for ``seconds`` at most."""
        event = asyncio.Event()
        with self._lock:
            if self._rung:
                return
            self._waiting = asyncio.get_running_loop(), event
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiting = None
