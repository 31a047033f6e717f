"""Projects made, changed and deleted over HTTP, and who sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from support.command_line import Book
from support.web_server import WebServer, plain_environment, web_server, write_config

from livekit_plugins_voicegateway.config import load_config

SECRET = "sk-never-shown-0123456789"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    write_config(tmp_path)
    key = Fernet.generate_key().decode()
    with web_server(tmp_path, env={"VOICEGW_SECRET_KEY": key}) as server:
        yield server


@pytest.fixture
def client(server: WebServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def test_a_project_is_made_changed_and_deleted(client: httpx.Client) -> None:
    made = client.post(
        "/v1/projects",
        json={
            "project_id": "support",
            "name": "Support",
            "daily_budget": 20.5,
            "budget_action": "throttle",
            "tags": ["staging"],
        },
    )
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/projects/support"
    assert made.json() == client.get("/v1/projects/support").json()
    assert made.json()["accent"] == "yellow"
    assert made.json()["source"] == "managed"
    assert made.json()["today"]["remaining"] == 20.5

    changed = client.patch("/v1/projects/support", json={"daily_budget": None, "name": "Help"})
    assert changed.status_code == 200
    assert changed.json()["daily_budget"] is None
    assert changed.json()["name"] == "Help"
    assert changed.json()["budget_action"] == "throttle"

    would = client.delete("/v1/projects/support?dry_run=true").json()
    assert client.get("/v1/projects/support").status_code == 200
    gone = client.delete("/v1/projects/support")
    assert gone.status_code == 200
    assert gone.json() == would
    assert client.get("/v1/projects/support").status_code == 404
    assert client.delete("/v1/projects/support").status_code == 404

    said = client.get("/v1/changes?project=support").json()["changes"]
    assert [change["action"] for change in said] == ["deleted", "changed", "created"]
    assert {change["front"] for change in said} == {"http"}


def test_what_cannot_be_is_refused_with_every_wrong_field(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/projects",
        json={
            "project_id": "no good",
            "nmae": "x",
            "daily_budget": "much",
            "budget_action": "explode",
            "tags": "prod",
        },
    )
    assert answer.status_code == 422
    wrong = {error["field"] for error in answer.json()["errors"]}
    assert wrong == {"project_id", "nmae", "daily_budget", "budget_action", "tags"}


def test_a_project_of_the_file_is_changed_there(client: httpx.Client, tmp_path: Path) -> None:
    for answer in (
        client.post("/v1/projects", json={"project_id": "prod"}),
        client.patch("/v1/projects/prod", json={"daily_budget": 1}),
        client.delete("/v1/projects/prod"),
        client.delete("/v1/projects/prod?dry_run=true"),
    ):
        assert answer.status_code == 409
        assert f"{tmp_path / 'voicegw.yaml'} line " in answer.json()["detail"]


def test_the_same_project_is_not_made_twice(client: httpx.Client) -> None:
    assert client.post("/v1/projects", json={"project_id": "x"}).status_code == 201
    assert client.post("/v1/projects", json={"project_id": "x"}).status_code == 409


def test_a_key_goes_in_and_never_comes_out(server: WebServer, client: httpx.Client) -> None:
    keys = {"openai": {"api_key": SECRET}}
    made = client.post("/v1/projects", json={"project_id": "keyed", "providers": keys})
    assert made.status_code == 201
    assert made.json()["providers"] == ["openai"]
    wrong = {"openai": {"api_key": SECRET + "${HOME}"}}
    said = [
        made,
        client.post("/v1/projects", json={"project_id": "k2", "providers": wrong}),
        client.patch("/v1/projects/keyed", json={"providers": {"openai": SECRET}}),
        client.get("/v1/projects"),
        client.get("/v1/changes"),
        client.delete("/v1/projects/keyed?dry_run=true"),
    ]
    assert [answer.status_code for answer in said[1:3]] == [422, 422]
    assert server.stop() == 0
    kept = b"".join(path.read_bytes() for path in server.folder.glob("voicegw.db*"))
    assert SECRET not in "".join(answer.text for answer in said) + server.log()
    assert SECRET.encode() not in kept


def test_a_key_in_the_place_of_its_provider_is_shown_nowhere(
    server: WebServer, client: httpx.Client
) -> None:
    swapped = {SECRET: {"api_key": "openai"}}
    typed = {"project_id": "x", "provider_0": SECRET, "key_0": "openai"}
    for answer in (
        client.post("/v1/projects", json={"project_id": "x", "providers": swapped}),
        client.post("/projects/~new", data=typed, headers={"origin": server.url}),
    ):
        assert answer.status_code == 422
        assert SECRET not in answer.text
    assert client.get("/v1/changes").json() == {"changes": []}


def test_without_a_secret_key_provider_keys_are_refused_and_the_reason_is_said(
    tmp_path: Path,
) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server, server.client() as client:
        keys = {"openai": {"api_key": SECRET}}
        answer = client.post("/v1/projects", json={"project_id": "x", "providers": keys})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["providers"]
        assert "VOICEGW_SECRET_KEY" in answer.text
        assert SECRET not in answer.text
        assert client.get("/v1/projects/x").status_code == 404


def test_keys_that_a_server_cannot_open_are_said_in_its_log_and_on_the_page(
    server: WebServer, client: httpx.Client
) -> None:
    keys = {"openai": {"api_key": SECRET}}
    assert client.post("/v1/projects", json={"project_id": "before", "providers": keys}).is_success
    with web_server(server.folder) as beside, beside.client() as other:
        with other.stream("GET", "/v1/events") as following:
            lines = following.iter_lines()
            assert next(lines) == "retry: 2000"
            late = {"project_id": "later", "providers": keys}
            assert client.post("/v1/projects", json=late).is_success
            assert changes(lines)["projects"] is True
        page = other.get("/projects").text
        assert beside.stop() == 0
        log = beside.log()
    for project_id in ("before", "later"):
        assert page.count(f"project &#39;{project_id}&#39;, made at run time, cannot use") == 1
        assert log.count(f"project '{project_id}', made at run time, cannot use its own") == 1
    assert "cannot use" not in client.get("/projects").text


def test_another_server_on_the_ledger_knows_of_it(server: WebServer, client: httpx.Client) -> None:
    with web_server(server.folder) as beside, beside.client() as other:
        with other.stream("GET", "/v1/events") as following:
            lines = following.iter_lines()
            assert next(lines) == "retry: 2000"
            client.post("/v1/projects", json={"project_id": "support", "daily_budget": 7})
            assert changes(lines)["projects"] is True
            assert other.get("/v1/projects/support").json()["daily_budget"] == 7


def test_who_follows_is_told_of_requests_and_of_projects(
    server: WebServer, client: httpx.Client
) -> None:
    config = load_config(server.folder / "voicegw.yaml", env=plain_environment(server.folder))
    book = Book(config)
    with server.client() as other, other.stream("GET", "/v1/events") as following:
        assert following.headers["content-type"].startswith("text/event-stream")
        assert following.headers["cache-control"] == "no-store"
        lines = following.iter_lines()
        # what the stream begins with is sent at once, so from here on nothing is missed
        assert next(lines) == "retry: 2000"
        book.write(book.row(project="prod"))
        assert changes(lines) == {"usage": True, "projects": False}
        client.post("/v1/projects", json={"project_id": "support"})
        assert changes(lines)["projects"] is True
    assert client.get("/v1/costs").json()["requests"] == 1


def changes(lines: Iterator[str]) -> dict[str, bool]:
    """The next event of a stream."""
    for line in lines:
        if line.startswith("data: "):
            found: dict[str, bool] = json.loads(line.removeprefix("data: "))
            return found
    raise AssertionError("the stream has ended")
