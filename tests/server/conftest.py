"""Servers to ask: one without a token, one with, on a ledger with known rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.command_line import Book
from support.web_server import TOKEN, WebServer, plain_environment, web_server, write_config

from livekit_plugins_voicegateway.config import load_config


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A folder with a configuration and a ledger in which one call stands."""
    folder = tmp_path_factory.mktemp("served")
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
