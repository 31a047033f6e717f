"""That the benchmark of writing runs, with one process and with several, on both engines."""

from __future__ import annotations

import json
from collections.abc import Callable

from support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]


def test_rows_of_one_process_and_of_several_are_counted(
    run_benchmark: Callable[..., str], postgres_server: PostgresServer
) -> None:
    found = json.loads(run_benchmark("ledger.py", "--quick", "--json"))
    assert {(one["engine"], one["processes"]) for one in found} == {
        (engine, processes) for engine in ("sqlite", "postgres") for processes in (1, 2)
    }
    for one in found:
        assert one["rows_per_second"] > 0
        assert one["requests"] == one["written"] > 0
