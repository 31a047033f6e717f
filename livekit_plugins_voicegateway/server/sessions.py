"""Sessions of the dashboard: what the cookie holds after somebody has logged in with the token.

The cookie is not the token: it is a time and a signature that only who knows the token can make. It
ends by itself after `LIFETIME`, with the log-out, and when the token is changed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

__all__ = ["COOKIE", "LIFETIME", "Sessions", "TryLimit"]

COOKIE: Final = "voicegw_session"

LIFETIME: Final = 12 * 3600
"""Seconds until somebody has to log in again."""


class Sessions:
    """Checks tokens, and makes and checks what stands in the cookie.

    Args:
        token: The server's token.
        clock: Unix time in seconds.
    """

    def __init__(self, token: str, clock: Callable[[], float]) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()
        self._key = hmac.digest(token.encode(), b"voicegw session", "sha256")
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
    """How many wrong tokens somebody may try at the login page.

    Args:
        clock: Unix time in seconds.
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
        self._in_all = in_all
        self._window = window
        self._tries: list[tuple[float, str]] = []

    def wait(self, client: str) -> float:
        """Return the seconds after which ``client`` may try again; 0 for at once."""
        now = self._clock()
        self._tries = [(at, who) for at, who in self._tries if at + self._window > now]
        own = [at for at, who in self._tries if who == client]
        blocked_by = []
        if len(own) >= self._per_client:
            blocked_by.append(own[-self._per_client])
        if len(self._tries) >= self._in_all:
            blocked_by.append(self._tries[-self._in_all][0])
        return max((at + self._window - now for at in blocked_by), default=0.0)

    def failed(self, client: str) -> None:
        """Note a wrong try."""
        self._tries.append((self._clock(), client))
