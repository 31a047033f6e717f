"""What a worker's requests do at a real server: rows, leases, projects, alerts, and wrong ones."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest
from serving_workers import SERVER_TOKEN, WORKERS_TOKEN, as_json, batch, serving
from support.usage_rows import DAY, NOON, usage_row
from support.web_server import WebServer, web_server

from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.server.api.ingest_bodies import LARGEST_UNPACKED
from livekit_plugins_voicegateway.server.tokens import INGEST_ROUTES
from livekit_plugins_voicegateway.times import from_iso

JSON = {"content-type": "application/json"}


def written(server: WebServer, *ids: str) -> list[UsageRow]:
    """The rows with these ids, read from the file as anybody may."""
    file = server.folder / "voicegw.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as shell:
        shell.row_factory = sqlite3.Row
        found = []
        for row_id in ids:
            for row in shell.execute("SELECT * FROM usage WHERE id = ?", (row_id,)):
                values = {name: row[name] for name in UsageRow.__slots__}
                values["started_at"] = from_iso(values["started_at"])
                if values["ended_at"] is not None:
                    values["ended_at"] = from_iso(values["ended_at"])
                found.append(UsageRow(**{**values, "estimated": bool(values["estimated"])}))
    return found


def requests_of(owner: httpx.Client, project: str) -> int:
    found: int = owner.get(f"/v1/costs?period=all&project={project}").json()["requests"]
    return found


def wrong_fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.json()["errors"]]


def test_rows_are_in_the_ledger_when_the_answer_comes(
    server: WebServer, worker: httpx.Client
) -> None:
    rows = [
        usage_row(),
        usage_row(
            modality="stt",
            status="failed",
            estimated=True,
            room="room-1",
            job_id="AJ_1",
            speech_id="speech_1",
            audio_seconds=12.345,
            connection_seconds=13.5,
            characters=7,
            error="APIStatusError: 500 “außer Betrieb”",
            owner="worker-1",
        ),
        usage_row(status="open", cost_nanos=None, price=None, ttfb_ms=None, duration_ms=None),
    ]
    answer = worker.post("/v1/usage", content=batch(*rows), headers=JSON)
    assert answer.json() == {"received": 3, "rows": 3}
    assert written(server, *(row.id for row in rows)) == rows


def test_the_same_rows_twice_are_the_same_as_once(
    server: WebServer, worker: httpx.Client, owner: httpx.Client
) -> None:
    row = usage_row(project="twice")
    for _ in range(2):
        answer = worker.post("/v1/usage", content=batch(row, row), headers=JSON)
        assert answer.json() == {"received": 2, "rows": 1}
    assert requests_of(owner, "twice") == 1
    later = replace(row, cost_nanos=500_000, duration_ms=2_000.0)
    worker.post("/v1/usage", content=batch(later), headers=JSON)
    worker.post("/v1/usage", content=batch(replace(row, status="open")), headers=JSON)
    assert written(server, row.id) == [later]
    assert owner.get("/v1/costs?period=all&project=twice").json()["total_cost"] == 0.0005


def test_only_what_a_row_must_have_is_needed(server: WebServer, worker: httpx.Client) -> None:
    row = usage_row()
    least = {
        name: as_json(row)[name]
        for name in ("id", "request_id", "started_at", "day", "project", "modality", "provider")
    } | {"model": "m", "requested_model": "openai/m", "status": "open"}
    answer = worker.post("/v1/usage", json={"version": 1, "rows": [least]})
    assert answer.status_code == 200, answer.text
    (found,) = written(server, row.id)
    assert (found.cost_nanos, found.input_tokens, found.ended_at) == (None, 0, None)


def test_a_body_may_be_packed(server: WebServer, worker: httpx.Client) -> None:
    rows = [usage_row(project="packed") for _ in range(1_000)]
    headers = {**JSON, "content-encoding": "gzip"}
    answer = worker.post("/v1/usage", content=gzip.compress(batch(*rows)), headers=headers)
    assert answer.json() == {"received": 1_000, "rows": 1_000}
    assert len(written(server, *(row.id for row in rows))) == 1_000


@pytest.mark.parametrize(
    ("content", "encoding", "status", "kind"),
    [
        (b"no gzip at all", "gzip", 400, "gzip"),
        (gzip.compress(batch(usage_row()))[:-9], "gzip", 400, "gzip"),
        (gzip.compress(b"{}") * 2, "gzip", 400, "gzip"),
        (zlib.compress(b"{}"), "deflate", 415, "content-encoding"),
        (gzip.compress(b" " * (LARGEST_UNPACKED + 1)), "gzip", 413, "content-too-large"),
        (gzip.compress(b"[" * 1_000_000), "gzip", 400, "json"),
        (b'{"version": 1, "version": 1, "rows": []}', "identity", 400, "json"),
        (b'{"version": 1, "rows": [NaN]}', "identity", 400, "json"),
    ],
    # names that are the same in every process that runs a part of the tests
    ids=["no-gzip", "cut", "two", "deflate", "unpacks-to-much", "deep", "twice", "nan"],
)
def test_bodies_that_cannot_be_read_are_refused(
    worker: httpx.Client, content: bytes, encoding: str, status: int, kind: str
) -> None:
    headers = {**JSON, "content-encoding": encoding}
    answer = worker.post("/v1/usage", content=content, headers=headers)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, kind)


def test_another_kind_of_body_is_refused(worker: httpx.Client) -> None:
    answer = worker.post("/v1/usage", content=batch(usage_row()))
    assert answer.status_code == 415


def test_every_wrong_field_is_named_and_nothing_is_written(
    server: WebServer, worker: httpx.Client
) -> None:
    good = as_json(usage_row())
    bad = {
        **as_json(usage_row()),
        "id": "",
        "started_at": "2027-01-15 12:00",
        "day": "2027-02-30",
        "modality": "video",
        "status": None,
        "estimated": 1,
        "room": "\0",
        "audio_seconds": -1,
        "input_tokens": 1.5,
        "output_tokens": True,
        "cost_nanos": 0.5,
        "error": "\ud800",
        "colour": "green",
    }
    body = {"version": 1, "rows": [good, bad, {}, 7]}
    content = json.dumps(body).encode()
    fields = wrong_fields(worker.post("/v1/usage", content=content, headers=JSON))
    assert sorted(field for field in fields if field.startswith("rows[1].")) == sorted(
        f"rows[1].{name}"
        for name in (
            *("id", "started_at", "day", "modality", "status", "estimated", "room"),
            *("audio_seconds", "input_tokens", "output_tokens", "cost_nanos", "error", "colour"),
        )
    )
    assert {"rows[2].id", "rows[2].started_at", "rows[3]"} <= set(fields)
    assert not [field for field in fields if field.startswith("rows[0]")]
    assert written(server, good["id"]) == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["version", "rows"]),
        ({"version": 2, "rows": []}, ["version"]),
        ({"version": True, "rows": {}}, ["version", "rows"]),
        ({"version": 1, "rows": [], "more": 1}, ["more"]),
        ([], ["body"]),
    ],
)
def test_what_is_no_batch_is_refused(worker: httpx.Client, body: Any, fields: list[str]) -> None:
    answer = worker.post("/v1/usage", json=body)
    assert sorted(wrong_fields(answer)) == sorted(fields)


def test_more_rows_than_one_transaction_should_have_are_refused(worker: httpx.Client) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    body = gzip.compress(batch(*[usage_row()] * 1_001))
    assert wrong_fields(worker.post("/v1/usage", content=body, headers=headers)) == ["rows"]


def lease(worker: httpx.Client, **changes: Any) -> httpx.Response:
    asked = {
        "project": "leased",
        "day": DAY,
        "owner": "a",
        "budget_nanos": 1_000,
        "need_nanos": 0,
        "want_nanos": 300,
        "share": 1,
        "seconds": 30,
    }
    return worker.post("/v1/leases", json={**asked, **changes})


def test_a_lease_is_granted_paid_out_of_and_given_back(worker: httpx.Client) -> None:
    assert lease(worker).json() == {"granted_nanos": 300, "settled_nanos": 0, "leased_nanos": 300}
    row = usage_row(project="leased", cost_nanos=100, owner="a")
    worker.post("/v1/usage", content=batch(row), headers=JSON)
    # half of what is unspent, since two hold something of it
    assert lease(worker, owner="b", want_nanos=9_000).json()["granted_nanos"] == 450
    renewed = worker.post("/v1/leases/renew", json={"owner": "a", "seconds": 30})
    assert renewed.json() == {"leases": [{"project": "leased", "day": DAY}]}
    for owner in ("a", "b"):
        given = {"project": "leased", "day": DAY, "owner": owner, "nanos": 10_000}
        left = worker.post("/v1/leases/return", json=given)
    assert left.json() == {"settled_nanos": 100, "leased_nanos": 0}


def test_what_is_asked_twice_under_a_name_is_granted_once(worker: httpx.Client) -> None:
    for _ in range(2):
        answer = lease(worker, project="named", grant="a-1").json()
        assert answer == {"granted_nanos": 300, "settled_nanos": 0, "leased_nanos": 300}
    back = {"project": "named", "day": DAY, "owner": "a", "nanos": 0, "grant": "a-1"}
    for _ in range(2):
        returned = worker.post("/v1/leases/return", json=back).json()
        assert returned == {"settled_nanos": 0, "leased_nanos": 0}
    # given up before it was heard of
    assert worker.post("/v1/leases/return", json={**back, "grant": "a-2"}).status_code == 200
    answer = lease(worker, project="named", grant="a-2").json()
    assert answer == {"granted_nanos": 0, "settled_nanos": 0, "leased_nanos": 0}


def test_every_wrong_field_of_a_lease_is_named(worker: httpx.Client) -> None:
    answer = lease(worker, budget_nanos="5", need_nanos=-1, share=0, seconds=10**9, day="today")
    wrong = ["day", "budget_nanos", "need_nanos", "share", "seconds"]
    assert wrong_fields(answer) == wrong
    assert wrong_fields(worker.post("/v1/leases/renew", json={})) == ["owner", "seconds"]
    assert wrong_fields(worker.post("/v1/leases/return", json={"nanos": 2**63})) == [
        *("project", "day", "owner", "nanos")
    ]


def test_an_alert_is_noted_once_and_has_to_say_what_it_is(worker: httpx.Client) -> None:
    alert = {
        "id": "alert_1",
        "about": f"price.unknown prod {DAY} llm acme/in-house",
        "event": "price.unknown",
        "project": "prod",
        "day": DAY,
        "created_at": "2027-01-15T12:00:00.000Z",
    }
    said = json.dumps({name: alert[name] for name in ("id", "event", "project", "day")})
    for new in (True, False):
        assert worker.post("/v1/alerts", json={**alert, "body": said}).json() == {"new": new}
    for body in ("no json", "[]", said.replace("alert_1", "alert_2")):
        assert wrong_fields(worker.post("/v1/alerts", json={**alert, "body": body})) == ["body"]


ASKING: dict[tuple[str, str], Callable[[httpx.Client], httpx.Response]] = {
    (method, path): lambda client, method=method, path=path: client.request(  # type: ignore[misc]
        method, path, json={} if method == "POST" else None
    )
    for method, path in INGEST_ROUTES
}


@pytest.mark.parametrize("route", sorted(ASKING))
def test_the_token_of_workers_and_the_servers_own_open_what_workers_need(
    worker: httpx.Client, owner: httpx.Client, route: tuple[str, str]
) -> None:
    for client in (worker, owner):
        assert ASKING[route](client).status_code in (200, 422)


@pytest.mark.parametrize("route", sorted(ASKING))
def test_nobody_else_gets_in(server: WebServer, route: tuple[str, str]) -> None:
    with server.client() as nobody:
        assert ASKING[route](nobody).status_code == 401
        nobody.headers["authorization"] = f"Bearer {WORKERS_TOKEN[:-1]}"
        assert ASKING[route](nobody).status_code == 401
        for token in (WORKERS_TOKEN, SERVER_TOKEN):
            nobody.headers["authorization"] = f"Bearer {token}"
            nobody.headers["origin"] = "https://elsewhere.example"
            answer = ASKING[route](nobody)
            assert (answer.status_code, answer.json()["type"]) == (
                403,
                "urn:voicegateway:problem:cross-site",
            )
            del nobody.headers["origin"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/costs"),
        ("GET", "/v1/projects"),
        ("POST", "/v1/projects"),
        ("PATCH", "/v1/projects/prod"),
        ("DELETE", "/v1/projects/prod"),
        ("GET", "/v1/logs"),
        ("GET", "/v1/usage"),
        ("GET", "/v1/events"),
        ("POST", "/v1/usage/"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("POST", "/mcp"),
        ("GET", "/"),
    ],
)
def test_the_token_of_workers_opens_nothing_else(
    worker: httpx.Client, method: str, path: str
) -> None:
    answer = worker.request(method, path)
    kind = "urn:voicegateway:problem:workers-token"
    assert (answer.status_code, answer.json()["type"]) == (403, kind)


def test_nobody_logs_in_with_the_token_of_workers(server: WebServer) -> None:
    with server.client() as person:
        assert person.post("/login", data={"token": WORKERS_TOKEN}).status_code == 401


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({"VOICEGW_INGEST_TOKEN": WORKERS_TOKEN}, "Set VOICEGW_TOKEN"),
        (dict.fromkeys(("VOICEGW_INGEST_TOKEN", "VOICEGW_TOKEN"), WORKERS_TOKEN), "the same as"),
    ],
)
def test_a_server_whose_tokens_are_not_two_does_not_start(
    tmp_path: Any, tokens: dict[str, str], said: str
) -> None:
    with pytest.raises(AssertionError, match=said) as caught, web_server(tmp_path, env=tokens):
        pass
    assert WORKERS_TOKEN not in str(caught.value)


def test_a_server_does_not_keep_its_ledger_with_another_one(tmp_path: Any) -> None:
    text = "database: {url: 'https://voicegw.example.com', token: s3cr3t}\n"
    with (
        pytest.raises(AssertionError, match="another server's, https://voicegw") as caught,
        serving(tmp_path, text),
    ):
        pass
    assert "s3cr3t" not in str(caught.value)


def test_who_follows_the_server_sees_what_workers_send(
    server: WebServer, worker: httpx.Client, owner: httpx.Client
) -> None:
    with owner.stream("GET", "/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        worker.post("/v1/usage", content=batch(usage_row(project="seen")), headers=JSON)
        assert any('"usage": true' in line for line in lines if line.startswith("data"))


def test_rows_are_those_of_the_ledger() -> None:
    assert list(as_json(usage_row())) == list(asdict(usage_row(started_at=NOON)))
