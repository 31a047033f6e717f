"""Who may ask: the middleware that stands before every route, stream and socket.

Without a token the server answers this machine only, there only the user who has started it, and
only requests that name this machine: a page of another site that has its own name resolve to
127.0.0.1 sends that name as ``Host``. With a token, whoever shows it. In both cases a page of
another site is refused, and so nothing has to be kept from it by tokens in forms.
"""

from __future__ import annotations

import math
import time
from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..log import logger
from .connections import connection_of
from .guards import oversized
from .hosts import address_of, cookie, header, is_cross_site, is_loopback, is_loopback_host
from .peers import can_tell_users
from .problems import Fault, problem
from .sessions import COOKIE, Sessions, TryLimit
from .tokens import IngestToken

__all__ = ["OPEN_PATHS", "Access", "is_open", "session_of"]

OPEN_PATHS: Final = frozenset({"/health", "/login", "/login/style.css"})
"""What needs no token: whether the server lives, and where the token is given."""

_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
"""What a proxy says of whom it asks for. Its own address is of this machine, theirs need not be."""

_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # not no-referrer: with it browsers send `Origin: null` with our own forms
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Access:
    """Lets a request through to the application, or answers it.

    Args:
        app: What is behind it.
        sessions: Knows the token and the sessions that were begun with it; None without a token.
        tries: Limits wrong tokens in ``Authorization``.
        workers: Knows the token of workers; None when there is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        sessions: Sessions | None,
        tries: TryLimit | None = None,
        workers: IngestToken | None = None,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._workers = workers
        self._tries = tries or TryLimit(time.monotonic, per_client=20, in_all=200)
        self._tells_users = sessions is None and can_tell_users()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        with_headers = _with_headers(send)
        if refusal is None:
            await self._app(scope, receive, with_headers)
        elif scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await refusal(scope, receive, with_headers)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not allowed"})

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to who may not ask, or None for who may."""
        if (fault := oversized(scope)) is not None:
            return problem(scope, fault)
        if self._sessions is None and (fault := self._not_for(scope)) is not None:
            return problem(scope, fault)
        if is_cross_site(scope):
            return problem(
                scope,
                Fault(
                    403,
                    "cross-site",
                    "Asked by another site",
                    "A page of another site (another name, or another port) asks, and only this "
                    "server's own pages may.",
                ),
            )
        if self._sessions is None or is_open(scope["path"]):
            return None
        given = header(scope, b"authorization")
        if given is not None:
            return self._tried(scope, self._sessions, given)
        return None if _is_logged_in(scope, self._sessions) else _unknown(scope)

    def _tried(self, scope: Scope, sessions: Sessions, given: str) -> Response | None:
        """Look at what stands in ``Authorization``.

        The right token is answered however many wrong ones the same address has sent: they may be
        of another client behind the same proxy. Only a token that could be found by trying is not
        looked at while the address has to wait.
        """
        client = scope["client"][0] if scope.get("client") else ""
        wait = self._tries.wait(client)
        if wait and (sessions.guessable or (self._workers and self._workers.guessable)):
            return _wait(scope, wait)
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer":
            if sessions.is_token(token.strip(" ")):
                return None
            if self._workers is not None and self._workers.is_token(token.strip(" ")):
                return None if self._workers.opens(scope) else _for_workers_only(scope)
        if wait:
            return _wait(scope, wait)
        self._tries.failed(client)
        if self._tries.wait(client):
            logger.warning("too many wrong tokens from %s; it has to wait", client)
        return _unknown(scope)

    def _not_for(self, scope: Scope) -> Fault | None:
        """Say why a server without a token does not answer a request."""
        if (fault := _not_from_here(scope)) is not None or not self._tells_users:
            return fault
        connection = connection_of(scope)
        if connection is None or connection.owner == "ours":
            return None
        return Fault(
            403,
            "other-user",
            "Asked by another user",
            "This server has no token and answers only the user of this machine who has started "
            "it. For other users set VOICEGW_TOKEN.",
        )


def is_open(path: str) -> bool:
    """Return whether a path needs no token."""
    return path in OPEN_PATHS


def session_of(scope: Scope) -> str | None:
    """Return the value of the session's cookie, or None without one."""
    return cookie(scope, COOKIE)


def _not_from_here(scope: Scope) -> Fault | None:
    """Say why a request to a server without a token is not of this machine."""
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        return Fault(
            403,
            "not-local",
            "Asked by another machine",
            "This server has no token and answers only the machine it runs on.",
        )
    if not is_loopback_host(header(scope, b"host")):
        return Fault(
            403,
            "wrong-host",
            "Asked under another name",
            "This server has no token and answers only requests to localhost, 127.0.0.1 or [::1]. "
            "For requests under another name set VOICEGW_TOKEN.",
        )
    if any(header(scope, name) is not None for name in _FORWARDED):
        return Fault(
            403,
            "forwarded",
            "Asked through a proxy",
            "This server has no token and answers only the machine it runs on, and a proxy asks "
            "for somebody else. Behind a proxy set VOICEGW_TOKEN.",
        )
    return None


def _is_logged_in(scope: Scope, sessions: Sessions) -> bool:
    session = session_of(scope)
    if session is None or not sessions.is_open(session):
        return False
    # a cookie is sent by the browser and not by a page's own doing: a change needs the browser's
    # word that a page of ours makes it
    return _is_reading(scope) or _is_same_origin(scope)


def _is_reading(scope: Scope) -> bool:
    # a socket is no reading: who opens it may then say anything
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")


def _is_same_origin(scope: Scope) -> bool:
    # that an origin is not another one has been looked at before
    return header(scope, b"origin") is not None or header(scope, b"sec-fetch-site") == "same-origin"


def _wait(scope: Scope, seconds: float) -> Response:
    """Answer who has sent too many wrong tokens."""
    return problem(
        scope,
        Fault(
            429,
            "too-many-tries",
            "Too many wrong tokens",
            "This address has sent too many wrong tokens. `Retry-After` says when it may send "
            "another.",
            headers={"retry-after": str(math.ceil(seconds))},
        ),
    )


def _for_workers_only(scope: Scope) -> Response:
    """Answer who has shown the token of workers for what is not theirs."""
    return problem(
        scope,
        Fault(
            403,
            "workers-token",
            "The token is for workers",
            "This token records usage and leases budgets, and opens nothing else. Everything else "
            "wants the server's own (VOICEGW_TOKEN, or `server.token` in voicegw.yaml).",
        ),
    )


def _unknown(scope: Scope) -> Response:
    """Answer who has shown no token: the login page for a person, a problem for a program."""
    person = "text/html" in (header(scope, b"accept") or "")
    if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and person:
        asked = quote(address_of(scope), safe="")
        return RedirectResponse(f"/login?next={asked}", 303, {"cache-control": "no-store"})
    answer = problem(
        scope,
        Fault(
            401,
            "token",
            "A token is needed",
            "Send the server's token: `Authorization: Bearer …` (VOICEGW_TOKEN, or `server.token` "
            "in voicegw.yaml). People log in at /login.",
            headers={"www-authenticate": 'Bearer realm="voicegw"'},
        ),
    )
    if header(scope, b"hx-request") is not None:
        answer.headers["hx-redirect"] = "/login"
    return answer


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
