"""The thread that tells: notes alerts of this process in the ledger, and sends those that are due.

Workers start it when they have something to tell, the server keeps it running for what dead
workers left behind. It has an event loop and a connection to the ledger of its own, so that a
receiver which does not answer holds up neither a call nor the recorder.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..background import BackgroundThread
from ..log import logger
from .delivery import Answer, Deliverer, next_try, pause_after, post

if TYPE_CHECKING:
    from ..ledger.base import Ledger
    from .endpoint import Endpoint
    from .events import Alert

__all__ = ["POLL_SECONDS", "AlertWorker"]

POLL_SECONDS: Final = 15.0
"""Seconds between two looks of a server at the ledger, for what dead workers left behind."""

_LEDGER_PAUSE: Final = 10.0
"""Seconds between two tries to note alerts in a ledger that fails."""

_WAITING: Final = 1_000
"""Alerts that wait in memory at most while the ledger fails."""

_REMEMBERED: Final = 10_000
"""Alerts that a process remembers to have told, so as not to ask the ledger each time."""


@dataclass(slots=True)
class _Direct:
    alert: Alert
    tries: int = 0
    due_at: float = 0.0


class AlertWorker:
    """Sees to it that somebody is told. Its thread is started when it is first needed.

    Args:
        endpoint: Where to.
        open_ledger: Opens the ledger for writing, on the worker's thread.
        owner: Id of this process among those that send.
        clock: Unix time in seconds.
        pause_after: Seconds until the next try, by the number of tries.
        poll: Seconds between two looks at the ledger when nothing is known to wait; None to look
            only when there is a reason.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        open_ledger: Callable[[], Awaitable[Ledger]],
        owner: str,
        *,
        clock: Callable[[], float] = time.time,
        pause_after: Callable[[int], float] = pause_after,
        poll: float | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._open_ledger = open_ledger
        self._owner = owner
        self._clock = clock
        self._pause_after = pause_after
        self._poll = poll

        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._new: deque[Alert] = deque(maxlen=_WAITING)
        self._new_direct: deque[_Direct] = deque(maxlen=_WAITING)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = BackgroundThread("alerts", self._main)
        self._sending: tuple[asyncio.AbstractEventLoop, asyncio.Future[Answer]] | None = None

        # the worker's thread alone touches it
        self._direct: list[_Direct] = []

    def tell(self, alert: Alert) -> None:
        """Tell this, unless this process has told it before. Costs the caller microseconds.

        The ledger sees to it that it is sent once, whoever else tells it.
        """
        if self._is_new(alert):
            self._new.append(alert)
            self.look()

    def tell_directly(self, alert: Alert) -> None:
        """Tell this without asking the ledger, which fails, unless this process has before."""
        if self._is_new(alert):
            self._new_direct.append(_Direct(alert))
            self.look()

    def look(self) -> None:
        """Look into the ledger now: something may be waiting there."""
        self._wake.set()
        self._thread.begin()

    def close(self, timeout: float = 5.0) -> bool:
        """Note in the ledger what is not noted yet, leave what is not sent to others, and end.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether the thread has ended in time.
        """
        if not self._thread.has_begun:
            return True
        with self._lock:
            self._stopping = True
            if self._sending is not None:
                loop, sending = self._sending
                loop.call_soon_threadsafe(sending.cancel)
        self._wake.set()
        return self._thread.join(timeout)

    def _is_new(self, alert: Alert) -> bool:
        with self._lock:
            if alert.about in self._told:
                return False
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            self._told.add(alert.about)
            return True

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            pause: float | None = 0.0
            while not self._stopping:
                self._wake.wait(pause)
                self._wake.clear()
                if not self._stopping:
                    pause = runner.run(self._round())
            runner.run(self._leave())

    async def _round(self) -> float | None:
        """Do what there is to be done; how many seconds until there is more."""
        try:
            times = [await self._send_directly(), await self._work_on_ledger()]
        except Exception:
            logger.exception("VoiceGateway failed at alerts, and tries again; please report this")
            return _LEDGER_PAUSE
        next_at = min((time for time in times if time is not None), default=None)
        if next_at is None:
            return self._poll
        pause = max(0.0, next_at - self._clock())
        return pause if self._poll is None else min(pause, self._poll)

    async def _leave(self) -> None:
        # no ledger keeps these for others
        for waiting in (*self._direct, *self._new_direct):
            if not waiting.tries:
                await post(self._endpoint, waiting.alert, clock=self._clock)
        if self._new:
            try:
                ledger = await self._open_ledger()
                try:
                    await self._note(ledger)
                finally:
                    await ledger.close()
            except Exception as e:
                logger.error("%d alerts could not be noted: %s", len(self._new), type(e).__name__)

    async def _work_on_ledger(self) -> float | None:
        """Note what is new and send what is due; Unix time at which more is due."""
        try:
            ledger = await self._open_ledger()
            try:
                await self._note(ledger)
                await Deliverer(
                    self._endpoint,
                    ledger,
                    self._owner,
                    clock=self._clock,
                    pause_after=self._pause_after,
                    send=self._send,
                ).deliver_due()
                return await ledger.next_alert()
            finally:
                await ledger.close()
        except Exception as e:
            # the recorder has said so
            logger.debug("the ledger does not answer for alerts: %s", type(e).__name__)
            return self._clock() + _LEDGER_PAUSE

    async def _send(self, alert: Alert) -> Answer:
        """Send an alert once; `close` breaks it off, and nothing else that goes on here."""
        sending = asyncio.ensure_future(post(self._endpoint, alert, clock=self._clock))
        with self._lock:
            if self._stopping:
                sending.cancel()
            self._sending = asyncio.get_running_loop(), sending
        try:
            return await sending
        except asyncio.CancelledError:
            return Answer(error="the process ended", stopped=True)
        finally:
            with self._lock:
                self._sending = None

    async def _note(self, ledger: Ledger) -> None:
        while self._new:
            await ledger.add_alert(self._new[0])
            self._new.popleft()

    async def _send_directly(self) -> float | None:
        """Send what the ledger knows nothing of; Unix time at which more is due."""
        while self._new_direct:
            self._direct.append(self._new_direct.popleft())
        for waiting in [one for one in self._direct if one.due_at <= self._clock()]:
            waiting.tries += 1
            answer = await self._send(waiting.alert)
            if answer.stopped:
                waiting.tries -= 1
                return None
            again = next_try(
                self._endpoint,
                waiting.alert,
                waiting.tries,
                answer,
                self._clock(),
                self._pause_after,
            )
            if again is None:
                self._direct.remove(waiting)
            else:
                waiting.due_at = again
        return min((one.due_at for one in self._direct), default=None)
