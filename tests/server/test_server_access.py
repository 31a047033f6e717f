"""Who may ask: every route of the server, asked by everybody who might."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount
from support.command_line import Book
from support.machine import PATIENCE
from support.web_server import TOKEN, WebServer

from livekit_plugins_voicegateway.server.access import OPEN_PATHS, is_open
from livekit_plugins_voicegateway.server.app import create_app
from livekit_plugins_voicegateway.server.hosts import is_cross_site, is_loopback_host

GOOD = {"authorization": f"Bearer {TOKEN}"}


def walk(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every path with each of its methods; of a mount whatever is below it."""
    from fastapi.routing import iter_route_contexts

    for context in iter_route_contexts(routes):
        route: Any = context.original_route
        if isinstance(route, Mount):
            yield "GET", f"{prefix}{route.path}/"
            yield "POST", f"{prefix}{route.path}/"
            continue
        for method in sorted(context.methods or {"WEBSOCKET"}):
            yield method, f"{prefix}{context.path}"


def every_route(app: FastAPI) -> list[tuple[str, str]]:
    found = sorted(set(walk(app.routes)))
    paths = {path for _, path in found}
    # what must be among them, lest the walk miss something
    assert {"/v1/costs", "/health", "/openapi.json", "/login", "/v1/events"} <= paths
    return [(method, path) for method, path in found]


@pytest.fixture(scope="module")
def routes(book: Book) -> list[tuple[str, str]]:
    found = every_route(create_app(book.config))
    return [(method, filled(path)) for method, path in found]


def filled(path: str) -> str:
    """A path with something in place of its parameters."""
    parts = [
        "x" if part.startswith("{") else part
        for part in path.replace("{room:path}", "x").split("/")
    ]
    return "/".join(parts)


def status(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> int:
    if method == "WEBSOCKET":
        method = "GET"
        headers = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            **headers,
        }
    # the beginning is enough: a stream has no end
    with client.stream(method, path, headers=headers) as answer:
        return answer.status_code


EVERYBODY = {
    "no token": {},
    "a wrong token": {"authorization": f"Bearer {TOKEN[:-1]}3"},
    "another scheme": {"authorization": f"Basic {TOKEN}"},
    "no cookie of ours": {"cookie": "voicegw_session=9999999999.x.0123456789abcdef"},
    "two headers' worth": {"authorization": f"Bearer {TOKEN}, Bearer {TOKEN}"},
}


@pytest.mark.parametrize("who", EVERYBODY)
def test_no_route_of_a_server_with_a_token_answers_without_it(
    token_server: WebServer, routes: list[tuple[str, str]], who: str
) -> None:
    with token_server.client() as client:
        answered = {
            (method, path)
            for method, path in routes
            if not is_open(path)
            # who has shown many wrong tokens is asked to wait instead
            and status(client, method, path, EVERYBODY[who]) not in (401, 429)
        }
    assert answered == set()


def test_a_server_with_a_token_answers_whoever_has_it(
    token_server: WebServer, routes: list[tuple[str, str]]
) -> None:
    with token_server.client(headers=GOOD) as client:
        refused = {
            (method, path)
            for method, path in routes
            if status(client, method, path, {}) in (401, 403)
        }
    # a login form without the token in it is refused whoever sends it
    assert refused <= {("POST", "/login")}


def test_what_is_open_is_health_and_the_way_in(token_server: WebServer) -> None:
    assert {"/health", "/login"} <= OPEN_PATHS
    with token_server.client() as client:
        assert client.get("/health").json()["status"] == "ok"
        assert "password" in client.get("/login").text


OTHER_SITES = {
    "another name": {"origin": "https://evil.example"},
    "another port": {"origin": "http://127.0.0.1:3000"},
    "a file": {"origin": "null"},
    "an image of another site": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    "a script of a site beside us": {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    "a frame of another site": {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "iframe",
    },
}


@pytest.mark.parametrize("where", OTHER_SITES)
def test_no_route_answers_a_page_of_another_site(
    open_server: WebServer,
    token_server: WebServer,
    routes: list[tuple[str, str]],
    where: str,
) -> None:
    for server in (open_server, token_server):
        with server.client(headers=GOOD) as client:
            answered = {
                (method, path)
                for method, path in routes
                if status(client, method, path, OTHER_SITES[where]) != 403
            }
        assert answered == set()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example#127.0.0.1",
        "127.0.0.1@evil.example",
        "192.168.1.7:8080",
        "[::2]",
        "",
    ],
)
def test_no_route_without_a_token_answers_under_another_name(
    open_server: WebServer, routes: list[tuple[str, str]], host: str
) -> None:
    with open_server.client() as client:
        answered = {
            (method, path)
            for method, path in routes
            if status(client, method, path, {"host": host}) != 403
        }
    assert answered == set()


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "127.8.9.1", "[::1]:8"])
def test_every_route_without_a_token_answers_this_machine(
    open_server: WebServer, routes: list[tuple[str, str]], host: str
) -> None:
    with open_server.client() as client:
        refused = {
            (method, path)
            for method, path in routes
            if status(client, method, path, {"host": host, "origin": f"http://{host}"})
            in (401, 403)
        }
    assert refused == set()


