"""Sessions of the dashboard: what the cookie holds after somebody has logged in with the token.

The cookie is not the token: it is a time and a signature that only this process can make. It ends
by itself after `LIFETIME`, with the log-out, and with the process: so a session that was ended
stays ended, and nothing about it need be kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from .hosts import network_of

__all__ = ["COOKIE", "LIFETIME", "SAFE_LENGTH", "Sessions", "TryLimit"]

COOKIE: Final = "voicegw_session"

LIFETIME: Final = 12 * 3600
"""Seconds until somebody has to log in again."""

SAFE_LENGTH: Final = 16
"""Characters from which on a token cannot be found by trying."""


class Sessions:
    """Checks tokens, and makes and checks what stands in the cookie.

    Args:
        token: The server's token.
        clock: Unix time in seconds.

    Attributes:
        guessable: Whether the token is so short that it could be found by trying.
    """

    # no `vars` that would show the digest or the key
    __slots__ = ("_clock", "_digest", "_ended", "_key", "guessable")

    def __init__(self, token: str, clock: Callable[[], float]) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()
        self._key = secrets.token_bytes(32)
        self.guessable = len(token) < SAFE_LENGTH
        self._clock = clock
        self._ended: dict[str, float] = {}

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, in the same time whatever it is."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._digest)

    def begin(self) -> str:
        """Return the value of a new session's cookie."""
        expires = int(self._clock()) + LIFETIME
        said = f"{expires}.{secrets.token_urlsafe(18)}"
        return f"{said}.{self._sign(said)}"

    def is_open(self, value: str) -> bool:
        """Return whether a cookie's value is of a session that has not ended."""
        said, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(said).encode()):
            return False
        # from here on it is ours, and so are its parts
        return int(said.partition(".")[0]) > self._clock() and said not in self._ended

    def end(self, value: str) -> None:
        """Let a session end: its cookie is worth nothing from now on."""
        if not self.is_open(value):
            return
        now = self._clock()
        self._ended = {said: until for said, until in self._ended.items() if until > now}
        self._ended[value.rpartition(".")[0]] = float(value.partition(".")[0])

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), "sha256").hexdigest()


class TryLimit:
    """How many wrong tokens somebody may try.

    Takes the same time and memory whatever is tried: no more tries are remembered than there may
    be, and those of an IPv6 network of 64 bits count as one client's.

    Args:
        clock: Seconds that only grow; the day's time may be set back, and would let nobody in.
        per_client: Wrong tries of one address in a window.
        in_all: Wrong tries of all addresses in a window.
        window: Seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        per_client: int = 5,
        in_all: int = 50,
        window: float = 60.0,
    ) -> None:
        self._clock = clock
        self._per_client = per_client
        self._window = window
        self._tries: deque[float] = deque(maxlen=in_all)
        self._tries_of: dict[str, deque[float]] = {}

    def wait(self, client: str) -> float:
        """Return the seconds after which ``client`` may try again; 0 for at once."""
        tries = (self._tries, self._tries_of.get(network_of(client), deque()))
        since = [kept[0] for kept in tries if kept and len(kept) == kept.maxlen]
        return max(0.0, *(at + self._window - self._clock() for at in since), 0.0)

    def failed(self, client: str) -> None:
        """Note a wrong try of somebody who does not have to wait."""
        now = self._clock()
        self._tries_of = {
            who: kept for who, kept in self._tries_of.items() if kept[-1] + self._window > now
        }
        own = self._tries_of.setdefault(network_of(client), deque(maxlen=self._per_client))
        own.append(now)
        self._tries.append(now)
