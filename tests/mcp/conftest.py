"""Clients of the MCP server: over stdio and HTTP, of today's protocol and of the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from support.command_line import Book
from support.mcp_clients import Connect, over_stdio
from support.web_server import WebServer, plain_environment, web_server, write_config

from livekit_plugins_voicegateway.config import load_config


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A folder with a configuration and a ledger in which two calls stand."""
    folder = tmp_path_factory.mktemp("asked")
    config = load_config(write_config(folder), env=plain_environment(folder))
    book = Book(config)
    book.write(
        book.stt(project="prod", room="call-17", ago=90),
        book.row(project="prod", room="call-17", ago=80, ttfb_ms=400.0, speech_id="speech_1"),
        book.tts(project="prod", room="call-17", ago=70, ttfb_ms=200.0, speech_id="speech_1"),
        book.row(project="staging", room="a/b c", ago=60, cost_nanos=None, price=None),
        book.row(project="staging", room="a/b c", ago=50, status="failed", error="no answer"),
    )
    return book


@pytest.fixture(scope="module")
def folder(book: Book) -> Path:
    assert book.config.path is not None
    return book.config.path.parent


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
