"""The example workers, their configuration pointed to the sandbox, and how they are started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from support.machine import PATIENCE

from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.sandbox import Sandbox

WORKERS = Path(__file__).parents[2] / "examples" / "workers"
T = TypeVar("T")

WORKER_PATIENCE = 2 * PATIENCE
"""Seconds that a worker may take for the next thing it does: it starts and ends other processes."""

CLOUD_NAMES = ("single_project.py", "project_per_room.py")
NAMES = (*CLOUD_NAMES, "local_only.py")


class Worker:
    """A worker's process.

    Attributes:
        ended: Its exit status, once it has ended.
    """

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self._process = process
        self._output = output
        self.ended = asyncio.create_task(process.wait())

    async def until(self, waiting: Awaitable[T]) -> T:
        """Wait for something that needs the worker; fails when the worker ends before."""
        awaited = asyncio.ensure_future(waiting)
        done, _ = await asyncio.wait(
            {awaited, self.ended}, timeout=WORKER_PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if awaited not in done:
            if awaited is not self.ended:
                awaited.cancel()
            state = "ended" if self.ended.done() else f"did nothing of it for {WORKER_PATIENCE} s"
            raise AssertionError(f"the worker {state}; it wrote: {self._output.read_text()}")
        return awaited.result()

    async def end(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit status."""
        self._process.send_signal(number)
        return await self.until(self.ended)

    def write(self, line: bytes) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)


class Desk:
    """A developer's folder with the examples' configuration, and keys in the environment.

    Args:
        folder: Where configuration and ledger go.
        sandbox: Where the providers are.

    Attributes:
        cloud_keys: Whether the environment of a worker has keys of cloud providers.
    """

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.config = folder / "voicegw.yaml"
        self.ledger = folder / "voicegw.db"
        configuration = yaml.safe_load((WORKERS / "voicegw.yaml").read_text())
        configuration["providers"] |= {
            name: {"base_url": url} for name, url in sandbox.base_urls.items()
        }
        self.config.write_text(yaml.safe_dump(configuration))
        self.cloud_keys = True

    def use_weights(self, folder: Path, voice: str) -> None:
        """Let the configuration name the weights of local models, and a voice that is there."""
        configuration = yaml.safe_load(self.config.read_text())
        configuration["providers"]["whisper"] |= {"weights": str(folder)}
        configuration["providers"]["kokoro"] |= {
            "weights": str(folder),
            "voice": voice,
            "language": "en-us",
        }
        self.config.write_text(yaml.safe_dump(configuration))

    @property
    def env(self) -> dict[str, str]:
        """The environment of a worker: keys of the projects, if it has any, none of LiveKit's."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LIVEKIT_", "VOICEGW_")) and "API_KEY" not in name
        }
        for provider in ("OPENAI", "DEEPGRAM", "CARTESIA") if self.cloud_keys else ():
            kept[f"{provider}_API_KEY"] = f"key-of-production-{provider}"
            kept[f"STAGING_{provider}_API_KEY"] = f"key-of-staging-{provider}"
        return kept | {"VOICEGW_CONFIG": str(self.config), "NO_PROXY": "127.0.0.1"}

    @contextlib.asynccontextmanager
    async def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> AsyncIterator[Worker]:
        """Run Python with these arguments, and kill it when the block is left before it ends.

        What it writes goes to the terminal, if there is one, else to `output`.
        """
        with self.output.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=self.config.parent,
                env={**self.env, **(env or {})},
                stdin=asyncio.subprocess.PIPE if terminal is None else terminal,
                stdout=output if terminal is None else terminal,
                stderr=output if terminal is None else terminal,
            )
        worker = Worker(process, self.output)
        try:
            yield worker
        finally:
            if process.returncode is None:
                process.kill()
            await worker.ended

    @property
    def output(self) -> Path:
        return self.config.with_name("output.log")

    async def rows(self) -> list[UsageRow]:
        """All rows of the ledger, newest first."""
        url = f"sqlite:///{self.ledger}"
        async with make_ledger(url, read_only=True) as ledger:
            return await ledger.rows(RowFilter(), limit=100)
