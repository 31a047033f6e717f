"""The command as a process: terminals, pipes, signals, encodings, and what it imports."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len
from support.command_line import COMMAND, Book, Run

from livekit_plugins_voicegateway.version import __version__

ESCAPE = re.compile(r"\x1b\[[0-9;]*m|.*\r\x1b\[K")


@pytest.fixture
def full(book: Book) -> Book:
    """Every project with requests of all kinds, in several calls."""
    book.write(
        *(
            make(
                project=project,
                room=f"{project}-support-with-a-long-name-{index}",
                speech_id=f"speech_{index}",
                ago=3000 - index,
                status="failed" if index == 2 else "completed",
                error="TimeoutError: no answer in 10 s" if index == 2 else None,
            )
            for project in ("prod", "staging", "dev")
            for index in range(4)
            for make in (book.row, book.stt, book.tts)
        ),
        book.row(model="gpt-9-preview-2027-01-01", cost_nanos=None, price=None),
        book.row(cost_nanos=12_400_000_000),
    )
    return book


def test_the_version_is_printed(start: Run) -> None:
    result = start("--version")
    assert (result.status, result.out, result.err) == (0, f"voicegw {__version__}\n", "")


HEAVY = ("livekit.agents", "genai_prices", "fastapi", "pydantic", "rich", "platformdirs")


@pytest.mark.parametrize(
    "command",
    [
        ["costs"],
        ["projects"],
        ["project", "show", "prod"],
        ["logs"],
        ["calls"],
        ["verify"],
        ["prices"],
        ["price", "deepgram/nova-3", "--audio-seconds", "9"],
    ],
    ids=lambda command: command[0],
)
def test_reading_imports_nothing_heavy(full: Book, command: list[str]) -> None:
    program = f"""
import sys
from livekit_plugins_voicegateway.cli import main
try:
    main({[*command, "--json"]!r})
except SystemExit as left:
    assert left.code == 0, left.code
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_imports_nothing_heavy_and_no_prices(full: Book, form: str) -> None:
    program = f"""
import sys
from livekit_plugins_voicegateway.cli import main
try:
    main(["export", "--format", {form!r}])
except SystemExit as left:
    assert left.code == 0, left.code
print([name for name in {(*HEAVY, *UNASKED, "pyarrow")!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout
    assert done.stderr == "[]\n"


UNASKED = ("livekit_plugins_voicegateway.pricing.book", "difflib")
"""What only questions about prices, or faults, have a use for."""


@pytest.mark.parametrize("command", ["costs", "projects", "logs", "calls", "verify"])
def test_what_was_spent_is_read_without_the_price_book(full: Book, command: str) -> None:
    program = f"""
import sys
from livekit_plugins_voicegateway.cli import main
try:
    main([{command!r}, "--json"])
except SystemExit as left:
    assert left.code == 0, left.code
