"""Bodies of a hundred megabytes: refused after a megabyte, or before the first byte."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fuzzing.stage import TOKEN, Server
from support.web_server import web_server, write_config

from livekit_plugins_voicegateway.server.guards import LARGEST_BODY

HUNDRED = 100 << 20
PIECE = b" " * 65_536

BEARER = (b"authorization", b"Bearer " + TOKEN.encode())


@pytest.fixture(scope="module")
def routes(open_app: Server) -> list[tuple[str, str]]:
    """Every route that may take a body, with something in the place of its parameters."""
    found: list[tuple[str, str]] = []

    def look(routes: Iterable[Any], prefix: str) -> None:
        for route in routes:
            if (router := getattr(route, "original_router", None)) is not None:
                look(router.routes, prefix + route.include_context.prefix)
            for method in sorted(getattr(route, "methods", None) or ()):
                if method not in ("GET", "HEAD"):
                    found.append((method, prefix + route.path.replace("{project_id}", "lab")))

    look(open_app.app.router.routes, "")
    assert {"/v1/projects", "/mcp", "/login", "/projects/~new"} <= {path for _, path in found}
    return found


def media_types(path: str) -> tuple[str, ...]:
    if path in ("/login", "/logout") or path.startswith("/projects"):
        return ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
    return ("application/json",)


def pieces() -> Iterator[bytes]:
    for _ in range(HUNDRED // len(PIECE)):
        yield PIECE


@pytest.mark.parametrize("said", ["with a length", "in chunks", "with a length that is not true"])
def test_a_body_of_100_mb_is_refused_early(
    open_app: Server, routes: list[tuple[str, str]], said: str
) -> None:
    for method, path in routes:
        for media_type in media_types(path):
            headers = [(b"content-type", media_type.encode()), (b"accept", b"*/*")]
            if path == "/mcp":
                headers[1] = (b"accept", b"application/json, text/event-stream")
            if said == "with a length":
                headers.append((b"content-length", str(HUNDRED).encode()))
            elif said != "in chunks":
                headers.append((b"content-length", b"10"))
            tracemalloc.start()
            answer = open_app.ask(method, path.encode(), headers=headers, body=pieces())
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            case = f"{method} {path} {media_type} {said}"
            # a route that takes no body need not look at one
            takes_none = method == "DELETE" or path.endswith("/delete") or path == "/logout"
            refused = (413, 415) if answer.heard == 0 else (413,)
            assert answer.status in refused or (takes_none and answer.heard == 0), case
            assert answer.heard <= (0 if said == "with a length" else LARGEST_BODY + len(PIECE)), (
                case
            )
            assert most < 8 * LARGEST_BODY, case


def test_nobody_without_the_token_is_listened_to(
    token_app: Server, routes: list[tuple[str, str]]
) -> None:
    for method, path in routes:
        answer = token_app.ask(method, path.encode(), body=pieces())
        if path == "/login":
            assert answer.heard <= LARGEST_BODY + len(PIECE)
        else:
            assert (answer.status, answer.heard) == (401, 0), path


@pytest.mark.timeout(300)
def test_a_running_server_does_not_grow_with_what_it_is_sent(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server, server.client() as client:
        assert client.get("/v1/projects").status_code == 200
        before = resident(server.process.pid)
        kind = {"content-type": "application/json"}
        # it may hang up on us while we go on, which is as good
        with suppress(httpx.TransportError):
            answer = client.post("/v1/projects", content=pieces(), headers=kind)
            assert answer.status_code == 413
        assert client.get("/v1/projects").status_code == 200
        assert resident(server.process.pid) - before < 32 << 20
        assert server.stop() == 0
        assert "Traceback" not in server.log()


def resident(pid: int) -> int:
    """Bytes that a process has had in memory at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_the_problem_says_how_large_a_body_may_be(open_app: Server) -> None:
    answer = open_app.ask(
        "POST", b"/v1/projects", headers=[(b"content-type", b"application/json")], body=pieces()
    )
    said = json.loads(answer.body)
    assert said["status"] == 413
    assert str(LARGEST_BODY) in said["detail"]
