"""That the benchmark of calls at once runs, on both sides."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.timeout(300)


def test_calls_at_once_are_measured_with_the_gateway_and_without(
    run_benchmark: Callable[..., str],
) -> None:
    found = json.loads(run_benchmark("concurrency.py", "--quick", "--json"))
    assert [one["side"] for one in found] == ["direct", "gateway"]
    for one in found:
        assert one["turns_per_second"] > 0
        assert one["errors"] == 0
