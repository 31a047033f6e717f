"""The login page: the server's token, once, for a session in a cookie."""

from __future__ import annotations

import math
import time
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

_MOST_FIELDS: Final = 8
"""Fields that are read; the form has two."""

_STYLE: Final = """\
:root {
  color-scheme: light dark;
  --page: light-dark(#f5f6f7, #111417);
  --card: light-dark(#ffffff, #191d21);
  --line: light-dark(#dde1e6, #2e343b);
  --line-strong: light-dark(#8a929c, #77818c);
  --text: light-dark(#1b1f24, #e8ebee);
  --muted: light-dark(#59626d, #a2abb5);
  --focus: light-dark(#0b6bcb, #6cb2f5);
  --primary: light-dark(#17624a, #2f9a74);
  --on-primary: light-dark(#ffffff, #06150f);
  --bad: light-dark(#b3261e, #ff9b92);
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; display: grid; place-items: center;
  background: var(--page); color: var(--text);
  font: 0.875rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main {
  width: min(24rem, 100vw - 2rem); padding: 1.5rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
}
h1 { margin: 0 0 1rem; font-size: 1.5rem; font-weight: 650; letter-spacing: -0.01em; }
label { display: block; margin-bottom: 0.25rem; font-weight: 600; }
input, button { width: 100%; padding: 0.5rem 0.75rem; font: inherit; border-radius: 6px; }
input { color: inherit; background: transparent; border: 1px solid var(--line-strong); }
button {
  color: var(--on-primary); background: var(--primary); border: 0; font-weight: 600;
  cursor: pointer;
}
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
p { margin: 0.5rem 0 1rem; color: var(--muted); }
.wrong { color: var(--bad); font-weight: 600; }
"""


def create_login(sessions: Sessions | None) -> APIRouter:
    """Make the routes to log in and out.

    Args:
        sessions: Knows the token; None for a server without one, which needs no login.
    """
    router = APIRouter(include_in_schema=False)
    limit = TryLimit(time.monotonic)

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
        body = (await request.body()).decode("utf-8", "replace")
        try:
            form = parse_qs(body, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return _page("/", f"The form has more than {_MOST_FIELDS} fields.", status=400)
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
