"""The login page and its cookie, as a browser uses them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from support.machine import PATIENCE
from support.web_server import TOKEN, WebServer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from livekit_plugins_voicegateway.server.access import Access
from livekit_plugins_voicegateway.server.sessions import LIFETIME, Sessions, TryLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def browser(token_server: WebServer) -> Iterator[httpx.Client]:
    """Sends what a browser sends with every request of our own pages."""
    with token_server.client() as client:
        client.headers.update({"accept": "text/html", "sec-fetch-site": "same-origin"})
        yield client


def log_in(browser: httpx.Client, **form: str) -> httpx.Response:
    return browser.post(
        "/login",
        data={"token": TOKEN, **form},
        headers={"origin": str(browser.base_url).rstrip("/")},
    )


def test_a_person_without_a_session_is_sent_to_the_login_page_and_back(
    browser: httpx.Client,
) -> None:
    sent = browser.get("/v1/logs?project=prod&limit=5")
    assert sent.status_code == 303
    page = browser.get(sent.headers["location"])
    assert 'value="/v1/logs?project=prod&amp;limit=5"' in page.text
    back = log_in(browser, next="/v1/logs?project=prod&limit=5")
    assert back.headers["location"] == "/v1/logs?project=prod&limit=5"
    assert browser.get(back.headers["location"]).status_code == 200


def test_what_was_asked_for_is_asked_again_as_it_was_written(browser: httpx.Client) -> None:
    sent = browser.get("/calls/what%3Fnow%41?room=x%26y")
    page = browser.get(sent.headers["location"])
    assert 'value="/calls/what%3Fnow%41?room=x%26y"' in page.text


def test_the_cookie_is_no_token_and_out_of_the_reach_of_scripts(browser: httpx.Client) -> None:
    cookie = SimpleCookie(log_in(browser).headers["set-cookie"])["voicegw_session"]
    assert TOKEN not in cookie.value
    assert cookie["httponly"]
    assert cookie["samesite"].lower() == "strict"
    assert cookie["max-age"] == str(LIFETIME)
    assert not cookie["secure"]


def test_cookies_of_other_programs_on_this_machine_are_no_hindrance(
    browser: httpx.Client,
) -> None:
    log_in(browser)
    ours = f"voicegw_session={browser.cookies['voicegw_session']}"
    others = f'a[b]=c; {{"j": 1}}; =x; {ours}; z=ä'.encode()
    assert browser.get("/v1/costs", headers=[(b"cookie", others)]).status_code == 200


def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_only(browser: httpx.Client) -> None:
    answer = browser.post(
        "/login",
        data={"token": TOKEN},
        headers={"host": "voice.example", "origin": "https://voice.example"},
    )
    assert SimpleCookie(answer.headers["set-cookie"])["voicegw_session"]["secure"]


def test_after_the_log_out_the_cookie_is_worth_nothing(browser: httpx.Client) -> None:
    log_in(browser)
    kept = browser.cookies["voicegw_session"]
    assert browser.get("/v1/costs").status_code == 200
    left = browser.post("/logout")
    assert left.headers["location"] == "/login"
    assert "voicegw_session" not in browser.cookies
    again = browser.get("/v1/costs", headers={"cookie": f"voicegw_session={kept}"})
    assert again.headers["location"].startswith("/login")


def test_a_change_with_a_cookie_needs_the_browsers_word_that_it_is_ours(
    browser: httpx.Client,
) -> None:
    log_in(browser)
    del browser.headers["sec-fetch-site"]
    project = {"project_id": "prod"}
    assert browser.post("/v1/projects", json=project).status_code == 401
    ours = str(browser.base_url).rstrip("/")
    for headers in ({"origin": ours}, {"sec-fetch-site": "same-origin"}):
        # it is let through, and then refused for what it is
        assert browser.post("/v1/projects", json=project, headers=headers).status_code == 409


@pytest.mark.parametrize(
    "there",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "evil", ""],
)
def test_after_the_login_nobody_is_sent_to_another_site(browser: httpx.Client, there: str) -> None:
    assert log_in(browser, next=there).headers["location"] == "/"


def test_what_is_in_the_address_is_shown_as_text(browser: httpx.Client) -> None:
    page = browser.get("/login", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>" not in page.text.replace("<script src=", "")


def test_a_program_gets_a_problem_and_htmx_is_sent_to_the_login_page(
    token_server: WebServer,
) -> None:
    with token_server.client() as client:
        answer = client.get("/v1/costs", headers={"hx-request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login"
    assert answer.json()["status"] == 401


def test_wrong_tokens_are_limited_and_bearers_are_not(folder: object, book: object) -> None:
    from pathlib import Path

    from support.web_server import web_server

    assert isinstance(folder, Path)
    with web_server(folder, env={"VOICEGW_TOKEN": TOKEN}) as server, server.client() as client:
        tries = [client.post("/login", data={"token": f"wrong{n}"}).status_code for n in range(6)]
        assert tries == [401] * 5 + [429]
        stopped = client.post("/login", data={"token": TOKEN})
        assert stopped.status_code == 429
        assert 0 < int(stopped.headers["retry-after"]) <= 60
        good = client.get("/v1/costs", headers={"authorization": f"Bearer {TOKEN}"})
        assert good.status_code == 200


def test_tries_are_counted_by_address_and_altogether() -> None:
    clock = Clock()
    limit = TryLimit(clock, per_client=2, in_all=5, window=60)
    for who in ("a", "a", "b"):
        assert limit.wait(who) == 0
        limit.failed(who)
        clock.now += 10
    assert limit.wait("a") == 30
    assert limit.wait("b") == 0
    limit.failed("c")
    limit.failed("d")
    assert limit.wait("e") == 30
    clock.now += 30
    assert limit.wait("e") == 0
    assert limit.wait("a") == 0


def test_a_session_ends_by_itself_and_with_the_server() -> None:
    clock = Clock()
    sessions = Sessions(TOKEN, clock)
    value = sessions.begin()
    assert sessions.is_open(value)
    # a new process knows nothing of log-outs, and so of no session that there was before
    assert not Sessions(TOKEN, clock).is_open(value)
    clock.now += LIFETIME
    assert not sessions.is_open(value)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: "9" + v,
        lambda v: v[:-1],
        lambda v: v + "0",
        lambda _: "",
        lambda _: "..",
        lambda _: "é.x.y",
    ],
)
def test_a_cookie_that_was_changed_is_none(change: object) -> None:
    assert callable(change)
    sessions = Sessions(TOKEN, Clock())
    assert not sessions.is_open(change(sessions.begin()))


SESSIONS = Sessions(TOKEN, Clock())


@pytest.fixture
def socket_url() -> Iterator[str]:
    """A WebSocket behind the same middleware, on a real uvicorn."""

    async def greet(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("welcome")
        await socket.close()

    inner = Starlette(routes=[WebSocketRoute("/ws", greet)])
    server = uvicorn.Server(
        uvicorn.Config(
            Access(inner, SESSIONS),
            port=0,
            lifespan="off",
            log_config=None,
            ws="websockets-sansio",
        )
    )
    ready = threading.Event()

    async def serve() -> None:
        started = server.startup

        async def startup(sockets: object = None) -> None:
            await started()
            ready.set()

        server.startup = startup  # type: ignore[method-assign]
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(PATIENCE)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"ws://127.0.0.1:{port}/ws"
    server.should_exit = True
    thread.join(PATIENCE)


def test_a_websocket_is_let_in_with_the_token_only(socket_url: str) -> None:
    cookie = f"voicegw_session={SESSIONS.begin()}"
    origin = socket_url.replace("ws://", "http://").removesuffix("/ws")
    bearer = {"Authorization": f"Bearer {TOKEN}"}

    refusals: list[str] = []

    def status(**headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with connect(socket_url, additional_headers=sent, proxy=None) as socket:
                assert socket.recv() == "welcome"
                return 101
        except InvalidStatus as refused:
            refusals.append(refused.response.headers["Content-Type"])
            return refused.response.status_code

    assert status(**bearer) == 101
    assert status() == 401
    assert status(Authorization="Bearer wrong") == 401
    assert status(**bearer, Origin="https://evil.example") == 403
    # a socket is not only read from: with a cookie it needs our own page
    assert status(Cookie=cookie) == 401
    assert status(Cookie=cookie, Origin=origin) == 101
    assert status(Cookie=cookie, Origin="http://127.0.0.1:3000") == 403
    assert set(refusals) == {"application/problem+json"}
