"""What other programs get: every request, exact amounts, whole files, and no formula."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
from support.command_line import COMMAND, Book, Result, Run, reported

from livekit_plugins_voicegateway.answers import LogEntry, TotalsEntry
from livekit_plugins_voicegateway.exports import COSTS, REQUESTS
from livekit_plugins_voicegateway.times import to_iso


@pytest.fixture
def full(book: Book) -> Book:
    """Requests of two projects: priced, unpriced, open, and one that fails in two lines."""
    book.write(
        book.stt(ago=400, room="support-1"),
        book.row(ago=300, cost_nanos=1),
        book.tts(ago=200, project="dev", cost_nanos=None, price=None),
        book.row(
            ago=100, status="failed", error='TimeoutError: "no answer",\nin 10 s', estimated=True
        ),
        book.row(ago=50, status="open", cost_nanos=9_007_199_254_740_991),
    )
    return book


def table(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.out, newline="")))


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line, parse_float=Decimal) for line in result.out.splitlines()]


def test_csv_has_every_request_oldest_first(full: Book, run: Run) -> None:
    entries = reported(full, "logs")["logs"][::-1]
    rows = table(run("export"))
    assert [row["id"] for row in rows] == [entry["id"] for entry in entries]
    assert rows[0]["started_at"] == entries[0]["started_at"]
    assert rows[3]["error"] == 'TimeoutError: "no answer",\nin 10 s'
    assert [row["estimated"] for row in rows] == ["false", "false", "false", "true", "false"]
    assert [row["room"] for row in rows] == ["support-1", "", "", "", ""]


def test_columns_are_those_of_the_http_api() -> None:
    assert [column.name for column in REQUESTS] == list(LogEntry.__annotations__)
    keys = {"day", "project", "modality", "provider", "model"}
    assert {column.name for column in COSTS} - keys == set(TotalsEntry.__annotations__)


def test_amounts_are_exact_and_an_unknown_one_is_empty(full: Book, run: Run) -> None:
    amounts = [row["cost"] for row in table(run("export"))]
    assert amounts == ["0.007200000", "0.000000001", "", "0.000176800", "9007199.254740991"]


def test_lines_of_json_are_what_the_http_api_answers(full: Book, run: Run) -> None:
    result = run("export", "--format", "jsonl")
    assert [json.loads(line) for line in result.out.splitlines()] == (
        reported(full, "logs")["logs"][::-1]
    )
    assert [line["cost"] for line in lines(result)] == [
        Decimal("0.0072"),
        Decimal("0.000000001"),
        None,
        Decimal("0.0001768"),
        Decimal("9007199.254740991"),
    ]


def test_parquet_has_types(full: Book, run: Run) -> None:
    assert run("export", "--output", "costs.parquet").out == "5 requests in costs.parquet\n"
    rows = pyarrow.parquet.read_table("costs.parquet").to_pylist()
    assert [row["cost"] for row in rows][-2:] == [
        Decimal("0.000176800"),
        Decimal("9007199.254740991"),
    ]
    assert rows[2]["cost"] is None
    assert rows[0]["day"] == date.fromisoformat(full.config.days.day_of(full.now))
    assert rows[0]["started_at"].tzinfo is not None
    assert to_iso(rows[0]["started_at"].timestamp()) == to_iso(full.now - 400)
    assert rows[0]["started_at"] < datetime.now(UTC)
    assert rows[0]["input_tokens"] == 0
    assert rows[3]["estimated"] is True


def test_parquet_can_go_through_a_pipe(full: Book, start: Run) -> None:
    with Path("piped").open("wb") as file:
        assert start("export", "--format", "parquet", stdout=file).status == 0
    assert pyarrow.parquet.read_table("piped").num_rows == 5


def test_without_pyarrow_the_message_says_what_to_install(full: Book, start: Run) -> None:
    Path("pyarrow.py").write_text("raise ImportError\n")
    result = start("export", "--output", "x.parquet", env={"PYTHONPATH": _beside()})
    assert result.status == 1
    assert "pip install 'livekit-plugins-voicegateway[parquet]'" in result.err
    assert not Path("x.parquet").exists()


def _beside() -> str:
    """The working directory before all else that Python looks in."""
    return os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))


TEXTS = ["a,b", 'say "hello"', "one\r\ntwo", "one\rtwo", " ", "", "会議"]


@pytest.mark.parametrize("text", TEXTS)
def test_csv_holds_any_text(book: Book, run: Run, text: str) -> None:
    book.write(book.row(room=text, error="last"))
    (row,) = table(run("export"))
    assert (row["room"], row["error"]) == (text, "last")


def test_an_empty_text_is_told_from_none(book: Book, run: Run) -> None:
    book.write(book.row(room="", job_id=None))
    assert ',"",,' in run("export").out


FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_is_no_formula_in_a_spreadsheet(book: Book, run: Run, text: str) -> None:
    book.write(book.row(room=text, error=text))
    (row,) = table(run("export"))
    assert (row["room"], row["error"]) == (f"'{text}", f"'{text}")
    (line,) = lines(run("export", "--format", "jsonl"))
    assert line["room"] == text


def test_totals_are_exported_by_day_project_and_model(full: Book, run: Run) -> None:
    full.write(full.row(ago=86_400, project="staging", estimated=True))
    rows = table(run("export", "--what", "costs", "--period", "all"))
    assert [(row["project"], row["model"], row["requests"], row["cost"]) for row in rows] == [
        ("staging", "gpt-4.1-mini", "1", "0.000176800"),
        ("dev", "sonic-3", "1", ""),
        ("prod", "gpt-4.1-mini", "3", "9007199.254917792"),
        ("prod", "nova-3", "1", "0.007200000"),
    ]
    assert rows[0]["estimated_cost"] == "0.000176800"


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--period", "yesterday"], 1),
        (["--period", "all"], 6),
        (["--period", "all", "--project", "dev"], 1),
        (["--project", "lab"], 0),
    ],
)
def test_period_and_project_choose(full: Book, run: Run, options: list[str], count: int) -> None:
    full.write(full.row(ago=86_400))
    assert len(table(run("export", *options))) == count


def test_more_requests_than_a_page_all_come(book: Book, run: Run) -> None:
    rows = [book.row(ago=9000 - index / 8) for index in range(4_003)]
    book.write(*rows)
    assert [row["id"] for row in table(run("export"))] == [row.id for row in rows]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_empty_ledger_gives_an_empty_file(config: Path, run: Run, form: str) -> None:
    assert run("export", "--format", form, "--output", "out").status == 0
    assert not Path("voicegw.db").exists()
    if form == "parquet":
        assert pyarrow.parquet.read_table("out").num_rows == 0
    else:
        assert len(Path("out").read_text().splitlines()) == (1 if form == "csv" else 0)


@pytest.mark.parametrize(
    ("options", "word"), [(["--period", "lately"], "period"), (["--project", "prdo"], "'prod'")]
)
def test_a_wrong_question_writes_nothing(
    full: Book, run: Run, options: list[str], word: str
) -> None:
    result = run("export", *options, "--output", "out.csv")
    assert result.status in (1, 2)
    assert word in result.err
    assert sorted(Path().iterdir()) == sorted(set(Path().iterdir()) - {Path("out.csv")})
    assert run("export", *options).out == ""


def test_the_name_of_the_file_says_the_format(full: Book, run: Run) -> None:
    run("export", "--output", "out.jsonl")
    assert Path("out.jsonl").read_text().startswith('{"id"')
    run("export", "--output", "out.parquet", "--format", "csv")
    assert Path("out.parquet").read_text().startswith("id,")


def test_a_file_that_exists_is_replaced_only_by_force(full: Book, run: Run) -> None:
    Path("out.csv").write_text("precious")
    refused = run("export", "--output", "out.csv")
    assert refused.status == 1
    assert "--force" in refused.err
    assert Path("out.csv").read_text() == "precious"
    assert run("export", "--output", "out.csv", "--force").status == 0
    assert Path("out.csv").read_text().startswith("id,")


def test_only_the_owner_may_read_the_file(full: Book, run: Run) -> None:
    run("export", "--output", "out.csv")
    assert stat.S_IMODE(Path("out.csv").stat().st_mode) == 0o600


def test_nothing_is_left_of_an_export_that_failed(full: Book, run: Run) -> None:
    before = sorted(Path().iterdir())
    Path("voicegw.db-wal").unlink(missing_ok=True)
    Path("voicegw.db").write_bytes(b"no ledger at all" * 64)
    result = run("export", "--output", "out.csv")
    assert result.status == 1
    assert {path.name for path in Path().iterdir()} <= {path.name for path in before}


@pytest.mark.parametrize("place", ["nowhere/out.csv", "."])
def test_a_place_that_cannot_be_is_said(full: Book, run: Run, place: str) -> None:
    result = run("export", "--output", place)
    assert result.status in (1, 2)
    assert result.err.count("\n") <= 4
    assert str(Path.cwd()) in result.err


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_reader_that_has_gone_ends_an_export_quietly(full: Book, start: Run, form: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = start("export", "--format", form, stdout=writing)
    os.close(writing)
    assert (result.status, result.err) == (0, "")


def test_head_of_an_export_takes_what_it_wants(book: Book) -> None:
    book.write(*(book.row(ago=9000 - index) for index in range(3_000)))
    process = subprocess.Popen([COMMAND, "export"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"id,")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_ctrl_c_leaves_no_file(full: Book, tmp_path: Path) -> None:
    os.mkfifo("voicegw.fifo")
    process = subprocess.Popen(
        [COMMAND, "export", "--config", "voicegw.fifo", "--output", "out.csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # the file has been begun, and the command waits for its configuration
    with Path("voicegw.fifo").open("wb"):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err.strip()) == (130, b"")
    assert [path.name for path in Path().iterdir() if "out.csv" in path.name] == []


def test_an_export_holds_a_page_in_memory_and_not_the_ledger(book: Book) -> None:
    book.write(*(book.row(ago=9000 - index / 8, error="x" * 2_000) for index in range(20_000)))
    program = """
import resource, sys
from livekit_plugins_voicegateway.cli import main
try:
    main(["export", "--output", "/dev/null", "--project", sys.argv[1]])
except SystemExit as left:
    assert left.code == 0, left.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
    peak = {
        project: int(
            subprocess.run(
                [sys.executable, "-c", program, project], capture_output=True, text=True, check=True
            ).stderr
        )
        for project in ("prod", "lab")
    }
    # 40 MB of texts alone are in the ledger, and no more than 4 in a page
    assert peak["prod"] - peak["lab"] < 30_000
