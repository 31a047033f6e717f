"""MCP at ``/mcp``: streamable HTTP without sessions, in the HTTP server.

No tool has to remember anything between two calls, so nothing is: a restart of the server, or a
second one beside it, is nothing that a client notices. Who may ask, under which ``Host`` and from
which ``Origin``, the server's own middleware says for every route, this one included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .desk import Answering, SharedDesk
from .service import make_server

__all__ = ["mcp_route", "serving_mcp"]

LARGEST_MESSAGE: Final = 1 << 20
"""Bytes of one message to us."""


def mcp_route() -> Route:
    """Return the route of ``/mcp``, which answers while `serving_mcp` is entered.

    In `create_app`::

        app.router.routes.append(mcp_route())

    and in the lifespan, inside of the backend::

        async with open_backend(config) as backend, serving_mcp(app, backend, config.path):
            yield
    """
    # nothing but POST: there is no session to end, and nothing that the server would say unasked
    return Route(
        "/mcp", endpoint=_Endpoint(), methods=["POST"], name="mcp", include_in_schema=False
    )


@asynccontextmanager
async def serving_mcp(
    app: Starlette, backend: Answering, config_path: Path | None
) -> AsyncIterator[None]:
    """Answer at ``/mcp`` as long as this is entered; enter it in the application's lifespan.

    Args:
        app: The application that has `mcp_route`.
        backend: What its routes ask.
        config_path: The configuration that it was started with; None without one.
    """
    manager = StreamableHTTPSessionManager(
        app=make_server(SharedDesk(backend, config_path)),
        stateless=True,
        json_response=True,
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        max_request_body_size=LARGEST_MESSAGE,
    )
    async with manager.run():
        app.state.mcp = manager
        yield


class _Endpoint:
    """Hands requests to the SDK."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        manager: StreamableHTTPSessionManager = scope["app"].state.mcp
        await manager.handle_request(scope, receive, send)
