"""A small run of ``benchmarks/budgets.py``: that it runs and prints, and that the budget holds."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.timeout(300)


def test_budgets_prints_a_table_of_admissions_and_one_of_leases(
    run_benchmark: Callable[..., str],
) -> None:
    printed = run_benchmark("budgets.py", "--quick", "--only", "admissions", "--only", "leases")
    tables = [table.splitlines() for table in printed.split("\n\n")[:2]]
    assert [len(table) - 2 for table in tables] == [4, 4]
    for head, *lines in tables:
        assert {line.count("|") for line in lines} == {head.count("|")}


def test_eight_processes_spend_a_budget_and_no_more_also_when_two_are_killed(
    run_benchmark: Callable[..., str],
) -> None:
    figures = json.loads(run_benchmark("budgets.py", "--quick", "--json", "--only", "experiment"))
    whole, killed = figures["experiment"]
    assert (whole["killed"], killed["killed"]) == (0, 2)
    for outcome in (whole, killed):
        assert outcome["processes"] == 8
        assert outcome["overspend"] <= outcome["bound"]
        assert outcome["spent"] > 0.9 * outcome["budget"]
    # a process that is killed loses what it has not written yet, and no other process does
    assert whole["recorded"] == pytest.approx(whole["spent"])
    assert killed["recorded"] <= killed["spent"] * 1.000001


def test_real_completions_use_a_budget_up_and_overspend_no_more_than_is_printed(
    run_benchmark: Callable[..., str],
) -> None:
    figures = json.loads(run_benchmark("budgets.py", "--quick", "--json", "--only", "sandbox"))
    whole, killed = figures["sandbox"]
    assert (whole["killed"], killed["killed"]) == (0, 2)
    for outcome in (whole, killed):
        # by the provider's record, which knows nothing of ledgers
        assert outcome["spent"] <= outcome["budget"] + outcome["bound"]
        assert outcome["used_at_first_refusal"] >= 0.95
        assert outcome["recorded"] <= outcome["budget"] + outcome["bound"]
    assert whole["recorded"] == pytest.approx(whole["spent"])
    assert killed["recorded"] <= killed["spent"] * 1.000001
