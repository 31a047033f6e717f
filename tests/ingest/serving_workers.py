"""`voicegw serve` as workers without a database need it: as a process, and in this one."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import uvicorn
from support.machine import PATIENCE
from support.web_server import WebServer, web_server

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger.http import HttpLedger
from livekit_plugins_voicegateway.ledger.urls import with_token
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.server.app import create_app
from livekit_plugins_voicegateway.times import to_iso

SERVER_TOKEN: Final = "5d0a6a7d5c1f4e57a2f14b53c3aa1f02"
WORKERS_TOKEN: Final = "91c25ffb0b4c4a8f9f5c7f1c7f0f7a44"

CONFIG: Final = """\
database: {url: "sqlite:///voicegw.db"}
projects: {prod: {daily_budget: 5}, staging: {}}
"""


@contextmanager
def serving(
    folder: Path,
    text: str = CONFIG,
    *,
    port: int = 0,
    env: Mapping[str, str] | None = None,
) -> Iterator[WebServer]:
    """Run a server of workers on a ledger in ``folder``."""
    (folder / "voicegw.yaml").write_text(text)
    tokens = {"VOICEGW_TOKEN": SERVER_TOKEN, "VOICEGW_INGEST_TOKEN": WORKERS_TOKEN}
    with web_server(folder, port=port, env={**tokens, **(env or {})}) as server:
        yield server


def ledger_of(server: WebServer, token: str = WORKERS_TOKEN, **how: Any) -> HttpLedger:
    """The ledger as a worker has it."""
    return HttpLedger(with_token(server.url, token), **how)


def as_json(row: UsageRow) -> dict[str, Any]:
    """A row as somebody else may write it."""
    ended_at = None if row.ended_at is None else to_iso(row.ended_at)
    return {**asdict(row), "started_at": to_iso(row.started_at), "ended_at": ended_at}


def batch(*rows: UsageRow, version: int = 1) -> bytes:
    """The body of a request."""
    return json.dumps({"version": version, "rows": [as_json(row) for row in rows]}).encode()


@contextmanager
def serving_here(folder: Path, clock: Callable[[], float]) -> Iterator[str]:
    """Run a server without a token on a thread, on a ledger in ``folder`` and at a test's time.

    Yields:
        Its URL.
    """
    (folder / "voicegw.yaml").write_text(CONFIG)
    app = create_app(load_config(folder / "voicegw.yaml", env={}), clock=clock)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