@pytest.mark.parametrize("said", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"])
def test_no_route_without_a_token_answers_through_a_proxy(
    open_server: WebServer,
    token_server: WebServer,
    routes: list[tuple[str, str]],
    said: str,
) -> None:
    # such a proxy is on this machine, and may give the server any Host that it likes
    with open_server.client() as client:
        answered = {
            (method, path)
            for method, path in routes
            if status(client, method, path, {said: "203.0.113.7"}) != 403
        }
    assert answered == set()
    with token_server.client(headers=GOOD) as client:
        assert client.get("/v1/costs", headers={said: "203.0.113.7"}).status_code == 200


def test_two_hosts_are_none(open_server: WebServer) -> None:
    name, _, port = open_server.host.rpartition(":")
    with socket.create_connection((name, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(
            b"GET /v1/costs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
            b"Connection: close\r\n\r\n"
        )
        answer = connection.recv(65536)
    assert answer.split()[1] in (b"400", b"403")


def test_a_link_that_somebody_follows_is_no_request_of_another_site(open_server: WebServer) -> None:
    followed = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    with open_server.client(headers=followed) as client:
        assert client.get("/v1/costs").status_code == 200
        assert client.post("/v1/projects", json={"project_id": "x"}).status_code == 403


@pytest.mark.parametrize("bad", ["127.0.0.1:8080/x", "a:b:c", "127.0.0.1:x", "u@127.0.0.1", "[::1"])
def test_what_is_no_host_is_not_this_machine(bad: str) -> None:
    assert not is_loopback_host(bad)


@pytest.mark.parametrize(
    ("origin", "cross"),
    [
        ("http://voice.example", False),
        ("https://voice.example", False),
        ("https://VOICE.example", False),
        ("https://voice.example:8443", True),
        ("https://voice.example.evil.example", True),
        ("ftp://voice.example", True),
        ("voice.example", True),
        ("", True),
        ("null", True),
    ],
)
def test_only_the_name_that_was_asked_is_the_same_site(origin: str, cross: bool) -> None:
    headers = [(b"host", b"voice.example"), (b"origin", origin.encode())]
    scope = {"type": "http", "method": "GET", "headers": headers}
    assert is_cross_site(scope) is cross


async def test_without_a_token_a_client_on_another_machine_is_refused(book: Book) -> None:
    app = create_app(book.config)
    for client, status in (("192.0.2.7", 403), ("127.0.0.1", 404), ("::ffff:127.0.0.1", 404)):
        transport = httpx.ASGITransport(app, client=(client, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
            assert (await asking.get("/nothing")).status_code == status


def test_every_answer_has_the_headers_that_keep_a_browser_to_us(token_server: WebServer) -> None:
    with token_server.client() as client:
        answers = [
            client.get("/v1/costs"),
            client.get("/v1/costs", headers=GOOD),
            client.get("/nothing", headers=GOOD),
            client.get("/login"),
            client.post("/v1/projects", headers={"origin": "https://evil.example"}),
        ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_a_refusal_is_a_problem_that_says_what_to_do(token_server: WebServer) -> None:
    with token_server.client() as client:
        answer = client.get("/v1/costs")
    assert answer.headers["www-authenticate"] == 'Bearer realm="voicegw"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert "VOICEGW_TOKEN" in answer.json()["detail"]


def test_the_token_is_in_no_answer_and_in_no_log(folder: Path) -> None:
    from support.web_server import web_server

    with web_server(folder, env={"VOICEGW_TOKEN": TOKEN}) as server:
        with server.client() as client:
            said = [
                client.get("/login").text,
                client.post("/login", data={"token": TOKEN}).text,
                str(client.cookies),
                client.get("/v1/costs", headers={"authorization": f"Bearer {TOKEN}x"}).text,
                client.get(f"/nothing?token={TOKEN}", headers=GOOD).text,
                client.get("/openapi.json", headers=GOOD).text,
            ]
        assert server.stop() == 0
        said.append(server.log())
    assert TOKEN not in "".join(said)
