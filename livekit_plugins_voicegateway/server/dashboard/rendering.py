"""Turns what the reports answer into HTML: templates, filters, headers, and the part that is live.

A page that shows changes by itself has two templates: ``overview.live.html`` is the part that
changes, and ``overview.html`` what stands around it. The browser asks for the same address again
and again with ``HX-Request``, says which state of the part it has, and gets 304 or the new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from ...cli import formats
from ...errors import (
    InvalidQueryError,
    LedgerError,
    NotManagedError,
    UnknownCallError,
    UnknownProjectError,
    VoiceGatewayError,
)
from ...log import logger
from ...version import __version__
from ..backend import backend_of
from ..hosts import address_of, cookie

__all__ = [
    "STATIC",
    "Page",
    "PageRoute",
    "call_address",
    "error_page",
    "project_address",
    "render_page",
    "static_files",
]

STATIC: Final = "/static"
"""Where scripts and style sheets are."""

_HEADERS: Final = {
    "cache-control": "no-store",
    "vary": "HX-Request, Cookie",
}

_LONGEST_SHOWN: Final = 60
_HERE: Final = Path(__file__).parent.parent
_THEME_COOKIE: Final = "voicegw_theme"


class Page:
    """One page for one request: what every template may use, and its answer.

    Args:
        request: Who asks.
        name: Which templates; ``overview``.
        title: What stands in the browser's tab.
    """

    def __init__(self, request: Request, name: str, title: str) -> None:
        self._request = request
        self._name = name
        self._context: dict[str, Any] = {"title": title}

    def respond(
        self, context: Mapping[str, Any], *, live: bool = False, status: int = 200
    ) -> Response:
        """Render the page, or the part of it that the browser asks for anew.

        Args:
            context: What its templates show.
            live: Whether it has a part that changes by itself.
            status: HTTP status.
        """
        values = {**_common(self._request), **self._context, **context, "live": live}
        if not live:
            return HTMLResponse(render_page(f"{self._name}.html", values), status, _HEADERS)
        fragment = render_page(f"{self._name}.live.html", values)
        tag = hashlib.blake2b(fragment.encode(), digest_size=12).hexdigest()
        headers = {**_HEADERS, "hx-ptag": tag}
        if "hx-request" in self._request.headers:
            if self._request.headers.get("hx-ptag") == tag:
                return Response(None, 304, headers)
            return HTMLResponse(fragment, status, headers)
        # it was rendered with everything escaped
        values |= {"fragment": Markup(fragment), "tag": tag}  # noqa: S704
        values["address"] = address_of(self._request.scope)
        return HTMLResponse(render_page(f"{self._name}.html", values), status, headers)


class PageRoute(APIRoute):
    """A route whose errors are pages too."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        answer = super().get_route_handler()

        async def answer_with_a_page(request: Request) -> Response:
            try:
                return await answer(request)
            except HTTPException as error:
                return error_page(request, error.status_code, "Not possible", str(error.detail))
            except VoiceGatewayError as error:
                return error_page(request, *_explained(error), str(error))

        return answer_with_a_page


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Render a template of ``templates/``."""
    return _environment().get_template(template).render(context)


def static_files() -> StaticFiles:
    """Return what serves scripts and style sheets."""
    return StaticFiles(directory=_HERE / "static")


def project_address(project_id: str) -> str:
    """Return where a project's page is."""
    return f"/projects/{quote(project_id, safe='')}"


def call_address(room: str) -> str:
    """Return where a call's receipt is; a browser takes ``..`` out of a path, however written."""
    if room in ("", ".", ".."):
        return f"/calls/?{urlencode({'room': room})}"
    return f"/calls/{quote(room, safe='')}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "dollars": formats.dollars,
        "exact_dollars": formats.exact_dollars,
        "count": formats.count,
        "latency": formats.latency,
        "span": formats.span,
        "used": formats.used,
        "plural": formats.plural,
        "share": formats.percent,
        "name_of": formats.name_of,
        "project_address": project_address,
        "call_address": call_address,
        "shown": _shown,
    }
    environment.globals |= {"version": __version__, "static": STATIC, "assets": _assets()}
    return environment


def _shown(value: object) -> str:
    """A value of the list of changes, in few words."""
    text = "nothing" if value in (None, "", [], {}) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _assets() -> str:
    """A text that differs when any of our scripts or style sheets does, for their addresses."""
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted((_HERE / "static").rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _common(request: Request) -> dict[str, Any]:
    zone = backend_of(request).config.timezone

    def moment(text: str | None, form: str = "%d %b %H:%M:%S") -> str:
        return formats.local_time(text, zone, form)

    def since(start: str, end: str | None) -> str:
        """How long something lasted, or has lasted until now."""
        until = (
            backend_of(request).clock() if end is None else datetime.fromisoformat(end).timestamp()
        )
        return formats.span(max(0.0, until - datetime.fromisoformat(start).timestamp()))

    return {
        "moment": moment,
        "since": since,
        "zone": zone.key,
        "theme": _theme(request),
        "section": request.url.path.split("/")[1],
        "can_log_out": backend_of(request).config.server.token is not None,
    }


def _theme(request: Request) -> str:
    """``light`` or ``dark`` when somebody has chosen; empty for what the system says."""
    theme = cookie(request.scope, _THEME_COOKIE)
    return theme if theme in ("light", "dark") else ""


def _explained(error: VoiceGatewayError) -> tuple[int, str]:
    match error:
        case UnknownProjectError():
            return 404, "No such project"
        case UnknownCallError():
            return 404, "No such call"
        case NotManagedError():
            return 409, "Defined elsewhere"
        case InvalidQueryError():
            return 422, "Values that cannot be"
        case LedgerError():
            logger.error("the ledger does not answer: %s", error)
            return 503, "The ledger does not answer"
    return 400, "Refused"


def error_page(request: Request, status: int, title: str, detail: str) -> Response:
    """Tell a person what went wrong."""
    return Page(request, "error", title).respond(
        {"status": status, "detail": detail}, status=status
    )
