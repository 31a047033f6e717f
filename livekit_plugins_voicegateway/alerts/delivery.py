"""Sending what is due: claims alerts in the ledger one by one, and posts each to the webhook.

`AlertWorker` runs it on a thread of its own, in workers and in the server. Any number of processes
may do it at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..log import logger
from ..version import __version__

if TYPE_CHECKING:
    from ..ledger.base import Ledger
    from .endpoint import Endpoint
    from .events import Alert

__all__ = ["Answer", "Deliverer", "next_try", "pause_after", "post"]

TIMEOUT: Final = 10.0
"""Seconds that the receiver has to answer a try."""

CLAIM_SECONDS: Final = 60.0
"""Seconds after which one who took an alert and said nothing more is taken for dead."""

GIVE_UP_AFTER: Final = 24 * 3600.0
"""Seconds after the event in which it is tried; an alert of yesterday helps nobody."""

FIRST_PAUSE: Final = 5.0
"""Seconds until the second try; each further pause is twice as long."""

LONGEST_PAUSE: Final = 3600.0
"""Seconds between two tries at most."""

_TRY_AGAIN: Final = frozenset((408, 425, 429))
"""Statuses below 500 that say nothing against the message itself."""


def pause_after(tries: int) -> float:
    """Seconds until the next try, less up to half by chance, so that not all come at once.

    Args:
        tries: How often it was tried.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries - 1, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one try.

    Attributes:
        delivered: Whether the receiver has taken it.
        final: Whether it would be the same another time.
        error: ``HTTP 503``, or the type of an exception; None when it was delivered.
        pause: Seconds that the receiver asks for before the next try.
        stopped: Whether we broke it off, to end.
    """

    delivered: bool = False
    final: bool = False
    error: str | None = None
    pause: float = 0.0
    stopped: bool = False


async def post(endpoint: Endpoint, alert: Alert, *, clock: Callable[[], float]) -> Answer:
    """Send an alert once. Follows no redirect, and reads nothing of the answer but its status.

    Args:
        endpoint: Where to.
        alert: What.
        clock: Unix time in seconds, for the signature.
    """
    import aiohttp  # only who has something to send pays for it

    body = alert.body.encode()
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            aiohttp.ClientSession(trust_env=True) as session,  # by a proxy, where there is one
            session.post(
                endpoint.bare_url,
                data=body,
                headers={
                    **endpoint.headers(alert.id, int(clock()), body),
                    "user-agent": f"VoiceGateway/{__version__}",
                },
                allow_redirects=False,
            ) as response,
        ):
            return _answer(response.status, response.headers.get("retry-after"))
    except TimeoutError:
        return Answer(error=f"no answer within {TIMEOUT:g} s")
    except Exception as e:
        # never its text, which may have the URL in it
        return Answer(error=type(e).__name__)


class Deliverer:
    """Sends the alerts of a ledger that are due.

    Args:
        endpoint: Where to.
        ledger: Open for writing.
        owner: Id of this process among those that send.
        clock: Unix time in seconds; the ledger's own.
        pause_after: Seconds until the next try, by the number of tries.
        send: Sends an alert once; `post` when left out.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        owner: str,
        *,
        clock: Callable[[], float] = time.time,
        pause_after: Callable[[int], float] = pause_after,
        send: Callable[[Alert], Awaitable[Answer]] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._ledger = ledger
        self._owner = owner
        self._clock = clock
        self._pause_after = pause_after
        self._send = send or (lambda alert: post(endpoint, alert, clock=clock))

    async def deliver_due(self) -> None:
        """Try every alert that is due, once; leave them to others when a try is broken off.

        Raises:
            LedgerError: The ledger cannot be read or written.
        """
        while True:
            due = await self._ledger.next_alert()
            if due is None or due > self._clock():
                return
            claim = await self._ledger.claim_alert(self._owner, self._clock() + CLAIM_SECONDS)
            if claim is None or not await self._try(claim.alert, claim.tries):
                return

    async def _try(self, alert: Alert, tries: int) -> bool:
        """Send an alert once, and note what became of it; whether to go on."""
        answer = await self._send(alert)
        now = self._clock()
        retry_at: float | None = now
        if not answer.stopped:
            retry_at = next_try(self._endpoint, alert, tries, answer, now, self._pause_after)
        await self._ledger.settle_alert(
            alert.id, self._owner, retry_at=retry_at, error=answer.error
        )
        return not answer.stopped


def next_try(
    endpoint: Endpoint,
    alert: Alert,
    tries: int,
    answer: Answer,
    now: float,
    pause_after: Callable[[int], float],
) -> float | None:
    """Return the Unix time of the next try, or None when it is over; logs what people must know.

    Args:
        endpoint: Where it was sent to.
        alert: What was sent.
        tries: How often.
        answer: What became of the last try.
        now: Unix time in seconds.
        pause_after: Seconds until the next try, by the number of tries.
    """
    if answer.delivered:
        return None
    retry_at = now + max(pause_after(tries), min(answer.pause, LONGEST_PAUSE))
    if answer.final or retry_at > alert.created_at + GIVE_UP_AFTER:
        logger.error(
            "the webhook at %s did not take the alert %s (%s) in %d %s; it is given up. Look at "
            "`alerts:` in voicegw.yaml.",
            endpoint.host,
            alert.about,
            answer.error,
            tries,
            "try" if tries == 1 else "tries",
        )
        return None
    if tries == 1:
        logger.warning(
            "the webhook at %s does not take the alert %s (%s); it is tried again for a day",
            endpoint.host,
            alert.about,
            answer.error,
        )
    return retry_at


def _answer(status: int, retry_after: str | None) -> Answer:
    if 200 <= status < 300:
        return Answer(delivered=True)
    # a redirect is not followed: the body would go where nobody has sent it
    final = 300 <= status < 500 and status not in _TRY_AGAIN
    pause = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
    return Answer(final=final, error=f"HTTP {status}", pause=pause)
