"""A row that cannot be stored as it is holds up no other, and is never lost without a word."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.errors import LedgerError, RowsRefusedError
from livekit_plugins_voicegateway.ledger.base import Ledger, RowFilter
from livekit_plugins_voicegateway.ledger.outbox import MOST_REFUSED, Outbox, drain
from livekit_plugins_voicegateway.ledger.refusals import Refusal, write_all_but
from livekit_plugins_voicegateway.metering.delivery import Delivery
from livekit_plugins_voicegateway.metering.usage import UsageRow

LOGGER = "livekit.plugins.voicegateway"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox" / "outbox.db")


async def stored(ledger: Ledger) -> dict[str, UsageRow]:
    return {row.id: row for row in await ledger.rows(RowFilter(), limit=1000)}


MENDED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("began at nan", {"started_at": math.nan}, {"started_at": NOON}, "started_at=nan"),
    ("began at inf", {"started_at": math.inf}, {"started_at": NOON}, "started_at=inf"),
    ("ended at nan", {"ended_at": math.nan}, {"ended_at": NOON}, "ended_at=nan"),
    ("year 33658", {"started_at": 1e12}, {"started_at": NOON}, "started_at=1"),
    ("tokens", {"input_tokens": 2**70}, {"input_tokens": 2**53}, f"input_tokens={2**70}"),
    ("cost", {"cost_nanos": 2**70}, {"cost_nanos": 2**53}, f"cost_nanos={2**70}"),
    ("no day", {"day": "no day"}, {"day": DAY}, "day=no day"),
    ("seconds", {"audio_seconds": math.nan}, {"audio_seconds": 0.0}, "audio_seconds=nan"),
]


@pytest.mark.parametrize(
    ("changes", "expected", "noted"), [case[1:] for case in MENDED], ids=[c[0] for c in MENDED]
)
async def test_what_can_be_mended_is_recorded_with_a_note(
    ledger: Ledger, outbox: Outbox, changes: dict[str, Any], expected: dict[str, Any], noted: str
) -> None:
    odd, good = replace(usage_row(), **changes), usage_row()
    await ledger.write([odd, good])
    outbox.put([replace(odd, id="by way of the outbox"), usage_row(id="beside it")])
    assert await drain(outbox, ledger) == 2
    found = await stored(ledger)
    assert found[good.id] == good
    assert "beside it" in found
    for row_id in (odd.id, "by way of the outbox"):
        row = found[row_id]
        assert {name: getattr(row, name) for name in expected} == expected
        assert row.estimated
        assert row.error is not None
        assert row.error.startswith("metering failed: ")
        assert noted in row.error
    assert outbox.count() == outbox.count_refused() == 0
    assert (await ledger.check_totals()).mismatches == []


async def test_texts_that_are_none_are_recorded(ledger: Ledger, outbox: Outbox) -> None:
    rows = [usage_row(error="a\0b"), usage_row(room="half of a pair: \ud83d"), usage_row()]
    outbox.put(rows)
    assert await drain(outbox, ledger) == 3
    assert set(await stored(ledger)) == {row.id for row in rows}
    assert outbox.count_refused() == 0


async def test_refused_rows_are_set_aside_and_the_others_written_in_their_order(
    ledger: Ledger, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [usage_row(**({"project": None} if index in (3, 77) else {})) for index in range(100)]
    outbox.put(rows)
    outbox.put([usage_row(id="written down nowhere else", project=None, output_tokens=12)])
    with caplog.at_level(logging.INFO, LOGGER):
        assert await drain(outbox, ledger) == 101
    assert set(await stored(ledger)) == {row.id for row in rows if row.project is not None}
    assert outbox.is_empty()
    assert outbox.count_refused() == 3
    *_, last = outbox.refused(10)
    assert json.loads(last.row)[0] == "written down nowhere else"
    assert json.loads(last.row)[19] == 12
    assert "project" in last.reason
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert all(str(outbox.path) in line and "voicegw outbox --send" in line for line in said)
    assert (await ledger.check_totals()).mismatches == []


async def test_a_row_that_was_refused_is_sent_again_when_asked(
    ledger: Ledger, outbox: Outbox
) -> None:
    row, other = usage_row(), usage_row(project=None)
    # as if a ledger that was updated since had refused the first
    outbox.set_aside([Refusal(row, "an older version knew it not"), Refusal(other, "no project")])
    assert outbox.try_again() == 2
    assert await drain(outbox, ledger) == 2
    assert await stored(ledger) == {row.id: row}
    assert outbox.count_refused() == 1


async def test_what_cannot_even_be_written_down_is_set_aside_at_once(
    ledger: Ledger, outbox: Outbox
) -> None:
    good = usage_row()
    outbox.put(
        [
            usage_row(input_tokens="many"),
            good,
            usage_row(id=None),
            replace(usage_row(started_at=math.nan), day="no day"),
            usage_row(cost_nanos="a lot"),
        ]
    )
    assert outbox.count_refused() == 4
    assert await drain(outbox, ledger) == 1
    assert await stored(ledger) == {good.id: good}
    assert outbox.try_again() == 4
    assert outbox.count_refused() == 4


async def test_a_row_that_is_written_without_an_outbox_in_between_holds_up_no_other_either(
    ledger: Ledger, outbox: Outbox
) -> None:
    async def open_sink() -> Ledger:
        return ledger

    delivery = Delivery(open_sink, lambda: [outbox])
    good = [usage_row() for _ in range(5)]
    for row in (*good[:2], usage_row(project=None), *good[2:], usage_row(price=object())):
        delivery.add(row)
    await delivery.deliver(now=True)
    assert delivery.idle
    assert set(await stored(ledger)) == {row.id for row in good}
    assert outbox.count_refused() == 2


async def test_without_an_outbox_the_log_has_all_that_was_in_a_refused_row(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    async def open_sink() -> Ledger:
        return ledger

    delivery = Delivery(open_sink)
    delivery.add(usage_row(project=None, output_tokens=4711))
    await delivery.deliver(now=True)
    assert delivery.idle
    [record] = [record for record in caplog.records if record.name == LOGGER]
    assert "no outbox to keep it in" in record.getMessage()
    assert "4711" in record.getMessage()


async def test_a_ledger_that_goes_away_while_it_is_looked_for_the_refused_one_loses_nothing(
    outbox: Outbox,
) -> None:
    class Leaving:
        """Refuses rows without a project, and goes away at the fourth write."""

        def __init__(self) -> None:
            self.writes = 0
            self.rows: set[str] = set()

        async def write(self, rows: list[UsageRow]) -> None:
            self.writes += 1
            if self.writes == 4:
                raise LedgerError("it is away")
            if any(row.project is None for row in rows):
                raise RowsRefusedError("no project")
            self.rows |= {row.id for row in rows}

    rows = [usage_row(**({"project": None} if index == 5 else {})) for index in range(8)]
    outbox.put(rows)
    ledger = Leaving()
    with pytest.raises(LedgerError, match="away"):
        await drain(outbox, ledger)
    assert outbox.count() == 8
    assert await drain(outbox, ledger) == 8
    assert ledger.rows == {row.id for row in rows if row.project is not None}
    assert (outbox.count(), outbox.count_refused()) == (0, 1)


async def test_a_ledger_that_takes_no_rows_at_all_refuses_none(outbox: Outbox) -> None:
    class Away:
        async def write(self, rows: list[UsageRow]) -> None:
            raise LedgerError("it is away")

    with pytest.raises(LedgerError, match="away"):
        await write_all_but(Away(), [usage_row()])


def test_what_is_set_aside_is_bounded_and_the_log_is_too(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    for start in range(0, MOST_REFUSED + 1000, 1000):
        outbox.set_aside([Refusal(usage_row(id=f"{start + i:05}"), "no") for i in range(1000)])
    assert outbox.count_refused() == MOST_REFUSED
    assert json.loads(outbox.refused(1)[0].row)[0] == "01000"
    said = [record.getMessage() for record in caplog.records]
    assert sum("drops the oldest 1000 rows" in line for line in said) == 1
    assert len(said) < 30