print([name for name in {UNASKED!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_a_table_imports_neither_livekit_nor_prices_of_llms(full: Book) -> None:
    program = f"""
import sys
from livekit_plugins_voicegateway.cli import main
try:
    main(["costs"])
except SystemExit:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "['rich']\n"


TABLES = ["projects", "costs", "logs", "calls", "prices", "check", "project show prod"]


@pytest.mark.parametrize("command", TABLES)
def test_a_pipe_gets_whole_rows_without_colour(full: Book, start: Run, command: str) -> None:
    result = start(*command.split(), env={"COLUMNS": "40", "TERM": "xterm-256color"})
    assert result.status == 0
    assert "\x1b" not in result.out
    assert not any(line != line.rstrip() for line in result.out.splitlines())
    if command == "logs":
        assert "prod-support-with-a-long-name-3" in result.out
        assert "gpt-9-preview-2027-01-01" in result.out


def on_terminal(width: int, *arguments: str, **env: str) -> tuple[int, str]:
    """Run the command on a terminal of some width; its status and what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **env}
    process = subprocess.Popen(
        [COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:
        pass  # what reading from a terminal gives whose other side has been closed
    os.close(ours)
    return process.wait(), written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", ["projects", "logs"])
def test_the_width_of_the_terminal_is_asked_for(full: Book, command: str) -> None:
    for width in (120, 60):
        status, written = on_terminal(width, command)
        widths = [cell_len(line) for line in ESCAPE.sub("", written).splitlines()]
        assert status == 0
        assert max(widths) <= width
        assert max(widths) > 50


@pytest.mark.parametrize("width", [120, 80, 60])
@pytest.mark.parametrize("command", [*TABLES, "costs --by model", "calls prod-support-1"])
def test_no_line_is_wider_than_the_terminal(
    full: Book, run: Run, monkeypatch: pytest.MonkeyPatch, command: str, width: int
) -> None:
    full.write(full.row(room="prod-support-1", speech_id="speech_a"))
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", str(width))):
        monkeypatch.setenv(name, value)
    result = run(*command.split())
    lines = ESCAPE.sub("", result.out).splitlines()
    assert result.status == 0
    assert [line for line in lines if cell_len(line) > width] == []


def test_a_terminal_has_colours_unless_they_are_unwanted(full: Book) -> None:
    _, coloured = on_terminal(100, "projects")
    assert "\x1b[1;32mprod" in coloured  # production is green
    assert "\x1b[1;33mstaging" in coloured
    assert "Accent" not in coloured
    _, plain = on_terminal(100, "projects", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    assert "green" in ESCAPE.sub("", plain)


def test_an_error_on_a_terminal_is_red_unless_that_is_unwanted(config: Path) -> None:
    assert "\x1b[1;31mError:\x1b[0m there is no" in on_terminal(80, "project", "show", "x")[1]
    assert "\x1b" not in on_terminal(80, "project", "show", "x", NO_COLOR="1")[1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_a_terminal_that_is_not_unicode_gets_what_it_can_show(full: Book, encoding: str) -> None:
    full.write(full.row(room="会議"))
    how = {"PYTHONIOENCODING": encoding}
    for command in (["projects"], ["logs"], ["check"]):
        process = subprocess.run(
            [COMMAND, *command], env={**os.environ, **how}, capture_output=True, check=False
        )
        assert process.returncode == 0
        assert process.stderr == b""
        process.stdout.decode(encoding)


def test_a_bar_is_drawn_in_ascii_where_there_is_nothing_else(full: Book, start: Run) -> None:
    shown = start("projects", env={"PYTHONIOENCODING": "ascii"}).out
    assert re.search(r"\$12\.4\d +###\.{9}  25 %", shown)


def test_json_is_the_same_in_any_encoding(full: Book, start: Run) -> None:
    full.write(full.row(room="会議"))
    plain = start("logs", "--json", env={"PYTHONIOENCODING": "ascii"})
    readable = start("logs", "--json", env={"PYTHONIOENCODING": "utf-8"})
    assert plain.json == readable.json
    assert "会議" in readable.out


@pytest.mark.parametrize("command", ["logs", "logs --json", "costs", "--help", "check"])
def test_a_reader_that_has_gone_is_no_fault(full: Book, start: Run, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = start(*command.split(), stdout=writing)
    os.close(writing)
    assert result.err == ""
    assert result.status == (1 if command == "--help" else 0)


def test_a_mismatch_is_a_failure_although_nobody_reads_it(full: Book, start: Run) -> None:
    with sqlite3.connect("voicegw.db") as database:
        database.execute("UPDATE usage_daily SET requests = requests + 1")
    database.close()
    reading, writing = os.pipe()
    os.close(reading)
    result = start("verify", stdout=writing)
    os.close(writing)
    assert result.status == 1


def test_head_takes_what_it_wants(full: Book) -> None:
    full.write(*(full.row(ago=5000 + index) for index in range(900)))
    process = subprocess.Popen(
        [COMMAND, "logs", "--limit", "1000", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"{\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_ctrl_c_ends_quietly(folder: Path) -> None:
    os.mkfifo("voicegw.yaml")
    process = subprocess.Popen([COMMAND, "costs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # opens as soon as the command has opened the other end, and waits for what it says
    with Path("voicegw.yaml").open("wb"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert out == b""
    assert err.strip() == b""


def test_an_output_that_cannot_be_written_is_an_error(full: Book, start: Run) -> None:
    with Path("/dev/full").open("wb") as nowhere:
        result = start("costs", stdout=nowhere)
    assert result.status == 1
    assert result.err == "Error: No space left on device\n"
