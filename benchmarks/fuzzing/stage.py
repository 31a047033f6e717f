"""What targets ask: a configuration, a ledger with known rows, and a server without a socket."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote_from_bytes, unquote

from fastapi import FastAPI

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.server.app import create_app
from livekit_plugins_voicegateway.times import to_iso

from .target import Broken, Outcome

__all__ = ["HOST", "TOKEN", "Answer", "Server", "outcome_of", "scratch", "site"]

T = TypeVar("T")

HOST: Final = "localhost:8080"

TOKEN: Final = "d3c9a1f0b7e64c52"

_NOW: Final = 1_800_014_400.0
"""2027-01-15T12:00:00Z: the day never turns while inputs are tried."""

_CONFIG: Final = """\
default_project: prod
database: {url: "sqlite:///voicegw.db"}
projects:
  prod:
    daily_budget: 50.00
    budget_action: throttle
    tags: [production]
    providers: {openai: {}}
    pricing:
      openai/gpt-4.1-mini: {input: 0.35, cached_input: 0.09, output: 1.40, per: 1000000}
  staging: {daily_budget: 10, tags: [staging]}
"""

_SECRET_KEY: Final = "dGhpcyBpcyBhIGtleSBmb3IgdGVzdHMsIDMyIGJ5dGU="


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server has answered.

    Attributes:
        status: HTTP status.
        headers: By name in lower case.
        body: As a whole.
        heard: Bytes of the request's body that the server has taken.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    heard: int

    @property
    def media_type(self) -> str:
        """The type of the body, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0]


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Make a folder in memory where there is such a thing: every input may be written."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


@contextmanager
def site() -> Iterator[Config]:
    """Make a folder with a configuration and a ledger in which two calls stand."""
    with scratch() as name:
        path = Path(name, "voicegw.yaml")
        path.write_text(_CONFIG)
        config = load_config(path, env={"VOICEGW_SECRET_KEY": _SECRET_KEY})
        asyncio.run(_write(config))
        yield config


async def _write(config: Config) -> None:
    ledger = await open_ledger(config.database_url)
    await ledger.write(
        [
            _row(1, project="prod", room="call-17"),
            _row(2, project="staging", room="a/b c", cost_nanos=None, price=None),
            _row(3, project="gone", room="'; DROP TABLE usage; --", status="failed", error="no"),
        ]
    )
    await ledger.close()


def _row(number: int, **changes: Any) -> UsageRow:
    began = _NOW - number
    values: dict[str, Any] = {
        "id": f"0199-{number}",
        "request_id": f"0199-{number}",
        "started_at": began,
        "ended_at": began + 0.5,
        "day": to_iso(began)[:10],
        "modality": "llm",
        "provider": "openai",
        "model": "gpt-4.1-mini",
        "requested_model": "openai/gpt-4.1-mini",
        "status": "completed",
        "input_tokens": 200,
        "output_tokens": 50,
        "cost_nanos": 176_800,
        "price": "catalogue",
        **changes,
    }
    return UsageRow(**values)


class Server:
    """The server as an application, asked without a socket on an event loop of its own.

    Args:
        config: What it serves.
        token: Whether it asks for `TOKEN`.
    """

    def __init__(self, config: Config, *, token: bool) -> None:
        env = {**config.env, **({"VOICEGW_TOKEN": TOKEN} if token else {})}
        assert config.path is not None
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self.app: FastAPI = create_app(load_config(config.path, env=env), clock=lambda: _NOW)

    def __enter__(self) -> Server:
        started = self._loop.create_future()
        self._life = self._loop.create_task(self._live(started))
        self._loop.run_until_complete(started)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._loop.run_until_complete(self._life)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _live(self, started: asyncio.Future[None]) -> None:
        # in one task: the MCP SDK's group of tasks has to be left by the task that entered it
        try:
            async with self.app.router.lifespan_context(self.app):
                started.set_result(None)
                await self._ended.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's event loop."""
        return self._loop.run_until_complete(work)

    def ask(
        self,
        method: str,
        target: bytes,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes | Iterable[bytes] = b"",
    ) -> Answer:
        """Ask one thing.

        Args:
            method: In capitals.
            target: Path and query as on the wire; what no client can send there is quoted.
            headers: Beside ``Host``; names in lower case.
            body: Sent in one piece, or in those that are given, as long as somebody listens.
        """
        pieces = [body] if isinstance(body, bytes) else body
        return self.run(self._ask(method, target, headers, pieces))

    async def _ask(
        self,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        pieces: Iterable[bytes],
    ) -> Answer:
        # as uvicorn makes it of a request line; a fragment is no part of one
        wire = quote_from_bytes(target, safe="".join(map(chr, range(0x21, 0x7F)))).encode()
        path, _, query = (wire if wire[:1] == b"/" else b"/" + wire).partition(b"?")
        names = {name for name, _ in headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [
                *([] if b"host" in names else [(b"host", HOST.encode())]),
                *headers,
            ],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }
        coming = iter(pieces)
        over = False
        heard = 0
        said: list[Any] = []
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal heard, over
            if not over:
                piece = next(coming, b"")
                over = not piece
                heard += len(piece)
                return {"type": "http.request", "body": piece, "more_body": not over}
            # nobody hangs up before there is an answer
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            said.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                gone.set()

        await self.app(scope, receive, send)
        if not said or said[0]["type"] != "http.response.start":
            raise Broken(f"{method} {target!r} was not answered: {said}")
        return Answer(
            said[0]["status"],
            {name.decode("latin-1"): value.decode("latin-1") for name, value in said[0]["headers"]},
            b"".join(message.get("body", b"") for message in said[1:]),
            heard,
        )


def outcome_of(answer: Answer) -> Outcome:
    """Say whether a request was accepted, or refused as it should be.

    Raises:
        Broken: The server failed, or gave no reason.
    """
    if answer.status >= 500:
        raise Broken(f"the server failed: {answer.status} {answer.body[:500]!r}")
    if b"Traceback (most" in answer.body:
        raise Broken(f"a traceback was answered: {answer.body[:500]!r}")
    if answer.status < 400:
        return "accepted"
    if answer.media_type == "application/problem+json":
        said = json.loads(answer.body)
        if said["status"] != answer.status or not said["title"] or not said["detail"]:
            raise Broken(f"no reason was given: {said}")
        if answer.status == 422 and not all(
            wrong["found"] and wrong["expected"] for wrong in said["errors"]
        ):
            raise Broken(f"a wrong field has no reason: {said}")
    elif answer.media_type == "application/json":
        # the MCP SDK's own refusal
        said = json.loads(answer.body)
        if not said["error"]["message"]:
            raise Broken(f"no reason was given: {said}")
    elif answer.media_type != "text/html" or b"<h1" not in answer.body:
        raise Broken(f"no reason was given: {answer.status} {answer.headers} {answer.body[:200]!r}")
    return "refused"
