"""docs/ledger.md says what is so: its queries run, and its tables have the columns it names."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

import pytest
from support.usage_rows import usage_row

from livekit_plugins_voicegateway.ledger.base import Ledger
from livekit_plugins_voicegateway.times import to_iso

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.mark.parametrize("query", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
async def test_every_query_of_the_page_finds_something(
    query: str, ledger: Ledger, path: Path
) -> None:
    connection = sqlite3.connect(path)
    now = time.time()
    day = to_iso(now)[:10]
    await ledger.write(
        [
            usage_row(day=day, cost_nanos=None),
            usage_row(day=day, started_at=now, status="failed", error="APIStatusError"),
        ]
    )
    assert connection.execute(query).fetchall()
    connection.close()


@pytest.mark.parametrize(
    "table",
    ["usage", "usage_daily", "managed_projects", "project_changes", "project_daily_costs"],
)
async def test_every_column_is_documented(table: str, ledger: Ledger, path: Path) -> None:
    connection = sqlite3.connect(path)
    columns = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
    connection.close()
    section = re.search(rf"### `{table}`(.*?)\n##", PAGE, re.DOTALL)
    assert section is not None
    assert columns <= set(re.findall(r"`([a-z_]+)`", section[1]))
