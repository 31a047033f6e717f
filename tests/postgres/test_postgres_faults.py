"""What is said when PostgreSQL cannot be used, and that it is used again when it is back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from support.postgres import PostgresServer, run_sql
from support.usage_rows import DAY, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import make_ledger, open_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger

PASSWORD = "hunter2-is-not-to-be-seen"


async def said_at_opening(url: str, **options: Any) -> str:
    with pytest.raises(LedgerError) as failed:
        await PostgresLedger(url, **options).open()
    seen = f"{failed.value!r} {failed.value.__cause__!r} {failed.value.__context__!r}"
    assert PASSWORD not in seen
    return str(failed.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
async def test_a_url_names_the_database(url: str, scheme: str) -> None:
    ledger = await open_ledger(f"{scheme}{url.removeprefix('postgresql')}&sslmode=disable")
    assert isinstance(ledger, PostgresLedger)
    await ledger.write([usage_row()])
    await ledger.close()


def test_without_its_driver_the_pip_install_is_named() -> None:
    code = f"""
import sys
sys.modules["asyncpg"] = None
from livekit_plugins_voicegateway.ledger import make_ledger
try:
    make_ledger("postgresql://user:{PASSWORD}@db.internal/voicegw?password={PASSWORD}")
except Exception as e:
    print(type(e).__name__, e)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == (
        "LedgerError the ledger postgresql://db.internal/voicegw cannot be used: its driver is not "
        "installed; `pip install 'livekit-plugins-voicegateway[postgres]'`\n"
    )


