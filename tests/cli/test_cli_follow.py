"""`voicegw logs --follow`: what comes is shown, once when it begins and once when it has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import COMMAND, Book, Run, reported
from support.machine import PATIENCE


class Following:
    """The command, following."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "logs", "--follow", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line of its output, runs of spaces as one."""
        assert self.process.stdout is not None
        return " ".join(self.process.stdout.readline().split())

    def entry(self) -> Any:
        return json.loads(self.line())

    def remark(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Tell it to end; its status, and what it has still written."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        # click puts the prompt of the shell on a line of its own
        return self.process.returncode, out, err.removesuffix("\n")


@pytest.fixture
def follow(folder: Path) -> Iterator[Callable[..., Following]]:
    started: list[Following] = []

    def follow(*arguments: str) -> Following:
        started.append(Following(*arguments))
        return started[-1]

    yield follow
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()
        for stream in (each.process.stdout, each.process.stderr):
            if stream is not None:
                stream.close()


Follow = Callable[..., Following]


def test_it_begins_with_the_newest_and_goes_on(book: Book, follow: Follow) -> None:
    rows = [book.row(ago=900 - index, room=f"call-{index}") for index in range(12)]
    book.write(*rows)
    following = follow("--json")
    assert [following.entry()["id"] for _ in range(10)] == [row.id for row in rows[2:]]
    new = book.tts(ago=1)
    book.write(new)
    entry = following.entry()
    assert entry == reported(book, "logs", None, 1)["logs"][0]
    assert entry["id"] == new.id
    assert following.end() == (130, "", "")


def test_a_request_is_shown_when_it_begins_and_when_it_has_ended(
    book: Book, follow: Follow
) -> None:
    book.write(book.row(ago=900, id="before"), book.stt(ago=800, id="under-way", status="open"))
    following = follow("--json", "--limit", "2")
    assert [following.entry()["id"] for _ in range(2)] == ["before", "under-way"]
    book.write(book.stt(ago=5, id="long", status="open", audio_seconds=1.0))
    begun = following.entry()
    assert (begun["id"], begun["status"]) == ("long", "open")
    # that it goes on is no news
    book.write(book.stt(ago=5, id="long", status="open", audio_seconds=2.0, duration_ms=2000.0))
    book.write(book.stt(ago=800, id="under-way", status="completed", duration_ms=3000.0))
    assert following.entry()["id"] == "under-way"
    book.write(book.stt(ago=5, id="long", status="cancelled", duration_ms=4000.0))
    ended = following.entry()
    assert (ended["id"], ended["status"]) == ("long", "cancelled")
    assert following.end()[:2] == (130, "")


def test_a_request_that_was_written_late_is_not_missed(book: Book, follow: Follow) -> None:
    book.write(book.row(ago=5))
    following = follow("--json")
    following.entry()
    book.write(book.row(ago=7200, id="late"))
    assert following.entry()["id"] == "late"


def test_only_what_is_asked_for_is_shown(book: Book, follow: Follow) -> None:
    book.write(book.row(ago=90, id="a", status="open"), book.row(ago=80, id="b", status="open"))
    following = follow("--json", "--status", "failed", "--project", "dev", "--model", "openai/x")
    assert "nothing yet that was asked for" in following.remark()
    how: dict[str, Any] = {"project": "dev", "model": "x", "ago": 5}
    book.write(
        book.row(**how, id="c", status="open"),
        book.row(**how, id="d", status="completed"),
        book.row(**{**how, "project": "prod"}, id="e", status="failed"),
        book.row(**{**how, "model": "y"}, id="f", status="failed"),
    )
    book.write(book.row(**how, id="c", status="failed"))
    entry = following.entry()
    assert (entry["id"], entry["status"]) == ("c", "failed")
    assert following.end()[:2] == (130, "")


def test_a_terminal_gets_lines_with_the_day_above_them(book: Book, follow: Follow) -> None:
    book.write(book.row(ago=60, room="support-1"))
    following = follow()
    assert following.line() == book.config.days.day_of(book.now)
    shown = following.line().partition(" ")[2]
    assert shown == (
        "prod llm openai/gpt-4.1-mini $0.000177 completed 246 in, 49 out 310 ms 1.50 s support-1"
    )
    book.write(book.row(ago=1, status="failed", cost_nanos=None, error="no\x1b[2J answer"))
    assert " unknown failed " in following.line()
    assert following.line() == "no�[2J answer"


def test_a_ledger_that_is_not_there_yet_is_waited_for(config: Path, follow: Follow) -> None:
    following = follow("--json")
    assert "there is no ledger" in following.remark()
    book = Book()
    book.write(book.row(ago=5, id="first"))
    assert following.entry()["id"] == "first"


def test_a_ledger_that_fails_for_a_while_is_waited_for(book: Book, follow: Follow) -> None:
    book.write(book.row(ago=50))
    following = follow("--json")
    following.entry()
    Path("voicegw.db").rename("away.db")
    Path("voicegw.db").write_bytes(b"no ledger at all" * 64)
    assert following.remark().startswith("Waiting: the ledger ")
    Path("away.db").rename("voicegw.db")
    book.write(book.row(ago=5, id="after"))
    assert following.entry()["id"] == "after"
    # said once, however long it lasted
    assert following.end() == (130, "", "")


def test_another_ledger_in_its_place_is_followed(book: Book, follow: Follow) -> None:
    book.write(*(book.row(ago=50 - index) for index in range(5)))
    following = follow("--json", "--limit", "1")
    following.entry()
    for path in Path().glob("voicegw.db*"):
        path.unlink()
    book.write(book.row(ago=5, id="anew"))
    assert following.entry()["id"] == "anew"


def test_it_ends_when_its_reader_has_gone_although_nothing_comes(
    book: Book, follow: Follow
) -> None:
    book.write(book.row(ago=50))
    following = follow("--json")
    following.entry()
    assert following.process.stdout is not None
    assert following.process.stderr is not None
    following.process.stdout.close()
    assert following.process.wait(PATIENCE) == 0
    assert following.process.stderr.read() == ""


def test_projects_that_are_made_at_run_time_can_be_followed(
    book: Book, run: Run, follow: Follow
) -> None:
    run("project", "create", "acme")
    following = follow("--json", "--project", "acme")
    following.remark()
    book.write(book.row(project="acme", id="first"))
    assert following.entry()["id"] == "first"


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--cursor", "x"], 2, "--cursor"),
        (["--project", "prdo"], 1, "'prod'"),
        (["--model", "openai/"], 2, "model"),
    ],
)
def test_what_cannot_be_followed_is_said(
    book: Book, run: Run, options: list[str], status: int, says: str
) -> None:
    result = run("logs", "--follow", *options)
    assert result.status == status
    assert says in result.err


def test_following_imports_nothing_heavy(book: Book, follow: Follow) -> None:
    book.write(book.row(ago=50))
    os.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        following = follow("--json")
        following.entry()
    finally:
        del os.environ["PYTHONPROFILEIMPORTTIME"]
    status, _, err = following.end()
    assert status == 130
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines() if "|" in line}
    assert "livekit_plugins_voicegateway.following" in imported
    heavy = {"livekit.agents", "genai_prices", "fastapi", "pydantic", "rich"}
    assert not imported & heavy
