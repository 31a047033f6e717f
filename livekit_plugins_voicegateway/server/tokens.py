"""The token of workers: it opens what they need to record usage, and nothing else.

`Access` asks it beside the server's own token, which opens everything.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from ..errors import VoiceGatewayError
from .sessions import SAFE_LENGTH

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..config import Server

__all__ = ["INGEST_ROUTES", "IngestToken", "ingest_token"]

INGEST_ROUTES: Final = frozenset(
    {
        ("POST", "/v1/usage"),
        ("POST", "/v1/leases"),
        ("POST", "/v1/leases/return"),
        ("POST", "/v1/leases/renew"),
        ("GET", "/v1/managed-projects"),
        ("POST", "/v1/alerts"),
    }
)
"""What a worker asks for that may not hold a database's credentials."""


class IngestToken:
    """Checks the token of workers.

    Args:
        token: What it is.

    Attributes:
        guessable: Whether it is so short that it could be found by trying.
    """

    # no `vars` that would show the digest
    __slots__ = ("_digest", "guessable")

    def __init__(self, token: str) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()
        self.guessable = len(token) < SAFE_LENGTH

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, in the same time whatever it is."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._digest)

    @staticmethod
    def opens(scope: Scope) -> bool:
        """Return whether a request is one that it is for."""
        return (scope.get("method"), scope["path"]) in INGEST_ROUTES


def ingest_token(server: Server) -> IngestToken | None:
    """Return the token of workers; None when the configuration has none.

    Raises:
        UnsetVariableError: It needs an environment variable that is not set.
        VoiceGatewayError: It is the server's own token, or there is no such one.
    """
    token = server.ingest_token
    if token is None:
        return None
    if server.token is None:
        raise VoiceGatewayError(
            "not serving: there is a token for workers (VOICEGW_INGEST_TOKEN, or "
            "`server.ingest_token`) and none for everything else, and a server without a token "
            "answers this machine only. Set VOICEGW_TOKEN (`openssl rand -hex 24` makes one), or "
            "take the other away."
        )
    if token == server.token:
        raise VoiceGatewayError(
            "not serving: `server.ingest_token` is the same as `server.token`, and workers could "
            "do everything. Give them one of their own: `openssl rand -hex 24` makes one."
        )
    return IngestToken(token)
