"""Servers to ask: one without a token, one with, on a ledger with known rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.two_calls import book, folder
from support.web_server import TOKEN, WebServer, web_server

__all__ = ["book", "client", "folder", "open_server", "token_server"]


@pytest.fixture(scope="module")
def open_server(folder: Path) -> Iterator[WebServer]:
    """A server without a token."""
    with web_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def token_server(folder: Path) -> Iterator[WebServer]:
    """A server with a token."""
    with web_server(folder, env={"VOICEGW_TOKEN": TOKEN}) as server:
        yield server


@pytest.fixture
def client(open_server: WebServer) -> Iterator[httpx.Client]:
    with open_server.client() as client:
        yield client
