"""The login page: the server's token, once, for a session in a cookie."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from .access import session_of
from .hosts import header
from .sessions import COOKIE, LIFETIME, Sessions, TryLimit

__all__ = ["create_login"]

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in – VoiceGateway</title>
<link rel="stylesheet" href="/login/style.css">
</head>
<body>
<main>
<h1>VoiceGateway</h1>
<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="token">Token of this server</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
 aria-describedby="help">
<p id="help">It is what <code>VOICEGW_TOKEN</code> held when the server was started, or
<code>server.token</code> in voicegw.yaml.</p>
{message}<button type="submit">Log in</button>
</form>
</main>
</body>
</html>
"""

_STYLE: Final = """\
:root { color-scheme: light dark; }
body {
  margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 16px/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText;
}
main { width: min(24rem, 100vw - 3rem); }
h1 { font-size: 1.5rem; }
label { display: block; font-weight: 600; }
input, button { font: inherit; width: 100%; box-sizing: border-box; padding: 0.5rem 0.75rem; }
p { margin: 0.5rem 0 1rem; font-size: 0.875rem; }
.wrong { font-weight: 600; color: light-dark(#b3261e, #ffb4ab); }
"""


def create_login(sessions: Sessions | None, clock: Callable[[], float]) -> APIRouter:
    """Make the routes to log in and out.

    Args:
        sessions: Knows the token; None for a server without one, which needs no login.
        clock: Unix time in seconds.
    """
    router = APIRouter(include_in_schema=False)
    limit = TryLimit(clock)

    @router.get("/login")
    async def show(request: Request) -> Response:
        after = _local(request.query_params.get("next", "/"))
        if sessions is None:
            return RedirectResponse(after, 303)
        return _page(after)

    @router.get("/login/style.css")
    async def style() -> Response:
        return Response(_STYLE, media_type="text/css", headers={"cache-control": "max-age=3600"})

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=8)
        after = _local(form.get("next", ["/"])[0])
        if sessions is None:
            return RedirectResponse(after, 303)
        client = request.client.host if request.client else ""
        if (seconds := math.ceil(limit.wait(client))) > 0:
            wait = f"Too many wrong tokens. Try again in {seconds} seconds."
            return _page(after, wait, status=429, headers={"retry-after": str(seconds)})
        if not sessions.is_token(form.get("token", [""])[0].strip()):
            limit.failed(client)
            return _page(after, "This is not the token.", status=401)
        answer = RedirectResponse(after, 303, {"cache-control": "no-store"})
        answer.set_cookie(
            COOKIE,
            sessions.begin(),
            max_age=LIFETIME,
            httponly=True,
            samesite="strict",
            secure=_is_https(request),
        )
        return answer

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        session = session_of(request.scope)
        if sessions is not None and session is not None:
            sessions.end(session)
        answer = RedirectResponse("/login", 303, {"cache-control": "no-store"})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_https(request))
        return answer

    return router


def _page(
    after: str, message: str = "", *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    shown = f'<p class="wrong" role="alert">{escape(message)}</p>\n' if message else ""
    return HTMLResponse(
        _PAGE.format(next=escape(after), message=shown),
        status,
        {"cache-control": "no-store", **(headers or {})},
    )


def _local(path: str) -> str:
    """Return a path of this server, and never another site's address."""
    # browsers read // and /\\ as the beginning of another host, and leave out control characters
    plain = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if plain else "/"


def _is_https(request: Request) -> bool:
    # a proxy may add TLS: the browser then says so in Origin, which no page can set
    origin = header(request.scope, b"origin") or ""
    return request.url.scheme == "https" or origin.startswith("https://")
