"""The application: every route of the server, and what stands before them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from ..config import Config
from ..version import __version__
from . import operation
from .access import Access
from .api import routes
from .backend import open_backend
from .dashboard import add_dashboard
from .dashboard.rendering import error_page
from .guards import Guards
from .login import create_login
from .mcp.http import mcp_route, serving_mcp
from .openapi import document
from .problems import handle_problems
from .sessions import Sessions
from .tokens import ingest_token

__all__ = ["create_app"]


def create_app(config: Config, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """Make the application; its ledger is opened when it starts.

    Args:
        config: Projects, ledger and who may ask.
        clock: Unix time in seconds.

    Raises:
        UnsetVariableError: A token needs an environment variable that is not set.
        VoiceGatewayError: The token of workers is the server's own, or there is no such one.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_backend(config, clock=clock) as backend:
            app.state.backend = backend
            async with serving_mcp(app, backend, config.path):
                yield

    token = config.server.token
    sessions = None if token is None else Sessions(token, clock)
    app = FastAPI(
        title="VoiceGateway",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    handle_problems(app, error_page)
    app.include_router(routes.router)
    app.include_router(operation.router)
    app.include_router(create_login(sessions))
    app.router.routes.append(mcp_route())
    add_dashboard(app)
    # the last one that is added stands first
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    app.add_middleware(Guards)
    app.add_middleware(Access, sessions=sessions, workers=ingest_token(config.server))
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # as FastAPI advises
    return app
