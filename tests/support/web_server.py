"""`voicegw serve` for tests: a process of its own on a real socket."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from livekit_plugins_voicegateway.providers import KEY_VARIABLES

from .command_line import COMMAND, CONFIG, zone_of_noon
from .machine import PATIENCE

TOKEN: Final = "d3c9a1f0b7e64c52"


class WebServer:
    """A running server.

    Attributes:
        url: Where it listens.
        process: The command.
        folder: Its working directory, with ``voicegw.yaml`` and the ledger in it.
    """

    def __init__(self, url: str, process: subprocess.Popen[str], folder: Path) -> None:
        self.url = url
        self.process = process
        self.folder = folder

    @property
    def host(self) -> str:
        """Name and port, as in a Host header."""
        return self.url.removeprefix("http://")

    def client(self, **how: object) -> httpx.Client:
        """Return a client of it that takes no proxy and follows nowhere."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE, **how)  # type: ignore[arg-type]

    def stop(self) -> int:
        """Tell it to end, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def log(self) -> str:
        """What it has written to standard error; it must have ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


def plain_environment(home: Path) -> dict[str, str]:
    """Environment variables that say nothing of us."""
    ours = {name for names in KEY_VARIABLES.values() for name in names}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("VOICEGW_")
    }
    return {**kept, **dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(home))}


def write_config(folder: Path) -> Path:
    """Write the configuration of `command_line` into a folder."""
    path = folder / "voicegw.yaml"
    path.write_text(CONFIG.format(zone=zone_of_noon()))
    return path


@contextmanager
def web_server(
    folder: Path, *arguments: str, port: int = 0, env: Mapping[str, str] | None = None
) -> Iterator[WebServer]:
    """Start ``voicegw serve`` in a folder and wait until it answers; end it afterwards."""
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", str(port), *arguments],
        cwd=folder,
        env={**plain_environment(folder), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            process.wait(PATIENCE)
            assert process.stderr is not None
            raise AssertionError(f"the server did not start: {process.stderr.read()}")
        yield WebServer(found[0], process, folder)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