def test_nothing_of_it_is_imported_for_a_file() -> None:
    code = (
        "import sys, asyncio\n"
        "from livekit_plugins_voicegateway.ledger import make_ledger\n"
        "make_ledger('sqlite:///x.db')\n"
        "print('asyncpg' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


async def test_a_server_that_does_not_listen_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    said = await said_at_opening(f"postgresql://user:{PASSWORD}@127.0.0.1:{port}/voicegw")
    assert said.startswith(f"the ledger postgresql://127.0.0.1:{port}/voicegw cannot be used: ")
    assert "nothing listens there" in said


async def test_a_server_that_never_answers_is_not_waited_for() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        said = await said_at_opening(
            f"postgresql://user:{PASSWORD}@127.0.0.1:{port}/voicegw", timeout=0.2
        )
        assert said.endswith("/voicegw cannot be used: it did not answer within 0.2 s")


async def test_a_database_or_a_user_that_is_not_there_is_named(
    postgres_server: PostgresServer,
) -> None:
    assert "there is no such database" in await said_at_opening(postgres_server.url("nowhere"))
    nobody = postgres_server.url().replace("postgres@", "nobody@")
    assert "it does not let this user in" in await said_at_opening(nobody)


@pytest.mark.parametrize(
    "wrong",
    [
        "/voicegw?sslmode=perhaps",
        ":port/voicegw",
        "/voicegw?port=many",
        "/voicegw?sslmode=verify-full&sslrootcert=/no",
        "/voicegw?",
        "/voicegw?nonsense",
    ],
)
async def test_a_url_that_cannot_be_read_shows_no_password(wrong: str) -> None:
    await said_at_opening(f"postgresql://user:{PASSWORD}@127.0.0.1{wrong}")


async def test_a_user_who_may_not_make_tables_is_told_what_to_grant(
    postgres_server: PostgresServer, new_url: str
) -> None:
    run_sql(new_url, "DROP ROLE IF EXISTS lodger", "CREATE ROLE lodger LOGIN")
    lodger = new_url.replace("postgres@", "lodger@")
    said = await said_at_opening(lodger)
    assert "GRANT CREATE, USAGE ON SCHEMA public" in said
    run_sql(new_url, "GRANT CREATE, USAGE ON SCHEMA public TO lodger")
    async with PostgresLedger(lodger) as ledger:
        await ledger.write([usage_row()])


async def test_a_lost_connection_fails_at_once_and_is_made_again(url: str) -> None:
    async with PostgresLedger(url) as ledger:
        await ledger.write([usage_row()])
        run_sql(
            url,
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        with pytest.raises(LedgerError, match=r"cannot be used: (it was shut down|the connection)"):
            await ledger.write([usage_row()])
        row = usage_row()
        await ledger.write([row])
        assert row.id in {found.id for found in await ledger.rows(RowFilter(), limit=10)}


async def test_a_server_that_is_restarted_is_used_again_with_all_that_was_written(
    postgres_server: PostgresServer, url: str
) -> None:
    async with PostgresLedger(url) as ledger:
        before, after = usage_row(), usage_row()
        await ledger.write([before])
        postgres_server.stop(signal.SIGINT)
        try:
            for _ in range(2):
                with pytest.raises(LedgerError, match="cannot be used"):
                    await ledger.write([after])
        finally:
            postgres_server.start()
        await ledger.write([before, after])
        rows = await ledger.rows(RowFilter(), limit=10)
        assert {row.id for row in rows} == {before.id, after.id}
        assert (await ledger.check_totals()).mismatches == []


async def test_an_answer_that_takes_too_long_is_not_waited_for(url: str) -> None:
    async with PostgresLedger(url, timeout=1) as ledger:
        await ledger.write([row := usage_row(cost_nanos=1)])
        blocker = await asyncpg.connect(url)
        await blocker.execute("BEGIN; UPDATE usage SET cost_nanos = 2")
        with pytest.raises(LedgerError, match="it did not answer within 1 s"):
            await ledger.write([replace(row, cost_nanos=3)])
        await blocker.close()
        await ledger.write([replace(row, cost_nanos=4)])
        assert await ledger.budget_status("prod", DAY) == (4, 0)


async def test_who_only_reads_changes_nothing(url: str) -> None:
    async with PostgresLedger(url, read_only=True) as reader:
        with pytest.raises(LedgerError, match="was opened for reading only"):
            await reader.write([usage_row()])
        with pytest.raises(LedgerError, match="was opened for reading only"):
            await reader.close_stale(60)
        with pytest.raises(LedgerError, match="it takes no changes"):
            await reader._fetch("drop_month", {"place": "usage_other", "day": DAY})


async def test_a_ledger_that_is_not_open_says_how_to_open_it(url: str) -> None:
    ledger = make_ledger(url)
    await ledger.close()
    with pytest.raises(LedgerError, match=r"is not open: `await ledger\.open\(\)`"):
        await ledger.write([usage_row()])
    await ledger.open()
    await ledger.open()
    await ledger.write([usage_row()])
    await ledger.close()
    await ledger.close()


async def test_it_has_two_connections_at_most(url: str) -> None:
    count = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'voicegateway' AND datname = current_database()"
    )
    async with PostgresLedger(url) as ledger:
        await asyncio.gather(*(ledger.write([usage_row()]) for _ in range(5)))
        assert run_sql(url, count) == [(1,)]
        await asyncio.gather(
            *(ledger.budget_status("prod", DAY) for _ in range(5)), ledger.write([usage_row()])
        )
        assert run_sql(url, count)[0][0] <= 2
    while run_sql(url, count) != [(0,)]:
        continue


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"room": "a\0b", "error": "\0"}, {"room": "a?b", "error": "?"}),
        ({"input_tokens": 10**30}, {"input_tokens": 2**53}),
        ({"cost_nanos": 2**63}, {"cost_nanos": 2**53}),
        ({"audio_seconds": 1e300}, {"audio_seconds": 2**53 / 1000}),
        ({"room": "é" * 5000}, {"room": "é" * 300}),
    ],
)
async def test_what_postgres_cannot_store_marks_its_row_and_spoils_no_other(
    url: str, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with PostgresLedger(url) as ledger:
        spoiled, good = usage_row(**changes), usage_row()
        await ledger.write([good, spoiled])
        rows = {row.id: row for row in await ledger.rows(RowFilter(), limit=10)}
        assert rows[good.id] == good
        found = rows[spoiled.id]
        assert {name: getattr(found, name) for name in expected} == expected
        if "room" not in changes:
            assert found.error is not None
            assert found.error.startswith("metering failed: out of range: ")
        else:
            (again,) = await ledger.rows(RowFilter(room=spoiled.room), limit=10)
            assert again == found
            assert [line.room for line in await ledger.call_lines([str(spoiled.room)])] == [
                expected["room"]
            ]
        assert (await ledger.check_totals()).mismatches == []


async def test_a_question_with_nul_finds_nothing(url: str) -> None:
    async with PostgresLedger(url) as ledger:
        assert await ledger.rows(RowFilter(room="\0"), limit=10) == []
        assert await ledger.call_turns("\0") == []
        assert await ledger.rows_with_ids(["\0"]) == []


def test_a_process_ends_without_a_word_although_its_ledger_is_not_closed(url: str) -> None:
    code = f"""
import asyncio
from livekit_plugins_voicegateway.ledger import open_ledger
async def main():
    global ledger
    ledger = await open_ledger({json.dumps(url)})
    await ledger.version()
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
