"""Routes, parameters, problem bodies and what HTTP itself asks of an answer."""

from __future__ import annotations

import gzip
import socket
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.command_line import Book, reported
from support.machine import PATIENCE
from support.web_server import WebServer, plain_environment, web_server, write_config

from livekit_plugins_voicegateway.config import load_config

READING = {
    "/v1/costs?period=7d&project=prod": ("costs", "7d", "prod"),
    "/v1/projects": ("projects",),
    "/v1/projects/prod": ("project", "prod"),
    "/v1/logs?room=call-17&limit=2": ("logs", None, 2, None, None, None, None, "call-17"),
    "/v1/calls?project=staging": ("calls", "staging"),
    "/v1/calls/call-17": ("call", "call-17"),
    "/v1/calls/a/b%20c": ("call", "a/b c"),
    "/v1/calls/a%2Fb%20c": ("call", "a/b c"),
    "/v1/prices?project=prod": ("prices", "prod"),
    "/v1/verify": ("verify",),
}


def wrong(answer: httpx.Response) -> dict[str, str]:
    """What an answer says is wrong: what is expected of each field."""
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    return {error["field"]: error["expected"] for error in answer.json()["errors"]}


@pytest.mark.parametrize("path", READING)
def test_an_answer_is_what_the_reports_say(client: httpx.Client, book: Book, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == reported(book, *READING[path])


def test_the_price_of_something_is_asked_for_in_parameters(client: httpx.Client) -> None:
    asked = "/v1/price?model=openai/gpt-4.1-mini&input_tokens=1000000&project=prod"
    assert client.get(asked).json()["cost"] == 0.35
    unknown = client.get("/v1/price?model=acme/unheard-of&input_tokens=5").json()
    assert unknown["cost"] is None


def test_pages_are_walked_with_the_cursor(client: httpx.Client) -> None:
    ids: list[str] = []
    cursor: str | None = None
    for _ in range(9):
        page = client.get("/v1/logs", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ids += [entry["id"] for entry in page.json()["logs"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert ids == [entry["id"] for entry in client.get("/v1/logs").json()["logs"]]
    assert len(ids) == 5


def test_all_that_is_wrong_with_a_question_is_said_at_once(client: httpx.Client) -> None:
    found = wrong(
        client.get("/v1/logs?limit=many&cursor=zz&modality=video&status=done&pproject=prod&limit=3")
    )
    assert set(found) == {"limit", "cursor", "modality", "status", "pproject"}
    assert "did you mean 'project'?" in found["pproject"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/costs?period=tomorrow", "period"),
        ("/v1/costs?since=2026-01-01", "since"),
        ("/v1/projects?limit=3", "limit"),
        ("/v1/verify?project=prod", "project"),
        ("/v1/logs?limit=0", "limit"),
        ("/v1/logs?limit=1e2", "limit"),
        ("/v1/logs?project=prod&project=staging", "project"),
        ("/v1/price", "model"),
        ("/v1/price?model=nothing", "model"),
        ("/v1/price?model=openai/gpt-4.1-mini&characters=-1", "characters"),
        ("/v1/price?model=openai/gpt-4.1-mini&audio_seconds=nan", "audio_seconds"),
        ("/v1/price?model=openai/gpt-4.1-mini&cached_input_tokens=1", "cached_input_tokens"),
        ("/v1/changes?limit=1001", "limit"),
        ("/v1/events?x=1", "x"),
    ],
)
def test_a_value_that_cannot_be_is_named(client: httpx.Client, path: str, field: str) -> None:
    assert set(wrong(client.get(path))) == {field}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/costs?project=nobody", "unknown-project"),
        ("/v1/projects/nobody", "unknown-project"),
        ("/v1/logs?project=nobody", "unknown-project"),
        ("/v1/prices?project=nobody", "unknown-project"),
        ("/v1/calls/nowhere", "unknown-call"),
        ("/v1/nothing", "not-found"),
        ("/v1/costs/", "not-found"),
        ("/v2/costs", "not-found"),
    ],
)
def test_what_is_not_there_is_a_404_that_says_what(
    client: httpx.Client, path: str, kind: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    body = answer.json()
    assert body["type"] == f"urn:voicegateway:problem:{kind}"
    assert body["status"] == 404
    assert body["instance"] == path.partition("?")[0]
    assert body["title"]
    assert body["detail"]


def test_a_person_who_has_mistaken_an_address_gets_a_page(client: httpx.Client) -> None:
    answer = client.get("/<script>alert(1)</script>", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is nothing at" in answer.text
    assert "<script>alert" not in answer.text


def test_a_method_that_a_path_does_not_take_names_those_that_it_does(
    client: httpx.Client,
) -> None:
    answer = client.put("/v1/projects/prod", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "HEAD, GET, PATCH, DELETE"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_page_asks_anew_for_the_very_call_that_it_shows(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), env=plain_environment(tmp_path))
    book = Book(config)
    rooms = ["a?b", "a%41", "a#b", "a/b c", 'a"b', "anrufé"]
    book.write(*[book.row(room=room) for room in rooms])
    with web_server(tmp_path) as server, server.client() as client:
        for room in rooms:
            address = f"/calls/{quote(room, safe='')}"
            assert f'data-hx-get="{address}"' in client.get(address).text


@pytest.mark.parametrize(
    ("path", "allowed"), [("/static/dashboard.js", "HEAD, GET"), ("/mcp", "POST")]
)
def test_what_takes_no_other_method_says_which(
    client: httpx.Client, path: str, allowed: str
) -> None:
    answer = client.put(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.json()["detail"] == f"{path} does not take PUT, only {allowed}."


def test_who_has_the_answer_already_is_told_so(client: httpx.Client) -> None:
    first = client.get("/v1/projects")
    tag = first.headers["etag"]
    again = client.get("/v1/projects", headers={"if-none-match": f'"other", {tag}'})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == tag
    assert first.headers["cache-control"] == "private, no-cache"
    another = client.get("/v1/calls", headers={"if-none-match": tag})
    assert another.status_code == 200


def test_the_tag_changes_with_the_answer(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), env=plain_environment(tmp_path))
    book = Book(config)
    with web_server(tmp_path) as server, server.client() as client:
        before = client.get("/v1/costs")
        book.write(book.row(project="dev"))
        after = client.get("/v1/costs", headers={"if-none-match": before.headers["etag"]})
        assert after.status_code == 200
        assert after.json()["requests"] == 1


def test_a_large_answer_is_compressed_for_who_can_read_it(open_server: WebServer) -> None:
    with open_server.client(headers={"accept-encoding": "gzip"}) as client:
        with client.stream("GET", "/v1/logs") as answer:
            packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    with open_server.client(headers={"accept-encoding": "identity"}) as client:
        plain = client.get("/v1/logs")
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed) == plain.content


@pytest.mark.parametrize("path", ["/v1/costs", "/health", "/v1/nothing", "/openapi.json", "/login"])
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    for name in ("content-type", "etag", "cache-control"):
        assert head.headers.get(name) == got.headers.get(name)


def test_head_of_a_stream_ends(client: httpx.Client) -> None:
    answer = client.head("/v1/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"project_id": "x", "daily_budget": NaN}', "json", 400),
        (b'{"project_id": "x", "daily_budget": -Infinity}', "json", 400),
        (b'{"project_id": "x", "daily_budget": 1e9999999999999999999}', "json", 400),
        (b'{"project_id": "x", "project_id": "y"}', "json", 400),
        (b'{"project_id": "x"', "json", 400),
        (b"", "json", 400),
        (b"\xff\xfe", "json", 400),
        (b"[" * 100_000, "json", 400),
        (b"9" * 5_000, "json", 400),
        (b"[]", "wrong-values", 422),
        (b'"x"', "wrong-values", 422),
        (b"null", "wrong-values", 422),
        (b'{"project_id": "x", "name": "\\ud800"}', "wrong-values", 422),
        (b'{"project_id": "x", "daily_budget": 1e999}', "wrong-values", 422),
        (b'{"\\u0000": 1, "project_id": "x"}', "wrong-values", 422),
    ],
)
def test_a_body_that_says_nothing_clear_is_refused(
    client: httpx.Client, body: bytes, kind: str, status: int
) -> None:
    answer = client.post(
        "/v1/projects", content=body, headers={"content-type": "application/json; charset=utf-8"}
    )
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, kind)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_type_is_refused(client: httpx.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post("/v1/projects", content=b'{"project_id": "x"}', headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.headers["accept"]


def test_a_large_body_is_refused_before_it_is_read(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/projects", content=b" " * (1 << 21), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    # without a length it is found out later
    chunks = (b" " * 65_536 for _ in range(17))
    later = client.post(
        "/v1/projects", content=chunks, headers={"content-type": "application/json"}
    )
    assert later.json() == answer.json()


def test_a_large_body_of_unknown_length_is_refused_on_the_way(open_server: WebServer) -> None:
    host, _, port = open_server.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(
            b"POST /v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        for _ in range(17):
            connection.sendall(chunk)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_ledger_that_fails_is_a_503_and_says_when_to_come_again(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server, server.client() as client:
        assert client.get("/v1/costs").status_code == 200
        with sqlite3.connect(tmp_path / "voicegw.db") as database:
            for table in ("usage_daily", "managed_projects", "projects_version"):
                database.execute(f"DROP TABLE {table}")
        for path in ("/v1/costs", "/v1/projects", "/v1/costs?project=gone"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.headers["content-type"] == "application/problem+json"
            assert str(tmp_path / "voicegw.db") in answer.json()["detail"]
            assert "Traceback" not in answer.text
        made = client.post("/v1/projects", json={"project_id": "x"})
        assert made.status_code == 503
        server.stop()
        assert "Traceback" not in server.log()


def test_health_says_whether_the_ledger_answers(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server, server.client() as client:
        well = client.get("/health")
        assert well.status_code == 200
        assert well.json()["ledger"] == "ok"
        with sqlite3.connect(tmp_path / "voicegw.db") as database:
            database.execute("DROP TABLE projects_version")
        ill = client.get("/health")
    assert ill.status_code == 503
    assert ill.json()["status"] == "failing"


def test_prometheus_is_told_in_its_own_format(client: httpx.Client) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"voicegateway_cost_dollars", "voicegateway_budget_remaining_dollars"} <= families


def test_an_empty_ledger_is_an_answer_too(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server, server.client() as client:
        costs: dict[str, Any] = client.get("/v1/costs?period=all").json()
        assert costs["total_cost"] == 0
        assert client.get("/v1/logs").json() == {"logs": [], "next_cursor": None}
        assert client.get("/v1/calls").json() == {"calls": [], "next_cursor": None}
        assert client.get("/v1/verify").json()["ok"]
        assert client.get("/v1/changes").json() == {"changes": []}
