"""`voicegw outbox` shows what waits on this host, and makes nothing where nothing waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.command_line import Book, Run

from livekit_plugins_voicegateway.cli.formats import local_time
from livekit_plugins_voicegateway.ledger.outbox import Outbox, open_outboxes


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
