"""One layer of questions answers all fronts: each is asked the same, and says the same.

A front is a column of `QUESTIONS`: what `Reports` is called with, the words behind ``voicegw``, the
path of the HTTP API, the tool of the MCP server where there is one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from support.command_line import COMMAND, Book
from support.mcp_clients import answer
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
    tool: str = ""
    arguments: dict[str, object] = field(default_factory=dict)


QUESTIONS = {
    "costs of today": Question(lambda r: r.costs(), ("costs",), "/v1/costs", "get_costs", {}),
    "costs of a project and period": Question(
        lambda r: r.costs("30d", "prod"),
        ("costs", "--period", "30d", "--project", "prod"),
        "/v1/costs?period=30d&project=prod",
        "get_costs",
        {"period": "30d", "project": "prod"},
    ),
    "costs of all time": Question(
        lambda r: r.costs("all"),
        ("costs", "--period", "all"),
        "/v1/costs?period=all",
        "get_costs",
        {"period": "all"},
    ),
    "costs of days without any": Question(
        lambda r: r.costs("2001-01-01..2001-01-31"),
        ("costs", "--period", "2001-01-01..2001-01-31"),
        "/v1/costs?period=2001-01-01..2001-01-31",
        "get_costs",
        {"period": "2001-01-01..2001-01-31"},
    ),
    "projects": Question(
        lambda r: r.projects(), ("projects",), "/v1/projects", "list_projects", {}
    ),
    "one project": Question(
        lambda r: r.project("staging"),
        ("project", "show", "staging"),
        "/v1/projects/staging",
        "get_project",
        {"project_id": "staging"},
    ),
    "requests": Question(lambda r: r.logs(), ("logs",), "/v1/logs", "get_logs", {"limit": 50}),
    "requests of one kind": Question(
        lambda r: r.logs(modality="llm", status="failed", limit=1),
        ("logs", "--modality", "llm", "--status", "failed", "--limit", "1"),
        "/v1/logs?modality=llm&status=failed&limit=1",
        "get_logs",
        {"modality": "llm", "status": "failed", "limit": 1},
    ),
    "requests of a room and model": Question(
        lambda r: r.logs(room=ROOM, model="openai/gpt-4.1-mini"),
        ("logs", "--room", ROOM, "--model", "openai/gpt-4.1-mini"),
        "/v1/logs?room=bookings/7%20%C3%A4&model=openai/gpt-4.1-mini",
        "get_logs",
        {"room": ROOM, "model": "openai/gpt-4.1-mini", "limit": 50},
    ),
    "calls": Question(lambda r: r.calls(), ("calls",), "/v1/calls"),
    "calls of a project": Question(
        lambda r: r.calls("prod", 1),
        ("calls", "--project", "prod", "--limit", "1"),
        "/v1/calls?project=prod&limit=1",
    ),
    "one call": Question(
        lambda r: r.call(ROOM),
        ("calls", ROOM),
        "/v1/calls/bookings%2F7%20%C3%A4",
        "get_call",
        {"room": ROOM},
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


def of_mcp(server: WebServer, question: Question) -> object:
    return call_tool(server, question.tool, question.arguments)


def call_tool(server: WebServer, tool: str, arguments: dict[str, Any]) -> Any:
    async def call() -> object:
        async with Client(f"{server.url}/mcp") as client:
            return answer(await client.call_tool(tool, arguments))

    return asyncio.run(call())


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_front_says_the_same(book: Book, folder: Path, server: WebServer, name: str) -> None:
    question = QUESTIONS[name]
    expected: Any = of_reports(book, question)
    assert of_command(folder, question) == expected
    assert of_http(server, question) == expected
    if question.tool:
        assert of_mcp(server, question) == expected


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
    # what only the dashboard asks, and exports
    assert answering - asked == {"overview", "charges", "live", "latency", "days"}


def test_a_project_is_the_same_whichever_front_has_made_it(folder: Path, server: WebServer) -> None:
    with server.client() as client:
        made = client.post("/v1/projects", json={"project_id": "p1", "daily_budget": 12.5}).json()
        listed = Question(lambda r: r.projects(), ("projects",), "/v1/projects", "list_projects")

        def seen() -> list[Any]:
            """The projects of run time, as every front shows them."""
            fronts = (of_command(folder, listed), of_http(server, listed), of_mcp(server, listed))
            found = [
                [one for one in front["projects"] if one["source"] == "managed"]
                for front in fronts
                if isinstance(front, dict)
            ]
            assert found[0] == found[1] == found[2]
            return found[0]

        assert seen() == [made]
        changed = call_tool(server, "update_project", {"project_id": "p1", "tags": ["dev"]})
        assert changed == {**made, "tags": ["dev"], "accent": "blue"}
        assert seen() == [changed]
        command = ("project", "update", "p1", "--daily-budget", "20")
        updated = of_command(folder, Question(lambda r: r.projects(), command, ""))
        assert isinstance(updated, dict)
        assert updated["daily_budget"] == 20
        # another process has changed it: the server knows by its own look at the ledger
        with client.stream("GET", "/v1/events") as following:
            for _ in following.iter_lines():
                if client.get("/v1/projects/p1").json()["daily_budget"] == 20:
                    break
        assert seen() == [updated]
        would = client.delete("/v1/projects/p1?dry_run=true").json()
        deletion = ("project", "delete", "p1", "--yes")
        assert of_command(folder, Question(lambda r: r.projects(), deletion, "")) == would
        said = client.get("/v1/changes?project=p1").json()["changes"]
    assert [(change["action"], change["front"]) for change in said] == [
        ("deleted", "cli"),
        ("changed", "cli"),
        ("changed", "mcp"),
        ("created", "http"),
    ]


def test_the_same_fault_is_said_in_the_same_words(folder: Path, server: WebServer) -> None:
    fields = {"project_id": "p2", "daily_budget": "much", "tags": ["a\nb"]}
    with server.client() as client:
        answered = client.post("/v1/projects", json=fields)
    done = subprocess.run(
        [COMMAND, "project", "create", "p2", "--daily-budget", "much", "--tag", "a\nb"],
        cwd=folder,
        env={**plain_environment(folder), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answered.status_code, done.returncode) == (422, 2)
    faults = answered.json()["errors"]
    assert {fault["field"] for fault in faults} == {"daily_budget", "tags[0]"}
    for fault in faults:
        assert f"{fault['field']}: found {fault['found']}; expected {fault['expected']}" in (
            done.stderr
        )
