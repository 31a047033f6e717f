"""Tables, view and queries that other programs lean on, and how the queries are kept."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from dataclasses import fields, replace
from pathlib import Path

import pytest
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway import ledger as package
from livekit_plugins_voicegateway.ledger.base import Ledger, Position, RowFilter
from livekit_plugins_voicegateway.ledger.queries import load_queries
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.times import from_iso, to_iso

PUBLISHED_QUERY = """
SELECT project, day, SUM(total_cost) as cost FROM project_daily_costs
WHERE day >= date('now', '-7 days') GROUP BY project, day ORDER BY project, day;
"""

COLUMNS = {
    "usage": """id request_id started_at ended_at day project modality provider model
        requested_model status estimated room job_id speech_id audio_seconds connection_seconds
        input_tokens cached_input_tokens output_tokens characters cost_nanos price ttfb_ms
        duration_ms error""",
    "usage_daily": """day project modality provider model requests unpriced_requests audio_seconds
        input_tokens cached_input_tokens output_tokens characters cost_nanos""",
    "managed_projects": """project_id name description daily_budget budget_action tags created_at
        updated_at""",
    "project_daily_costs": """project day modality provider model requests unpriced_requests
        audio_seconds input_tokens cached_input_tokens output_tokens characters total_cost""",
}

sqlite_only = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def shell(ledger: Ledger, path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path)


@sqlite_only
@pytest.mark.parametrize("table", COLUMNS)
def test_columns_that_others_rely_on_come_first_and_in_order(
    shell: sqlite3.Connection, table: str
) -> None:
    found = [name for _, name, *_ in shell.execute(f"PRAGMA table_info({table})")]
    expected = COLUMNS[table].split()
    assert found[: len(expected)] == expected
    if table == "project_daily_costs":
        assert found == expected
    shell.close()


def test_a_row_has_the_columns_of_the_table() -> None:
    # `owner` came later, and stands behind the columns that others rely on
    assert [field.name for field in fields(UsageRow)] == [*COLUMNS["usage"].split(), "owner"]


async def write_recent(ledger: Ledger, path: Path) -> list[str]:
    """Write two days of usage and return what the published query should print."""
    shell = sqlite3.connect(path)
    ((today, long_ago),) = shell.execute("SELECT date('now'), date('now', '-9 days')")
    shell.close()
    await ledger.write(
        [
            usage_row(day=today, cost_nanos=1_500_000_000),
            usage_row(day=today, cost_nanos=250_000_000, model="gpt-4.1"),
            usage_row(day=today, project="dev", cost_nanos=None),
            usage_row(day=today, project="staging", cost_nanos=1),
            usage_row(day=long_ago, cost_nanos=7),
        ]
    )
    return [f"dev|{today}|", f"prod|{today}|1.75", f"staging|{today}|1.0e-09"]


@sqlite_only
async def test_the_published_query_works_in_python(
    ledger: Ledger, path: Path, shell: sqlite3.Connection
) -> None:
    expected = await write_recent(ledger, path)
    found = shell.execute(PUBLISHED_QUERY).fetchall()
    shell.close()
    assert [f"{project}|{day}|{'' if cost is None else cost}" for project, day, cost in found] == [
        line.replace("1.0e-09", "1e-09") for line in expected
    ]


@sqlite_only
@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
async def test_the_published_query_works_in_the_shell(ledger: Ledger, path: Path) -> None:
    expected = await write_recent(ledger, path)
    shell = await asyncio.create_subprocess_exec(
        "sqlite3", path, PUBLISHED_QUERY, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await shell.communicate()
    assert printed.decode().splitlines() == expected


@sqlite_only
async def test_whoever_changes_a_row_by_hand_keeps_the_totals_right(
    ledger: Ledger, shell: sqlite3.Connection
) -> None:
    await ledger.write([usage_row(cost_nanos=5), usage_row(cost_nanos=6)])
    shell.execute("UPDATE usage SET cost_nanos = cost_nanos * 2, project = 'moved'")
    shell.commit()
    shell.close()
    assert (await ledger.check_totals()).mismatches == []
    lines = await ledger.costs(DAY, DAY, "moved")
    assert lines[0].totals.cost_nanos == 22


def test_times_are_read_as_they_were_written() -> None:
    assert to_iso(NOON + 0.25) == "2027-01-15T12:00:00.250Z"
    for millisecond in range(1000):
        moment = to_iso(NOON + millisecond / 1000)
        assert moment.endswith(f".{millisecond:03}Z")
        assert to_iso(from_iso(moment)) == moment


def test_every_query_is_described_and_used() -> None:
    folder = Path(package.__file__).parent
    code = "".join(file.read_text() for file in folder.glob("*.py"))
    text = "".join(file.read_text() for file in (folder / "sql" / "queries").rglob("*.sql"))
    for name in {**load_queries("sqlite"), **load_queries("postgres")}:
        assert re.search(rf"^-- {name} --\n-- \w", text, re.MULTILINE), (
            f"{name} says not what it does"
        )
        assert f'"{name}"' in code, f"nobody asks {name}"


@sqlite_only
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, text in load_queries("sqlite").items()
        if "usage" in text and ":" in text and name not in ("mismatches", "checked")
    ],
)
async def test_no_page_or_receipt_reads_all_requests(
    name: str, ledger: SqliteLedger, shell: sqlite3.Connection
) -> None:
    text = load_queries("sqlite")[name]
    values = dict.fromkeys(re.findall(r":([a-z_]+)", text), None)
    plan = [line[3] for line in shell.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    shell.close()
    scans = [line for line in plan if re.match(r"SCAN (usage|found|calls)\b", line)]
    assert all("USING" in line for line in scans), plan
    sorts = [line for line in plan if line == "USE TEMP B-TREE FOR ORDER BY"]
    if name.startswith("newest") and name != "newest_of_keys":
        assert not sorts, plan


async def test_pages_follow_each_other_while_requests_come_in(ledger: Ledger) -> None:
    # many of the same millisecond, so that the id decides
    old = [usage_row(started_at=NOON + i // 10) for i in range(95)]
    await ledger.write(old)
    seen: list[str] = []
    before: Position | None = None
    while page := await ledger.rows(RowFilter(), limit=7, before=before):
        seen += [row.id for row in page]
        before = Position(to_iso(page[-1].started_at), page[-1].id)
        await ledger.write([usage_row(started_at=NOON + 3600)])
    newest_first = sorted(old, key=lambda row: (row.started_at, row.id), reverse=True)
    assert seen == [row.id for row in newest_first]


FILTERS = [
    RowFilter(),
    RowFilter(project="dev"),
    RowFilter(modality="stt"),
    RowFilter(model="nova-3"),
    RowFilter(provider="openai", model="gpt-4.1-mini"),
    RowFilter(status="completed"),
    RowFilter(status="cancelled"),
    RowFilter(status="failed"),
    RowFilter(room="room-1"),
    RowFilter(project="prod", modality="stt"),
    RowFilter(project="dev", status="failed"),
    RowFilter(project="dev", status="cancelled"),
    RowFilter(modality="llm", status="completed"),
    RowFilter(room="room-2", status="cancelled", modality="stt"),
    RowFilter(room="room-2", project="nobody"),
    RowFilter("prod", "stt", "deepgram", "nova-3", "completed", "room-0"),
]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
async def test_a_filter_gives_what_matches_it_newest_first(
    ledger: Ledger, wanted: RowFilter
) -> None:
    rows = [
        replace(
            usage_row(started_at=NOON + i),
            project=("prod", "dev")[i % 2],
            modality=("stt", "llm")[i % 3 == 0],
            provider=("deepgram", "openai")[i % 3 == 0],
            model=("nova-3", "gpt-4.1-mini")[i % 3 == 0],
            status=("completed", "cancelled", "failed")[i % 7 % 3],
            room=f"room-{i % 5}" if i % 4 else None,
        )
        for i in range(210)
    ]
    await ledger.write(rows)
    asked = {f.name: getattr(wanted, f.name) for f in fields(wanted) if getattr(wanted, f.name)}
    matching = [
        row.id
        for row in reversed(rows)
        if all(getattr(row, name) == value for name, value in asked.items())
    ]
    found = await ledger.rows(wanted, limit=10)
    assert [row.id for row in found] == matching[:10]
    if len(matching) > 10:
        before = Position(to_iso(found[-1].started_at), found[-1].id)
        more = await ledger.rows(wanted, limit=10, before=before)
        assert [row.id for row in more] == matching[10:20]
