"""A server that keeps the ledger of workers, with a token for itself and one for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving_workers import SERVER_TOKEN, WORKERS_TOKEN, serving
from support.web_server import WebServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder: Path = tmp_path_factory.mktemp("server")
    with serving(folder) as server:
        yield server


@pytest.fixture
def worker(server: WebServer) -> Iterator[httpx.Client]:
    """Who has the token of workers."""
    with server.client(headers={"authorization": f"Bearer {WORKERS_TOKEN}"}) as client:
        yield client


@pytest.fixture
def owner(server: WebServer) -> Iterator[httpx.Client]:
    """Who has the server's own token."""
    with server.client(headers={"authorization": f"Bearer {SERVER_TOKEN}"}) as client:
        yield client
