"""That the benchmark of reports runs, and asks every endpoint and page."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

pytestmark = pytest.mark.timeout(300)


def test_every_endpoint_and_page_answers_with_few_requests_and_with_more(
    run_benchmark: Callable[..., str], postgres_server: PostgresServer
) -> None:
    found = json.loads(run_benchmark("reports.py", "--quick", "--json"))
    by_question: dict[str, set[tuple[str, int]]] = {}
    for entry in found:
        assert entry["median_ms"] > 0
        assert entry["bytes"] > 0
        by_question.setdefault(entry["question"], set()).add((entry["engine"], entry["requests"]))
    assert {"/v1/costs", "/v1/projects", "/v1/logs", "/metrics", "/", "/prices"} <= set(by_question)
    ledgers = {(engine, count) for engine in ("sqlite", "postgres") for count in (300, 3_000)}
    assert all(asked == ledgers for asked in by_question.values())
