"""What a server does beside answering, for workers that are gone."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.command_line import Book
from support.machine import PATIENCE
from support.web_server import plain_environment, web_server, write_config

from livekit_plugins_voicegateway.alerts.events import price_alert
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.ledger.base import STALE_AFTER
from livekit_plugins_voicegateway.ledger.outbox import open_outboxes
from livekit_plugins_voicegateway.server.changes import Change, Changes


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(load_config(write_config(tmp_path), env=plain_environment(tmp_path)))


@pytest.fixture
def receiver() -> Iterator[tuple[str, queue.Queue[bytes]]]:
    """Somebody who is told of alerts: its address, and what it was told."""
    told: queue.Queue[bytes] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", told
        server.shutdown()
        thread.join()


def test_usage_that_dead_workers_have_put_aside_is_taken_in(book: Book, tmp_path: Path) -> None:
    path = tmp_path / "voicegw.yaml"
    path.write_text(
        path.read_text().replace("database: {", f"database: {{outbox: '{tmp_path}', ", 1)
    )
    config = load_config(path, env=plain_environment(tmp_path))
    [outbox] = open_outboxes(config)
    outbox.put([book.row(project="prod")])
    with web_server(tmp_path) as server, server.client() as client:
        with client.stream("GET", "/v1/events") as following:
            for _ in following.iter_lines():
                if logs := client.get("/v1/logs").json()["logs"]:
                    break
    assert len(logs) == 1
    assert outbox.count() == 0


def test_a_request_of_a_process_that_is_gone_is_closed(book: Book, tmp_path: Path) -> None:
    long_ago = 2 * STALE_AFTER

    async def write() -> None:
        # a row is as old as the clock says that it was written by
        async with make_ledger(
            book.config.database_url, clock=lambda: book.now - long_ago
        ) as ledger:
            await ledger.write([book.row(status="open", project="prod", ago=long_ago)])

    asyncio.run(write())
    with web_server(tmp_path) as server, server.client() as client:
        with client.stream("GET", "/v1/events") as following:
            for _ in following.iter_lines():
                (entry,) = client.get("/v1/logs").json()["logs"]
                if entry["status"] != "open":
                    break
    assert entry["status"] == "cancelled"


def test_an_alert_that_a_dead_worker_left_behind_is_sent(
    book: Book, tmp_path: Path, receiver: tuple[str, queue.Queue[bytes]]
) -> None:
    url, told = receiver
    alert = price_alert(
        alert_id="019711c2-5b1a-7c3e-8f0d-2b6f5a3c9e10",
        at=book.now,
        project="prod",
        day=book.config.days.day_of(book.now),
        modality="llm",
        provider="acme",
        model="unheard-of",
    )

    async def leave() -> None:
        async with make_ledger(book.config.database_url) as ledger:
            await ledger.add_alert(alert)

    asyncio.run(leave())
    path = tmp_path / "voicegw.yaml"
    path.write_text(path.read_text() + f"alerts: {{webhook: '{url}'}}\n")
    with web_server(tmp_path) as server:
        message = told.get(timeout=PATIENCE)
        assert server.stop() == 0
    assert message.decode() == alert.body


def test_a_webhook_whose_variable_is_not_set_is_said_at_the_start(
    book: Book, tmp_path: Path
) -> None:
    path = tmp_path / "voicegw.yaml"
    path.write_text(path.read_text() + 'alerts: {webhook: "${HOOK}"}\n')
    with pytest.raises(AssertionError, match="HOOK"):
        with web_server(tmp_path):
            pass


async def test_who_follows_hears_of_the_next_change_after_a_fault_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    versions = iter([(1, 1), RecursionError("deep"), RecursionError("deep"), (2, 1)])

    async def ask() -> tuple[int, int]:
        found = next(versions, (2, 1))
        if isinstance(found, Exception):
            raise found
        return found

    async def take_in() -> None:
        pass

    changes = Changes(ask, take_in, interval=0.001)
    watching = asyncio.create_task(changes.watch())
    async with asyncio.timeout(PATIENCE):
        async for change in changes.follow():
            assert change == Change(usage=True, projects=False)
            break
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert [record.message for record in caplog.records] == [
        "what has changed in the ledger cannot be taken in"
    ]
