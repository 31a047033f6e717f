"""The application: every route of the server, and what stands before them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from ..config import Config
from ..version import __version__
from .backend import open_backend

__all__ = ["create_app"]


def create_app(config: Config, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """Make the application; its ledger is opened when it starts.

    Args:
        config: Projects, ledger and who may ask.
        clock: Unix time in seconds.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_backend(config, clock=clock) as backend:
            app.state.backend = backend
            yield

    return FastAPI(title="VoiceGateway", version=__version__, lifespan=lifespan)
