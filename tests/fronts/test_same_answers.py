"""One layer of questions answers all fronts: each is asked the same, and says the same.

A front is a column of `QUESTIONS`: what `Reports` is called with, the words behind ``voicegw``, the
path of the HTTP API.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.command_line import COMMAND, Book
from support.web_server import WebServer, plain_environment, web_server, write_config

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.metering.usage import Quantities
from livekit_plugins_voicegateway.reports import Reports

ROOM = "bookings/7 ä"


@dataclass(frozen=True)
class Question:
    """One question, as each front is asked it."""

    reports: Callable[[Reports], Awaitable[object]]
    command: tuple[str, ...]
    path: str


QUESTIONS = {
    "costs of today": Question(lambda r: r.costs(), ("costs",), "/v1/costs"),
    "costs of a project and period": Question(
        lambda r: r.costs("30d", "prod"),
        ("costs", "--period", "30d", "--project", "prod"),
        "/v1/costs?period=30d&project=prod",
    ),
    "costs of all time": Question(
        lambda r: r.costs("all"), ("costs", "--period", "all"), "/v1/costs?period=all"
    ),
    "costs of days without any": Question(
        lambda r: r.costs("2001-01-01..2001-01-31"),
        ("costs", "--period", "2001-01-01..2001-01-31"),
        "/v1/costs?period=2001-01-01..2001-01-31",
    ),
    "projects": Question(lambda r: r.projects(), ("projects",), "/v1/projects"),
    "one project": Question(
        lambda r: r.project("staging"), ("project", "show", "staging"), "/v1/projects/staging"
    ),
    "requests": Question(lambda r: r.logs(), ("logs",), "/v1/logs"),
    "requests of one kind": Question(
        lambda r: r.logs(modality="llm", status="failed", limit=1),
        ("logs", "--modality", "llm", "--status", "failed", "--limit", "1"),
        "/v1/logs?modality=llm&status=failed&limit=1",
    ),
    "requests of a room and model": Question(
        lambda r: r.logs(room=ROOM, model="openai/gpt-4.1-mini"),
        ("logs", "--room", ROOM, "--model", "openai/gpt-4.1-mini"),
        "/v1/logs?room=bookings/7%20%C3%A4&model=openai/gpt-4.1-mini",
    ),
    "calls": Question(lambda r: r.calls(), ("calls",), "/v1/calls"),
    "calls of a project": Question(
        lambda r: r.calls("prod", 1),
        ("calls", "--project", "prod", "--limit", "1"),
        "/v1/calls?project=prod&limit=1",
    ),
    "one call": Question(
        lambda r: r.call(ROOM), ("calls", ROOM), "/v1/calls/bookings%2F7%20%C3%A4"
    ),
    "whether it adds up": Question(lambda r: r.verify(), ("verify",), "/v1/verify"),
    "prices of a project": Question(
        lambda r: r.prices("prod"), ("prices", "--project", "prod"), "/v1/prices?project=prod"
    ),
    "a price": Question(
        lambda r: r.price("openai/gpt-4.1-mini", Quantities(input_tokens=12_345), "prod"),
        ("price", "openai/gpt-4.1-mini", "--input-tokens", "12345", "--project", "prod"),
        "/v1/price?model=openai/gpt-4.1-mini&input_tokens=12345&project=prod",
    ),
    "a price that nobody knows": Question(
        lambda r: r.price("acme/unheard-of", Quantities(input_tokens=1)),
        ("price", "acme/unheard-of", "--input-tokens", "1"),
        "/v1/price?model=acme/unheard-of&input_tokens=1",
    ),
}


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A ledger with two calls, an unknown price, an estimate, a failure, and an earlier day."""
    folder = tmp_path_factory.mktemp("fronts")
    book = Book(load_config(write_config(folder), env=plain_environment(folder)))
    book.write(
        book.stt(project="prod", room=ROOM, ago=90),
        book.row(project="prod", room=ROOM, ago=80, ttfb_ms=412.5, speech_id="speech_1"),
        book.row(
            project="prod",
            room=ROOM,
            ago=75,
            ttfb_ms=380.0,
            speech_id="speech_2",
            status="cancelled",
            estimated=True,
        ),
        book.tts(project="prod", room=ROOM, ago=70, ttfb_ms=210.0, speech_id="speech_1"),
        book.row(project="staging", room="call-2", ago=60, cost_nanos=None, price=None),
        book.row(project="staging", room="call-2", ago=50, status="failed", error="no answer"),
        book.row(project="lab", ago=40, status="rejected", cost_nanos=0),
        book.row(project="prod", ago=5 * 86_400, cost_nanos=123_456_789_123),
        book.row(project="gone", ago=6 * 86_400, cost_nanos=333_333_333),
    )
    return book


@pytest.fixture(scope="module")
def folder(book: Book) -> Path:
    assert book.config.path is not None
    return book.config.path.parent


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[WebServer]:
    with web_server(folder) as server:
        yield server


def of_reports(book: Book, question: Question) -> object:
    async def ask() -> object:
        async with make_ledger(book.config.database_url, read_only=True) as ledger:
            return await question.reports(Reports(book.config, ledger))

    # as JSON has it: a tuple is a list there
    return json.loads(json.dumps(asyncio.run(ask())))


def of_command(folder: Path, question: Question) -> object:
    done = subprocess.run(
        [COMMAND, *question.command, "--json"],
        cwd=folder,
        env={**plain_environment(folder), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def of_http(server: WebServer, question: Question) -> object:
    with server.client() as client:
        answer = client.get(question.path)
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_front_says_the_same(book: Book, folder: Path, server: WebServer, name: str) -> None:
    question = QUESTIONS[name]
    expected: Any = of_reports(book, question)
    assert of_command(folder, question) == expected
    assert of_http(server, question) == expected


def test_every_report_is_among_the_questions() -> None:
    asked = {
        name
        for question in QUESTIONS.values()
        for name in question.reports.__code__.co_names  # type: ignore[attr-defined]
    }
    answering = {
        name
        for name, member in vars(Reports).items()
        if not name.startswith("_") and asyncio.iscoroutinefunction(member)
    }
    # what only the dashboard asks
    assert answering - asked == {"overview", "charges", "live", "latency"}
