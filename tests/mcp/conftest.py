"""Clients of the MCP server: over stdio and HTTP, of today's protocol and of the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from support.mcp_clients import Connect, over_stdio
from support.two_calls import book, folder
from support.web_server import WebServer, web_server

__all__ = ["book", "connect", "folder", "server"]


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[WebServer]:
    """A server without a token."""
    with web_server(folder) as server:
        yield server


@pytest.fixture(params=["stdio", "stdio-legacy", "http", "http-legacy"])
def connect(request: pytest.FixtureRequest, folder: Path) -> Connect:
    """Connects a client to the server."""
    kind, _, legacy = str(request.param).partition("-")
    url = f"{request.getfixturevalue('server').url}/mcp" if kind == "http" else None

    @asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        async with Client(url or over_stdio(folder), mode=legacy or "auto") as client:
            yield client

    return connected
