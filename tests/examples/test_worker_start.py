"""The example workers start under ``python worker.py console``, ``dev`` and ``start``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import socket
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from example_workers import CLOUD_NAMES, NAMES, WORKERS, Desk
from livekit.protocol import agent

from livekit_plugins_voicegateway.sandbox import Sandbox

pytestmark = pytest.mark.timeout(300)

HEALTH_CHECK_PORT = 8081  # where a worker in production answers, by LiveKit's default


@contextlib.asynccontextmanager
async def livekit_server() -> AsyncIterator[
    tuple[str, asyncio.Future[agent.RegisterWorkerRequest]]
]:
    """As much of a LiveKit server as a worker registers with: its URL, and who did."""
    registered: asyncio.Future[agent.RegisterWorkerRequest] = (
        asyncio.get_running_loop().create_future()
    )

    async def serve(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                said = agent.WorkerMessage.FromString(message.data)
                if said.HasField("register"):
                    answer = agent.RegisterWorkerResponse(worker_id="AW_1")
                    await ws.send_bytes(agent.ServerMessage(register=answer).SerializeToString())
                    if not registered.done():  # it registers again when it was too slow to answer
                        registered.set_result(said.register)
        return ws

    app = web.Application()
    app.router.add_get("/agent", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}", registered
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", NAMES)
async def test_in_development_it_registers_with_a_livekit_server_and_stops_when_asked(
    name: str, desk: Desk
) -> None:
    await register_and_stop(name, "dev", desk)


@pytest.mark.timeout(600)
async def test_in_production_it_registers_with_a_livekit_server_and_stops_when_asked(
    desk: Desk,
) -> None:
    if is_taken(HEALTH_CHECK_PORT):
        pytest.skip(f"another program has port {HEALTH_CHECK_PORT}, where `start` must answer")
    for name in NAMES:  # one after the other: both answer on that port
        await register_and_stop(name, "start", desk)


async def register_and_stop(name: str, command: str, desk: Desk) -> None:
    async with livekit_server() as (url, registered):
        livekit = {
            "LIVEKIT_URL": url,
            "LIVEKIT_API_KEY": "key",
            "LIVEKIT_API_SECRET": "a secret of at least thirty-two bytes",
        }
        async with desk.start(str(WORKERS / name), command, env=livekit) as worker:
            registration = await worker.until(registered)
            assert await worker.end(signal.SIGTERM) == 0

    assert registration.agent_name == ("assistant" if name == "project_per_room.py" else "")
    assert "Traceback" not in desk.output.read_text()


@pytest.mark.parametrize("name", CLOUD_NAMES)
async def test_in_the_console_it_answers_what_is_typed(
    name: str, desk: Desk, sandbox: Sandbox
) -> None:
    folder = desk.config.parent
    # LiveKit's console asks for a sound card, also where it only reads and writes
    (folder / "sounddevice.py").write_text("def query_devices(*args, **options):\n    return {}\n")
    console = (str(WORKERS / name), "console", "--text")
    async with Terminal(desk.output) as terminal:
        env = {"PYTHONPATH": str(folder), "TERM": "xterm"}
        async with desk.start(*console, env=env, terminal=terminal.other_end) as worker:
            await worker.until(terminal.shows("Type to talk to your agent"))
            await worker.until(terminal.listens())
            terminal.type("He was not an ill-disposed young man.\r")
            await worker.until(terminal.shows("That is faint praise."))
            await worker.end(signal.SIGINT)
    (answer,) = [row for row in await desk.rows() if row.output_tokens == 5]
    assert (answer.modality, answer.project, answer.room) == ("llm", "production", "console-room")


class Terminal:
    """A terminal that somebody sits at. An async context manager.

    Args:
        log: Where to keep what was shown.

    Attributes:
        other_end: What a program has as its standard input and output.
        shown: What the program has written, without colours and movements of the cursor.
    """

    def __init__(self, log: Path) -> None:
        self._end, self.other_end = pty.openpty()
        self._log = log
        self.shown = ""
        self._written = b""
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Terminal:
        os.set_blocking(self._end, False)
        asyncio.get_running_loop().add_reader(self._end, self._read)
        return self

    async def __aexit__(self, *error: object) -> None:
        asyncio.get_running_loop().remove_reader(self._end)
        os.close(self._end)
        os.close(self.other_end)

    async def listens(self) -> None:
        """Wait until the program reads keys: what was typed before is lost.

        It draws its prompt many times a second, and each time is one to look.
        """
        while termios.tcgetattr(self.other_end)[3] & termios.ICANON:
            self._changed.clear()
            await self._changed.wait()

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    async def shows(self, text: str) -> None:
        """Wait until the program has written ``text``."""
        while text not in self.shown:
            self._changed.clear()
            await self._changed.wait()

    def _read(self) -> None:
        self._written += os.read(self._end, 65536)
        text = self._written.decode(errors="ignore")
        self.shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
        self._log.write_text(self.shown)
        self._changed.set()


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False
