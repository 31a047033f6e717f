"""A small run of ``benchmarks/fleet.py``: that it runs and prints, and that the budget holds."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]


@pytest.mark.timeout(300)
def test_workers_of_two_hosts_spend_a_budget_and_no_more_though_one_is_killed(
    postgres_server: PostgresServer,  # skipped where none can be started
    run_benchmark: Callable[..., str],
) -> None:
    found = json.loads(run_benchmark("fleet.py", "--quick", "--json"))
    assert all(one["per_second"] > 0 for one in found["rush"])
    [outcome] = found["rounds"]
    assert (outcome["workers"], outcome["hosts"], outcome["killed"]) == (40, 2, 1)
    assert outcome["requests"] > 0
    assert outcome["overspend"] <= outcome["bound"]
    assert outcome["recorded"] <= outcome["budget"] + outcome["bound"]
    seen = {(one["what"], one["notified"]) for one in outcome["notices"]}
    assert seen == {(what, how) for what in ("budget", "price") for how in (True, False)}
    assert not any(one["missed"] for one in outcome["notices"])
