"""That the benchmark of writing runs, with one process and with several."""

from __future__ import annotations

import json
from collections.abc import Callable


def test_rows_of_one_process_and_of_several_are_counted(
    run_benchmark: Callable[..., str],
) -> None:
    found = json.loads(run_benchmark("ledger.py", "--quick", "--json"))
    assert {one["processes"] for one in found} == {1, 2}
    assert all(one["rows_per_second"] > 0 for one in found)
