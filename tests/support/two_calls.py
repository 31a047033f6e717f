"""Fixtures of a ledger in which two calls stand, for what is asked of a server.

A conftest imports them: ``from support.two_calls import book, folder``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import load_config

from .command_line import Book
from .web_server import plain_environment, write_config

__all__ = ["book", "folder"]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A folder with a configuration and a ledger in which two calls stand."""
    folder = tmp_path_factory.mktemp("two-calls")
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
    """Where configuration and ledger lie."""
    assert book.config.path is not None
    return book.config.path.parent
