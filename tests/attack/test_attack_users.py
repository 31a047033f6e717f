"""Another user of the machine, and another host on the network: neither gets anything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.routing import iter_route_contexts
from support.web_server import TOKEN, WebServer, plain_environment, web_server, write_config

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.server.access import is_open
from livekit_plugins_voicegateway.server.app import create_app
from livekit_plugins_voicegateway.server.peers import can_tell_users, owner_of

NOBODY = 65534

ASK = """
import json, socket, sys

def ask(host, port, method, path, said):
    with socket.create_connection((host, port), timeout=20) as connection:
        head = f"{method} {path} HTTP/1.1\\r\\nHost: {said}\\r\\nConnection: close\\r\\n"
        connection.sendall((head + "Content-Length: 0\\r\\n\\r\\n").encode())
        answer = connection.makefile("rb").readline()
    return int(answer.split()[1])

host, port, said, routes = json.loads(sys.argv[1])
try:
    print(json.dumps([[*route, ask(host, port, *route, said)] for route in routes]))
except OSError as error:
    print(json.dumps(type(error).__name__))
"""
"""Runs in another user's process, or on another host: nothing but Python itself."""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT TESTED: needs Linux")
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="NOT TESTED: only root can be another user, or make another host",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def routes(folder: Path) -> list[tuple[str, str]]:
    """Every route of the server, with something in place of the parameters."""
    app = create_app(load_config(folder / "voicegw.yaml", env=plain_environment(folder)))
    found: set[tuple[str, str]] = set()
    for context in iter_route_contexts(app.routes):
        path = "/".join("x" if "{" in part else part for part in (context.path or "").split("/"))
        found |= {(method, path) for method in context.methods or {"GET"}}
    assert {("GET", "/v1/costs"), ("GET", "/v1/events"), ("POST", "/mcp")} <= found
    return sorted(found)


def asked(
    where: Sequence[object], routes: Sequence[object], *before: str, user: int | None = None
) -> object:
    """What a process elsewhere is answered for each route."""
    done = subprocess.run(
        [*before, "/usr/bin/env", "python3", "-c", ASK, json.dumps([*where, routes])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        user=user,
        cwd="/",
        env={"PATH": os.environ["PATH"] if user is None else "/usr/local/bin:/usr/bin:/bin"},
    )
    return json.loads(done.stdout)


def place(server: WebServer) -> tuple[str, int]:
    host, _, port = server.host.rpartition(":")
    return host, int(port)


@linux
@root
def test_another_user_of_the_machine_gets_nothing_from_a_server_without_a_token(
    folder: Path, routes: list[tuple[str, str]]
) -> None:
    with web_server(folder) as server:
        host, port = place(server)
        mine = asked((host, port, "localhost"), [["GET", "/v1/costs"]])
        answers = asked((host, port, "localhost"), routes, user=NOBODY)
    assert mine == [["GET", "/v1/costs", 200]]
    assert isinstance(answers, list)
    assert len(answers) == len(routes)
    assert {status for *_, status in answers} == {403}


@linux
def test_a_connection_whose_owner_has_left_is_nobodys() -> None:
    assert can_tell_users()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        ours, _ = listener.accept()
        ends = client.getsockname(), listener.getsockname()
        assert owner_of(*ends) == "ours"
        # its row now says that it is root's
        client.close()
        assert owner_of(*ends) == "unknown"
        ours.close()


@linux
@pytest.mark.parametrize(
    ("family", "bound", "called"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.2", "127.0.0.2"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET, "127.0.0.1", "::ffff:127.0.0.1"),
    ],
)
def test_ones_own_connections_are_known_however_they_are_made(
    family: socket.AddressFamily, bound: str, called: str
) -> None:
    kind = socket.AF_INET6 if ":" in called else socket.AF_INET
    try:
        listener = socket.create_server((bound, 0), family=family)
    except OSError:
        pytest.skip(f"NOT TESTED: this machine has no {bound}")
    with closing(listener), closing(socket.socket(kind)) as client:
        client.settimeout(10)
        client.connect((called, listener.getsockname()[1]))
        accepted, peer = listener.accept()
        with closing(accepted):
            assert owner_of(peer[:2], accepted.getsockname()[:2]) == "ours"


@pytest.fixture
def other_host() -> Iterator[tuple[str, str]]:
    """A second host on a network with this machine: our address there, and its name."""
    name = f"vg{uuid4().hex[:8]}"
    outside, inside = f"{name[:9]}o", f"{name[:9]}i"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)

    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NOT TESTED: no network namespaces on this machine")
    try:
        ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        ip("link", "set", inside, "netns", name)
        ip("addr", "add", "198.51.100.1/30", "dev", outside)
        ip("link", "set", outside, "up")
        for command in (
            ("addr", "add", "198.51.100.2/30", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
            # what is sent to our loopback addresses comes to us over the network
            ("addr", "del", "127.0.0.1/8", "dev", "lo"),
            ("route", "add", "127.0.0.0/8", "via", "198.51.100.1"),
        ):
            ip("-n", name, *command)
        yield "198.51.100.1", name
    except subprocess.CalledProcessError as error:
        pytest.skip(f"NOT TESTED: no second host can be made here: {error.stderr!r}")
    finally:
        for command in (["netns", "del", name], ["link", "del", outside]):
            subprocess.run(["ip", *command], check=False, capture_output=True, timeout=20)


@linux
@root
def test_another_host_does_not_reach_a_server_without_a_token(
    folder: Path, other_host: tuple[str, str]
) -> None:
    address, name = other_host
    within = ("ip", "netns", "exec", name)
    with web_server(folder) as server:
        _, port = place(server)
        for host in (address, "127.0.0.1"):
            answer = asked((host, port, "localhost"), [["GET", "/health"]], *within)
            # nobody listens there, or packets for a loopback address are not taken from outside
            assert answer in ("ConnectionRefusedError", "TimeoutError", "OSError")


@linux
@root
def test_another_host_gets_nothing_without_the_token(
    folder: Path, routes: list[tuple[str, str]], other_host: tuple[str, str]
) -> None:
    address, name = other_host
    within = ("ip", "netns", "exec", name)
    env = {"VOICEGW_TOKEN": TOKEN}
    with web_server(folder, "--host", "0.0.0.0", env=env) as server:
        _, port = place(server)
        for said in ("localhost", f"{address}:{port}"):
            answers = asked((address, port, said), routes, *within)
            assert isinstance(answers, list)
            open_to_all = {(m, p) for m, p, status in answers if status not in (401, 405)}
            assert {path for _, path in open_to_all if not is_open(path)} == set()
            assert ("GET", "/health") in open_to_all
