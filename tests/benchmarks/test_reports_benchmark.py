"""That the benchmark of reports runs, and asks every endpoint and page."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.timeout(300)


def test_every_endpoint_and_page_answers_with_few_requests_and_with_more(
    run_benchmark: Callable[..., str],
) -> None:
    found = json.loads(run_benchmark("reports.py", "--quick", "--json"))
    by_question: dict[str, set[int]] = {}
    for entry in found:
        assert entry["median_ms"] > 0
        assert entry["bytes"] > 0
        by_question.setdefault(entry["question"], set()).add(entry["requests"])
    assert {"/v1/costs", "/v1/projects", "/v1/logs", "/metrics", "/", "/prices"} <= set(by_question)
    assert all(counts == {300, 3_000} for counts in by_question.values())
