"""Clients that hold the server up: who sends nothing, too slowly, does not read, or guesses tokens.

The server is a process of its own, with its real limits; meanwhile somebody asks it what it answers
and how fast.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from .experiment import Experiment, Finding

__all__ = ["experiments", "guess_tokens", "read_nothing", "send_nothing", "send_slowly"]

TOKEN = "0123456789abcdef0123456789abcdef"

CONFIGURATION = "database: {url: 'sqlite:///voicegw.db'}\n"


@dataclass(slots=True)
class Server:
    """``voicegw serve``, and how fast it answered who means well.

    Attributes:
        port: Where it listens.
        pid: The process.
        waits: Seconds that each answer took.
    """

    port: int
    pid: int
    waits: list[float] = field(default_factory=list)

    @property
    def memory(self) -> float:
        """Megabytes that the process has in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    async def ask(self, client: httpx.AsyncClient, token: str = TOKEN) -> int:
        """Ask a question, and note how long it took; the status."""
        began = time.perf_counter()
        answer = await client.get("/v1/costs", headers={"authorization": f"Bearer {token}"})
        self.waits.append(time.perf_counter() - began)
        return answer.status_code

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=60
        )


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Start the server with a token, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "voicegw.yaml").write_text(CONFIGURATION)
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("voicegw"),
            "serve",
            "--port",
            "0",
            cwd=folder,
            env={**os.environ, "VOICEGW_TOKEN": TOKEN},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            line = (await process.stdout.readline()).decode()
            found = re.search(r":(\d+) for", line)
            if found is None:
                raise RuntimeError("the server did not start")
            server = Server(int(found[1]), process.pid)
            async with server.client() as client:
                for _ in range(20):
                    await server.ask(client)
            server.waits.clear()
            yield server
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def send_nothing(quick: bool) -> list[Finding]:
    """Open a thousand connections, and say nothing."""
    count = 600 if quick else 1_000
    async with serving() as server:
        before, files = server.memory, server.open_files
        silent = []
        most = 0
        async with server.client() as client:
            for number in range(count):
                silent.append(await asyncio.open_connection("127.0.0.1", server.port))
                if number % 20 == 0:
                    await server.ask(client)
                    most = max(most, server.open_files - files)
        grown = server.memory - before
        began = time.perf_counter()
        for reader, _ in silent:
            with suppress(ConnectionError):
                await reader.read()
        took = time.perf_counter() - began
        for _, writer in silent:
            writer.close()
    note = f"{most} open at most, {grown:+.1f} MB, all hung up on after {took:.0f} s"
    return [_finding("connections that send nothing", count, server, note)]


async def send_slowly(quick: bool) -> list[Finding]:
    """Send a head a few bytes at a time."""
    count = 50 if quick else 200

    async def dribble(port: int) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.perf_counter()
        writer.write(b"GET /v1/costs HTTP/1.1\r\nHost: localhost\r\n")
        answer = asyncio.create_task(reader.read())
        with suppress(ConnectionError):
            while not answer.done():
                writer.write(b"X-Slow: 1\r\n")
                await asyncio.wait([answer], timeout=1.0)
            await answer
        writer.close()
        return time.perf_counter() - began

    async with serving() as server:
        before = server.memory
        slow = [asyncio.create_task(dribble(server.port)) for _ in range(count)]
        async with server.client() as client:
            while not all(task.done() for task in slow):
                await server.ask(client)
                await asyncio.wait(slow, timeout=0.25)
        longest = max([await task for task in slow])
        grown = server.memory - before
    note = f"each hung up on after {longest:.1f} s at most, {grown:+.1f} MB"
    return [_finding("requests that are sent a line a second", count, server, note)]


async def read_nothing(quick: bool) -> list[Finding]:
    """Ask for much, and read none of it."""
    count = 4 if quick else 20
    head = f"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"

    async with serving() as server:
        before, files = server.memory, server.open_files
        deaf = []
        for _ in range(count):
            connection = socket.socket()
            # so that little of an answer is taken without anybody reading it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(head.encode() * 60)
            deaf.append(connection)
        most = 0.0
        began = time.perf_counter()
        async with server.client() as client:
            while server.open_files - files < count and time.perf_counter() - began < 60:
                await server.ask(client)  # they have not been taken in yet
            while server.open_files - files > 1 and time.perf_counter() - began < 120:
                await server.ask(client)
                most = max(most, server.memory - before)
                await asyncio.sleep(0.5)
        took = time.perf_counter() - began
        for connection in deaf:
            connection.close()
    note = f"all hung up on after {took:.0f} s, {most:+.1f} MB at most"
    return [_finding("answers that nobody reads", count, server, note)]


async def guess_tokens(quick: bool) -> list[Finding]:
    """Try tokens as fast as possible, while somebody else uses the right one."""
    count = 400 if quick else 5_000
    wrong: dict[int, int] = {}

    async def guess(server: Server, numbers: range) -> None:
        async with server.client() as client:
            for number in numbers:
                headers = {"authorization": f"Bearer wrong-{number}"}
                status = (await client.get("/v1/costs", headers=headers)).status_code
                wrong[status] = wrong.get(status, 0) + 1

    right: dict[int, int] = {}
    async with serving() as server:
        before = server.memory
        guessing = [asyncio.create_task(guess(server, range(n, count, 8))) for n in range(8)]
        async with server.client() as client:
            while not all(task.done() for task in guessing):
                status = await server.ask(client)
                right[status] = right.get(status, 0) + 1
                await asyncio.wait(guessing, timeout=0.05)
        await asyncio.gather(*guessing)
        grown = server.memory - before
    said = ", ".join(f"{number} times {status}" for status, number in sorted(wrong.items()))
    kept = sum(number for status, number in right.items() if status != 200)
    note = f"answered {said}; of {sum(right.values())} right ones {kept} refused, {grown:+.1f} MB"
    return [_finding("wrong tokens", count, server, note)]


def _finding(fault: str, tries: int, server: Server, note: str) -> Finding:
    slowest = max(server.waits, default=0.0) * 1000
    middle = sorted(server.waits)[len(server.waits) // 2] * 1000 if server.waits else 0.0
    others = f"others were answered in {middle:.0f} ms, {slowest:.0f} ms at most"
    return Finding(fault, tries, "nothing", note=f"{note}; {others}")


def experiments() -> list[Experiment]:
    """What is done to the server."""
    return [
        Experiment("server-silence", send_nothing),
        Experiment("server-slow", send_slowly),
        Experiment("server-unread", read_nothing),
        Experiment("server-guesses", guess_tokens),
    ]
