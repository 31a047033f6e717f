"""Nobody holds the server up: who sends nothing, too slowly, too much, or does not read."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from attack.served import SECONDS, everything, served
from support.web_server import TOKEN, web_server, write_config

from livekit_plugins_voicegateway.server import guards
from livekit_plugins_voicegateway.server.connections import MOST_CONNECTIONS, Connections
from livekit_plugins_voicegateway.server.guards import LARGEST_HEADERS, LONGEST_ADDRESS
from livekit_plugins_voicegateway.server.sessions import Sessions, TryLimit

SHORT = 0.2
"""Seconds of a limit that a test waits for; the rest of the limits are far away."""

SOME = 2.0
"""The same where a test has to do something before the limit, on a busy machine too."""


def test_who_sends_nothing_is_hung_up_on() -> None:
    with served(Connections(silence=SHORT)) as server, server.connect() as connection:
        assert everything(connection) == b""


def test_who_sends_a_head_without_an_end_is_told_and_hung_up_on() -> None:
    with served(Connections(silence=SOME)) as server, server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert everything(connection).startswith(b"HTTP/1.1 408 ")


def test_a_head_may_not_come_a_byte_at_a_time_for_ever() -> None:
    with served(Connections(silence=SHORT)) as server, server.connect() as connection:
        connection.settimeout(SHORT / 10)
        sent = 0
        answer = b""
        # a byte whenever there was no answer for a while: each comes before the limit
        while not answer and sent < 100_000:
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nX: "[sent : sent + 1] or b"x")
                sent += 1
                answer = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
        assert sent < 100_000
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_who_was_answered_has_to_ask_again_or_go() -> None:
    with served(Connections(silence=SOME)) as server, server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET / HT")
        assert everything(connection).startswith(b"HTTP/1.1 408 ")


def test_a_request_that_takes_long_is_not_hung_up_on() -> None:
    with served(Connections(silence=SOME)) as server, server.connect() as connection:
        connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"retry" not in connection.recv(65536):
            pass
        connection.settimeout(SOME * 2)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with (
        served(Connections(), longest_body=SHORT) as server,
        server.connect() as connection,
    ):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123")
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer


def test_an_answer_that_nobody_reads_is_given_up() -> None:
    with served(Connections(stall=SHORT)) as server, server.connect() as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert server.began.wait(SECONDS)
        assert server.left.wait(SECONDS)


def test_an_answer_that_is_read_may_take_as_long_as_it_likes() -> None:
    with served(Connections(stall=SOME)) as server, server.connect() as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        enough = time.monotonic() + SOME * 1.5
        while time.monotonic() < enough:
            assert connection.recv(1 << 20)
        assert not server.left.is_set()


def test_the_longest_silent_one_makes_place_for_who_comes() -> None:
    with served(Connections(most=3)) as server:
        silent = [server.connect() for _ in range(3)]
        assert server.ask(body=b"here").endswith(b"here")
        assert everything(silent[0]) == b""
        # the others are still there, and are answered
        silent[1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert everything(silent[1]).startswith(b"HTTP/1.1 200 ")
        for connection in silent:
            connection.close()


def test_who_is_being_answered_makes_no_place() -> None:
    with served(Connections(most=2)) as server:
        following = [server.connect() for _ in range(2)]
        for connection in following:
            connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        with server.connect() as late:
            assert everything(late).startswith(b"HTTP/1.1 503 ")
        for connection in following:
            connection.close()


def test_streams_are_limited_and_the_place_of_one_that_left_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "MOST_STREAMS", 2)
    ask = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served(Connections()) as server:
        following = [server.connect() for _ in range(2)]
        for connection in following:
            connection.sendall(ask)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        refused = server.ask("/v1/events")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too-many-streams" in refused
        assert server.ask(body=b"others").endswith(b"others")
        following.pop().close()
        while True:
            with server.connect() as connection:
                connection.sendall(ask)
                if connection.recv(65536).startswith(b"HTTP/1.1 200 "):
                    break
        following.pop().close()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/" + "x" * LONGEST_ADDRESS, "", 414),
        ("/?" + "x" * LONGEST_ADDRESS, "", 414),
        ("/", f"X-Large: {'x' * LARGEST_HEADERS}\r\n", 431),
        ("/", "".join(f"X-{n}: {'x' * 100}\r\n" for n in range(400)), 431),
        ("/", f"X-Large: {'x' * (1 << 20)}\r\n", 400),
        ("/", f"X-Large: {'x' * (LARGEST_HEADERS - 200)}\r\n", 200),
    ],
)
def test_an_address_and_headers_have_a_size(path: str, headers: str, status: int) -> None:
    with served(Connections()) as server:
        try:
            answer = server.ask(path, headers=headers)
        except ConnectionError:
            # hung up on while it was being sent
            assert status == 400
            return
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) or (status == 400 and not answer)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}\r\n"


def statuses(answers: list[bytes]) -> list[int]:
    return [int(answer.split()[1]) for answer in answers]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path)
    return tmp_path


def test_wrong_tokens_are_slowed_down_and_the_right_one_never(folder: Path) -> None:
    with web_server(folder, env={"VOICEGW_TOKEN": TOKEN}) as server, server.client() as client:

        def tried(token: str) -> httpx.Response:
            return client.get("/v1/costs", headers={"authorization": f"Bearer {token}"})

        tries = [tried(f"wrong-{n}") for n in range(25)]
        assert [answer.status_code for answer in tries] == [401] * 20 + [429] * 5
        assert 0 < int(tries[-1].headers["retry-after"]) <= 60
        # of another client behind the same proxy, say
        assert tried(TOKEN).status_code == 200
        assert server.stop() == 0
        assert server.log().count("too many wrong tokens from 127.0.0.1") == 1


def test_a_token_that_could_be_found_by_trying_cannot() -> None:
    with served(Connections(), sessions=Sessions("short", lambda: 0.0)) as server:
        tries = [server.ask(headers=bearer(f"wrong-{n}")) for n in range(20)]
        assert statuses(tries) == [401] * 20
        # also the right one is not looked at now
        assert statuses([server.ask(headers=bearer("short"))]) == [429]


def test_tries_at_the_same_time_are_no_more_than_one_after_another(folder: Path) -> None:
    with web_server(folder, env={"VOICEGW_TOKEN": TOKEN}) as server:

        def log_in(number: int) -> int:
            with server.client() as client:
                return client.post("/login", data={"token": f"wrong-{number}"}).status_code

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(log_in, range(64)))
    assert answers.count(401) == 5
    assert answers.count(429) == 59


def test_what_is_remembered_of_tries_is_bounded() -> None:
    now = 0.0
    limit = TryLimit(lambda: now, per_client=5, in_all=50, window=60.0)
    for number in range(10_000):
        limit.failed(f"2001:db8:{number % 65_536:x}::1")
        now += 2.0
    kept = sum(len(getattr(limit, name)) for name in ("_tries", "_tries_of"))
    assert kept <= 100


def test_an_ipv6_network_is_one_client() -> None:
    limit = TryLimit(lambda: 0.0, per_client=3)
    for number in range(3):
        limit.failed(f"2001:db8::{number:x}")
    assert limit.wait("2001:db8::ffff") == 60
    assert limit.wait("2001:db8:0:1::1") == 0
    for _ in range(3):
        limit.failed("::ffff:192.0.2.7")
    assert limit.wait("192.0.2.7") == 60


def test_a_session_that_was_ended_does_not_come_back_with_a_restart(folder: Path) -> None:
    env = {"VOICEGW_TOKEN": TOKEN}
    with web_server(folder, env=env) as server, server.client() as browser:
        browser.headers["origin"] = server.url
        browser.post("/login", data={"token": TOKEN})
        kept = {"cookie": f"voicegw_session={browser.cookies['voicegw_session']}"}
        assert browser.get("/v1/costs").status_code == 200
        browser.post("/logout")
        assert browser.get("/v1/costs", headers=kept).status_code == 401
        server.stop()
    with web_server(folder, env=env) as server, server.client() as again:
        assert again.get("/v1/costs", headers=kept).status_code == 401


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="NOT TESTED: needs /proc")
def test_connections_that_send_nothing_keep_nobody_from_being_answered(folder: Path) -> None:
    silent: list[socket.socket] = []
    with web_server(folder) as server, server.client() as client:
        assert client.get("/health").status_code == 200
        before = open_files(server.process.pid)
        host, _, port = server.host.rpartition(":")
        try:
            while len(silent) < MOST_CONNECTIONS + 88:
                silent.append(socket.create_connection((host, int(port)), timeout=SECONDS))
                if len(silent) % 50 == 0:
                    with server.client() as other:
                        assert other.get("/health").status_code == 200
            assert open_files(server.process.pid) - before <= MOST_CONNECTIONS
        finally:
            for connection in silent:
                connection.close()
