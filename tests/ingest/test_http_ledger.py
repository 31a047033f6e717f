"""The ledger as a worker has it: it answers as the database behind the server would."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import math
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import Phase, given, settings, strategies as st
from serving_workers import SERVER_TOKEN, WORKERS_TOKEN, ledger_of, serving_here
from support.usage_rows import DAY, NOON, usage_row
from support.web_server import WebServer

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import Ledger, make_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.http import HttpLedger
from livekit_plugins_voicegateway.ledger.http_rows import (
    MOST_ROWS,
    bodies_of,
    encode_row,
    read_rows,
)
from livekit_plugins_voicegateway.ledger.projects import ManagedRow, ProjectChange
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.ledger.urls import with_token
from livekit_plugins_voicegateway.metering.usage import UsageRow

BUDGET = 1_000


class Clock:
    """Unix time that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[str]:
    """A server in this process, whose time the tests set."""
    with serving_here(tmp_path_factory.mktemp("here"), clock) as url:
        yield url


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger on a file, which gets the same questions."""
    return tmp_path_factory.mktemp("beside") / "voicegw.db"


def sent(*rows: UsageRow) -> list[UsageRow]:
    """Rows as the server reads them."""
    found: list[UsageRow] = []
    for body in bodies_of(map(encode_row, rows)):
        some, problems = read_rows(json.loads(body, parse_float=Decimal))
        assert problems == []
        found += some
    return found


MOMENTS = st.integers(1_000_000_000, 4_000_000_000_000).map(lambda ms: ms / 1_000)
WHOLE = st.integers(0, 10**15)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
THOUSANDTHS = st.integers(0, 10**9).map(lambda ms: round(ms / 1_000, 3))
ROWS = st.builds(
    UsageRow,
    id=TEXTS.map(lambda text: text[:100]),
    request_id=TEXTS.map(lambda text: text[:100]),
    started_at=MOMENTS,
    ended_at=st.none() | MOMENTS,
    day=st.dates().map(datetime.date.isoformat),
    project=TEXTS.map(lambda text: text[:200]),
    provider=TEXTS.map(lambda text: text[:200]),
    model=TEXTS.map(lambda text: text[:500]),
    requested_model=TEXTS.map(lambda text: text[:500]),
    room=st.none() | TEXTS.map(lambda text: text[:500]),
    audio_seconds=THOUSANDTHS,
    connection_seconds=THOUSANDTHS,
    input_tokens=WHOLE,
    cached_input_tokens=WHOLE,
    output_tokens=WHOLE,
    characters=WHOLE,
    cost_nanos=st.none() | WHOLE,
    ttfb_ms=st.none() | THOUSANDTHS,
    duration_ms=st.none() | THOUSANDTHS,
)


@given(st.lists(ROWS, max_size=3))
def test_a_row_arrives_as_it_was_sent(rows: list[UsageRow]) -> None:
    assert sent(*rows) == rows


@given(
    ROWS,
    st.fixed_dictionaries(
        {},
        optional={
            "audio_seconds": st.floats(),
            "connection_seconds": st.floats(),
            "ttfb_ms": st.floats(),
            "duration_ms": st.floats(),
            "input_tokens": st.integers(),
            "characters": st.integers(),
            "cost_nanos": st.integers(),
            "model": st.text(max_size=20).map(lambda text: text * 40),
            "error": st.text(max_size=20).map(lambda text: text * 300),
            "room": st.sampled_from(["", "\0", "\ud800"]),
        },
    ),
)
def test_no_row_is_sent_that_the_server_would_refuse(row: UsageRow, odd: dict[str, Any]) -> None:
    (found,) = sent(replace(row, **odd))
    assert found.id == row.id
    if any(isinstance(value, float) and not math.isfinite(value) for value in odd.values()):
        assert found.estimated
        assert "metering failed: no number: " in (found.error or "")


def test_more_than_a_request_may_have_is_sent_in_several() -> None:
    rows = [encode_row(usage_row(error="x" * 1_500)) for _ in range(MOST_ROWS + 1)]
    bodies = list(bodies_of(rows))
    assert max(map(len, bodies)) < 1 << 20
    assert sum(len(json.loads(body)["rows"]) for body in bodies) == MOST_ROWS + 1
    assert len(list(bodies_of([encode_row(usage_row())] * MOST_ROWS))) == 1


OWNERS = st.sampled_from(["a", "b", "c"])
DAYS = st.sampled_from([DAY, "2027-01-16"])
NANOS = st.integers(0, 2 * BUDGET) | st.just(10**30)
SECONDS = st.integers(1, 60)
STEPS = st.one_of(
    st.tuples(
        *(st.just("acquire"), OWNERS, DAYS, st.integers(0, 2 * BUDGET), NANOS),
        *(st.sampled_from([1, 4]), SECONDS),
    ),
    st.tuples(st.just("return"), OWNERS, DAYS, NANOS),
    st.tuples(st.just("renew"), OWNERS, SECONDS),
    st.tuples(st.just("spend"), OWNERS, DAYS, st.integers(0, BUDGET)),
    st.tuples(st.just("pass"), SECONDS),
)
PROJECTS = (f"project-{number}" for number in itertools.count())


async def do(ledger: Ledger, clock: Clock, project: str, step: tuple[Any, ...]) -> object:
    match step:
        case "acquire", owner, day, need, want, share, seconds:
            return await ledger.acquire_lease(
                project,
                day,
                f"{project}-{owner}",
                budget_nanos=BUDGET if want < 10**30 else 10**30,
                need_nanos=need,
                want_nanos=want,
                share=share,
                expires_at=clock.now + seconds,
            )
        case "return", owner, day, nanos:
            return await ledger.return_lease(project, day, f"{project}-{owner}", nanos)
        case "renew", owner, seconds:
            return sorted(await ledger.renew_leases(f"{project}-{owner}", clock.now + seconds))
        case "spend", owner, day, nanos, row_id:
            row = usage_row(
                id=row_id, day=day, project=project, owner=f"{project}-{owner}", cost_nanos=nanos
            )
            return await ledger.write([row])
    raise AssertionError(step)


@settings(
    max_examples=15,
    deadline=None,
    # not made smaller: the server goes on with what it has
    phases=[Phase.generate],
)
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_leases_answer_over_http_as_they_do_on_the_file(
    url: str, beside: Path, clock: Clock, steps: list[tuple[Any, ...]]
) -> None:
    project = next(PROJECTS)

    async def both() -> None:
        async with HttpLedger(url, clock=clock) as there, SqliteLedger(beside, clock=clock) as here:
            for number, step in enumerate(steps):
                if step[0] == "pass":
                    clock.now += step[1]
                    continue
                if step[0] == "spend":
                    step = (*step, f"{project}-{number}")
                answers = [await do(ledger, clock, project, step) for ledger in (there, here)]
                assert answers[0] == answers[1]
                for day in (DAY, "2027-01-16"):
                    status = await there.budget_status(project, day)
                    assert status == await here.budget_status(project, day)

    asyncio.run(both())


async def test_a_worker_whose_clock_is_wrong_leases_for_as_long_as_it_wants(
    url: str, clock: Clock
) -> None:
    behind = Clock()
    behind.now = clock.now - 86_400
    async with HttpLedger(url, clock=behind) as ledger:
        asked = {"budget_nanos": 10, "need_nanos": 0, "want_nanos": 10, "share": 1}
        ends = behind.now + 30
        await ledger.acquire_lease("wrong-clock", DAY, "a", expires_at=ends, **asked)
        clock.now += 29
        assert await ledger.budget_status("wrong-clock", DAY) == (0, 10)
        clock.now += 1
        assert await ledger.budget_status("wrong-clock", DAY) == (0, 0)


async def test_what_was_granted_by_an_answer_that_did_not_come_goes_back(
    url: str, clock: Clock
) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    lost = True

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A proxy that hangs up instead of answering, while it has to."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        there, onwards = await asyncio.open_connection(host, int(port))
        onwards.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        onwards.write(await reader.readexactly(length))
        answer = await there.read()
        onwards.close()
        if not lost:
            writer.write(answer)
        writer.close()

    asked: dict[str, Any] = {"budget_nanos": BUDGET, "need_nanos": 0, "want_nanos": 300, "share": 1}
    async with (
        await asyncio.start_server(pass_on, "127.0.0.1", 0) as proxy,
        HttpLedger(url, clock=clock) as ledger,
    ):
        port = str(proxy.sockets[0].getsockname()[1])
        behind, port = HttpLedger(f"http://127.0.0.1:{port}", clock=clock), url.rpartition(":")[2]
        for leased in (300, 0):  # the second question says first that the answer did not come
            with pytest.raises(LedgerError, match="the connection broke"):
                await behind.acquire_lease("unheard", DAY, "a", expires_at=clock.now + 30, **asked)
            assert await ledger.budget_status("unheard", DAY) == (0, leased)
        lost = False
        grant = await behind.acquire_lease("unheard", DAY, "a", expires_at=clock.now + 30, **asked)
        assert grant.granted_nanos == 300
        assert await ledger.budget_status("unheard", DAY) == (0, 300)
        await behind.close()


async def test_projects_made_at_run_time_are_seen_with_what_is_sealed(
    server: WebServer,
) -> None:
    row = ManagedRow(
        *("night", "Night", "", Decimal("12.50"), "block", '["dev"]', "2027-01-15", "2027-01-15"),
        fallback='"none"',
        provider_options='{"openai":["api_key"]}',
        providers="gAAAAAsealed",
    )
    made = ProjectChange("2027-01-15", "cli", None, "created", "night", "[]", None, "{}")
    async with (
        SqliteLedger(server.folder / "voicegw.db") as database,
        ledger_of(server, read_only=True) as ledger,
    ):
        before = await ledger.projects_version()
        assert "night" not in (await ledger.managed_projects()).rows
        assert await database.write_project(row, made, version=before)
        assert await ledger.projects_version() > before
        assert await ledger.managed_projects() == await database.managed_projects()
        assert (await ledger.managed_projects()).rows["night"] == row
        assert "gAAAA" not in repr(await ledger.managed_projects())


async def test_the_server_keeps_order_for_its_workers(server: WebServer) -> None:
    async with ledger_of(server) as ledger:
        old = usage_row(status="open", project="kept", started_at=1.0)
        await ledger.write([old])
        await ledger.housekeeping(retention_days=1, today="2099-01-01")
        assert await ledger.close_stale(0) == 0
        assert await ledger.next_alert() is None
    async with SqliteLedger(server.folder / "voicegw.db", read_only=True) as database:
        (row,) = await database.rows(RowFilter(project="kept"), limit=2)
        assert row.status == "open"


@pytest.mark.parametrize("method", ["costs", "rows", "call_turns", "check_totals", "live_counts"])
async def test_a_report_is_asked_at_the_server_and_the_error_says_so(
    server: WebServer, method: str
) -> None:
    async with ledger_of(server) as ledger:
        with pytest.raises(LedgerError, match="dashboard") as caught:
            await getattr(ledger, method)()
    assert server.url in str(caught.value)


def test_every_method_of_a_ledger_is_there() -> None:
    assert not HttpLedger.__abstractmethods__


async def test_who_only_reads_writes_nothing(server: WebServer) -> None:
    async with ledger_of(server, read_only=True) as ledger:
        assert await ledger.budget_status("prod", DAY)
        for asking in (
            ledger.write([usage_row()]),
            ledger.return_lease("prod", DAY, "a", 1),
            ledger.renew_leases("a", NOON),
        ):
            with pytest.raises(LedgerError, match="for reading only"):
                await asking


async def failure(ledger: Ledger) -> str:
    """What is said when rows cannot be written."""
    with pytest.raises(LedgerError) as caught:
        await ledger.write([usage_row()])
    await ledger.close()
    # what aiohttp raises has the request in it, and the token
    assert not isinstance(caught.value.__context__, aiohttp.ClientError)
    return str(caught.value)


async def test_the_tokens_of_workers_and_of_the_server_are_taken_and_no_other(
    server: WebServer,
) -> None:
    for token in (WORKERS_TOKEN, SERVER_TOKEN):
        async with ledger_of(server, token) as ledger:
            await ledger.write([usage_row()])
    said = await failure(ledger_of(server, "another-token-than-theirs"))
    assert "the token is not the right one: set `database.token`" in said
    assert "another-token" not in said
    assert "it wants a token" in await failure(ledger_of(server, ""))
    assert "characters that cannot be sent" in await failure(ledger_of(server, "two\nlines"))


async def test_a_token_that_is_no_part_of_a_url_is_sent_as_it_is(tmp_path: Path) -> None:
    token = "p@ss/w:rd?#%20"
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.extend(line for line in head.split("\r\n") if line.startswith("Authorization"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        ledger = make_ledger(with_token(f"http://127.0.0.1:{port}/", token))
        assert isinstance(ledger, HttpLedger)
        await ledger.write([usage_row()])
        await ledger.close()
    assert seen == [f"Authorization: Bearer {token}"]
    assert token not in f"{ledger.url} {ledger!r} {vars(ledger)}"


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("302 Found\r\nlocation: http://elsewhere.example/", "it points elsewhere (302)"),
        ("404 Not Found", "it is no VoiceGateway server, or an older one"),
        ("500 Oh", "it answers 500"),
        ("200 OK", "what answers there is no VoiceGateway server"),
        ("", "the connection broke"),
    ],
)
async def test_what_is_no_server_of_ours_is_told_in_plain_words(head: str, said: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if head:
            writer.write(f"HTTP/1.1 {head}\r\ncontent-length: 5\r\n\r\nHello".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert said in await failure(HttpLedger(f"http://127.0.0.1:{port}"))


async def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        said = await failure(HttpLedger(with_token(url, WORKERS_TOKEN)))
    assert said.startswith(f"the ledger's server {url} cannot be used: it cannot be reached")


async def test_a_server_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("livekit_plugins_voicegateway.ledger.http_connection.ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "it did not answer within 0.2 seconds" in await failure(HttpLedger(url))


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for but itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


WRITE = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from support.usage_rows import usage_row
from livekit_plugins_voicegateway.ledger import open_ledger

async def write():
    ledger = await open_ledger(sys.argv[1])
    try:
        await ledger.write([usage_row()])
    finally:
        await ledger.close()

asyncio.run(write())
"""


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    served = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    file = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as listener:
        url = f"https://localhost:{listener.sockets[0].getsockname()[1]}"
        said = await failure(HttpLedger(with_token(url, WORKERS_TOKEN)))
        assert "its certificate cannot be trusted: self" in said
        assert served == []
        # who is told to trust it does: what is trusted is looked up when a process begins
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITE, with_token(url, WORKERS_TOKEN)),
            str(Path(__file__).parents[1]),
            env={**os.environ, "SSL_CERT_FILE": str(file)},
        )
        assert await worker.wait() == 0
    assert len(served) == 1
