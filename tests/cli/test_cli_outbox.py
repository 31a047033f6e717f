"""`voicegw outbox` shows what waits on this host, and makes nothing where nothing waits."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import Book, Run
from support.usage_rows import start_process

from livekit_plugins_voicegateway.cli.formats import local_time
from livekit_plugins_voicegateway.ledger.outbox import Outbox, open_outboxes
from livekit_plugins_voicegateway.ledger.refusals import Refusal


@pytest.fixture
def waiting(book: Book) -> Iterator[Outbox]:
    [outbox, _] = open_outboxes(book.config)
    yield outbox
    outbox.close()
    outbox.path.unlink(missing_ok=True)


def test_nothing_waits(waiting: Outbox, run: Run) -> None:
    assert run("outbox").out == "Nothing waits: the ledger has all usage.\n"
    answer = run("outbox", "--json").json
    assert answer["rows"] == 0
    assert answer["outboxes"][0] == {
        "path": str(waiting.path),
        "rows": 0,
        "bytes": 0,
        "oldest": None,
        "sent_by": None,
        "refused": 0,
        "refusals": [],
        "problem": None,
        "moved_aside": [],
    }
    assert not waiting.exists()


def test_what_waits_is_shown_with_its_place_and_its_age(
    book: Book, waiting: Outbox, run: Run
) -> None:
    oldest = book.row(project="prod", ago=90.0)
    waiting.put([oldest, book.row(project="prod")])
    shown = run("outbox").out
    assert "2 rows of usage wait" in shown
    assert str(waiting.path) in shown.replace("\n", "")
    answer = run("outbox", "--json").json
    [entry, _] = answer["outboxes"]
    assert (answer["rows"], entry["rows"]) == (2, 2)
    assert entry["bytes"] > 0
    clock = local_time(entry["oldest"], book.config.timezone)
    assert clock in shown


def test_what_waits_is_sent_on_when_asked(book: Book, waiting: Outbox, run: Run) -> None:
    waiting.put([book.row(project="prod"), book.row(project="prod")])
    sent = run("outbox", "--send")
    assert (sent.status, sent.out) == (0, "Nothing waits: the ledger has all usage.\n")
    assert waiting.count() == 0
    assert "2 requests" in run("verify").out


def test_what_another_process_sends_on_is_left_to_it(book: Book, waiting: Outbox, run: Run) -> None:
    waiting.put([book.row(project="prod")])
    with waiting.draining() as ours:
        assert ours
        left = run("outbox", "--send", "--json")
    assert (left.status, left.json["rows"]) == (1, 1)


def test_what_the_ledger_does_not_take_stays(book: Book, waiting: Outbox, run: Run) -> None:
    waiting.put([book.row(project="prod")])
    Path(book.config.database_url.removeprefix("sqlite:///")).mkdir()
    refused = run("outbox", "--send")
    assert refused.status == 1
    assert "Traceback" not in refused.err
    assert waiting.count() == 1


def test_nothing_is_made_where_nothing_waits_to_be_sent(
    book: Book, waiting: Outbox, run: Run
) -> None:
    assert run("outbox", "--send").status == 0
    assert not waiting.exists()
    assert not Path(book.config.database_url.removeprefix("sqlite:///")).exists()


def test_what_was_refused_is_shown_with_its_reason_and_sent_again_when_asked(
    book: Book, waiting: Outbox, run: Run
) -> None:
    row = book.row(project="prod", output_tokens=4711)
    waiting.set_aside([Refusal(row, "it has no project")])
    shown = run("outbox")
    assert shown.status == 0
    assert "1 row of usage was refused" in shown.out
    assert "it has no project" in shown.out
    answer = run("outbox", "--json").json
    assert (answer["rows"], answer["refused"]) == (0, 1)
    [refusal] = answer["outboxes"][0]["refusals"]
    assert refusal["row"]["output_tokens"] == 4711
    sent = run("outbox", "--send")
    assert (sent.status, sent.out) == (0, "Nothing waits: the ledger has all usage.\n")
    assert "1 request" in run("verify").out


def test_what_is_refused_again_is_no_failure_and_stays_set_aside(
    book: Book, waiting: Outbox, run: Run
) -> None:
    waiting.put([book.row(project="prod"), replace(book.row(project="prod"), model=None)])  # type: ignore[arg-type]
    sent = run("outbox", "--send", "--json")
    assert (sent.json["rows"], sent.json["refused"]) == (0, 1)
    assert "1 request" in run("verify").out


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who has a lock")
def test_the_process_that_sends_it_on_is_named(book: Book, waiting: Outbox, run: Run) -> None:
    waiting.put([book.row(project="prod")])
    assert "`voicegw outbox --send`" in run("outbox").out.replace("\n", " ")

    async def hold() -> None:
        with Outbox(waiting.path).draining():
            os.kill(os.getpid(), signal.SIGSTOP)

    process, _ = start_process(hold)
    os.waitid(os.P_PID, process.pid or 0, os.WSTOPPED)
    try:
        assert f"Process {process.pid} sends on" in run("outbox").out.replace("\n", " ")
        assert run("outbox", "--json").json["outboxes"][0]["sent_by"] == process.pid
    finally:
        process.kill()
        process.join()


def test_a_damaged_outbox_is_shown_and_left_as_it_is(book: Book, waiting: Outbox, run: Run) -> None:
    waiting.path.parent.mkdir(parents=True, exist_ok=True)
    garbage = b"no database at all " * 500
    waiting.path.write_bytes(garbage)
    shown = run("outbox")
    assert shown.status == 1
    assert "is not a database" in shown.out.replace("\n", " ")
    assert "Traceback" not in shown.err
    assert waiting.path.read_bytes() == garbage
    assert "is not a database" in run("outbox", "--json").json["outboxes"][0]["problem"]
    waiting.put([book.row(project="prod")])  # as a worker would
    [aside] = waiting.moved_aside()
    answer = run("outbox", "--json").json
    assert answer["outboxes"][0]["moved_aside"] == [str(aside)]
    assert ".recover" in run("outbox").out
    aside.unlink()
