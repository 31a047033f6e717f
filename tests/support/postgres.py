"""The PostgreSQL of a process of tests; `postgres_server` starts it.

Where it cannot be started tests are skipped, and say so; with VOICEGW_REQUIRE_POSTGRES=1 they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

import pytest
from postgres_server import PostgresServer, in_thread, run_sql

__all__ = ["PostgresServer", "in_thread", "postgres_server", "run_sql"]


@cache
def _start() -> PostgresServer | str:
    try:
        return PostgresServer()
    except Exception as e:
        return f"no PostgreSQL for tests: {type(e).__name__}: {e}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server; the test is skipped where there is none."""
    server = _start()
    if isinstance(server, str):
        if os.environ.get("VOICEGW_REQUIRE_POSTGRES") == "1":
            pytest.fail(server)
        pytest.skip(server)
    yield server
    server.remove()
