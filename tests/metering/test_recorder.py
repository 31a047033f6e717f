"""The recorder: rows appear, follow their meters, split at midnight, and survive a bad ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from support.machine import PATIENCE

from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.metering.delivery import Delivery
from livekit_plugins_voicegateway.metering.estimates import Calibration, Prompt
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.meter import (
    CompletionMeter,
    Request,
    SpeechMeter,
    TranscriptionMeter,
)
from livekit_plugins_voicegateway.metering.recorder import Recorder
from livekit_plugins_voicegateway.metering.rows import RowBuilder
from livekit_plugins_voicegateway.metering.usage import Modality, UsageRow
from livekit_plugins_voicegateway.pricing.book import PriceBook

MIDNIGHT = 1_800_057_600.0  # 2027-01-16T00:00:00Z


class MemoryLedger:
    """A ledger that keeps the newest version of each row, and can be told to refuse."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRow] = {}
        self.writes: list[list[UsageRow]] = []
        self.refuse = False
        self.refused = threading.Event()
        self.wrote = threading.Event()

    async def write(self, rows: list[UsageRow]) -> None:
        if self.refuse:
            self.refused.set()
            raise OSError("no space left on device")
        self.writes.append(rows)
        self.rows.update({row.id: row for row in rows})
        self.wrote.set()

    async def close(self) -> None:
        pass


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def clock() -> Clock:
    return Clock(MIDNIGHT - 3600)


@pytest.fixture
def recorder(ledger: MemoryLedger, clock: Clock) -> Iterator[Recorder]:
    days = Days(ZoneInfo("UTC"))
    rows = RowBuilder(PriceBook({}, {}), new_id=uuid7, day_of=days.day_of)

    async def open_sink() -> MemoryLedger:
        return ledger

    recorder = Recorder(
        Delivery(open_sink),
        rows,
        day_of=days.day_of,
        day_start=lambda day: days.bounds(day)[0],
        clock=clock,
    )
    yield recorder
    assert recorder.close()


def request(modality: Modality, provider: str, model: str) -> Request:
    return Request(uuid7(), "prod", modality, provider, model, f"{provider}/{model}")


def flushed(recorder: Recorder) -> bool:
    return recorder.flush().result(timeout=PATIENCE)


def test_an_open_row_is_written_before_the_request_ends(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    meter = TranscriptionMeter(request("stt", "deepgram", "nova-3"), clock=clock)
    recorder.track(meter)
    assert ledger.wrote.wait(PATIENCE)
    [row] = ledger.rows.values()
    assert (row.status, row.ended_at, row.cost_nanos) == ("open", None, 0)


def test_a_closed_row_has_what_was_used_and_its_price(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    meter = TranscriptionMeter(request("stt", "deepgram", "nova-3"), clock=clock)
    recorder.track(meter)
    meter.push(60.0)
    clock.now += 61
    meter.close("completed")
    assert flushed(recorder)
    [row] = ledger.rows.values()
    assert row.status == "completed"
    assert row.audio_seconds == 60.0
    assert row.cost_nanos == 4_800_000  # $0.0048 a minute
    assert row.ended_at == row.started_at + 61
    assert "deepgram/nova-3" in (row.price or "")


def test_audio_that_still_waits_to_be_sent_is_not_counted(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    meter = TranscriptionMeter(request("stt", "deepgram", "nova-3"), clock=clock)
    meter.push(10.0)
    meter.unsent_seconds = lambda: 4.0
    recorder.track(meter)
    assert flushed(recorder)
    [row] = ledger.rows.values()
    assert row.audio_seconds == 6.0


def test_an_stt_stream_gets_a_new_row_at_midnight_and_no_second_is_lost(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    clock.now = MIDNIGHT - 10
    meter = TranscriptionMeter(request("stt", "deepgram", "nova-3"), clock=clock)
    recorder.track(meter)
    meter.push(10.0)
    assert flushed(recorder)
    clock.now = MIDNIGHT + 0.1
    assert flushed(recorder)
    meter.push(5.0)
    clock.now = MIDNIGHT + 5
    meter.close("completed")
    assert flushed(recorder)
    first, second = sorted(ledger.rows.values(), key=lambda row: row.day)
    assert (first.day, first.audio_seconds, first.status) == ("2027-01-15", 10.0, "completed")
    assert (second.day, second.audio_seconds, second.status) == ("2027-01-16", 5.0, "completed")
    assert first.request_id == second.request_id
    assert first.id != second.id
    assert first.ended_at == second.started_at == MIDNIGHT


def test_a_completion_over_midnight_stays_with_the_day_it_began_on(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    clock.now = MIDNIGHT - 1
    meter = CompletionMeter(
        request("llm", "openai", "gpt-4.1-mini"), Prompt([], [], Calibration()), clock=clock
    )
    recorder.track(meter)
    assert flushed(recorder)
    clock.now = MIDNIGHT + 1
    meter.close("completed")
    assert flushed(recorder)
    [row] = ledger.rows.values()
    assert row.day == "2027-01-15"


def test_rows_wait_while_the_ledger_refuses_and_are_all_there_afterwards(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.refuse = True
    for _ in range(3):
        meter = SpeechMeter(request("tts", "cartesia", "sonic-3"), clock=clock)
        meter.sent = True
        meter.push(100)
        recorder.track(meter)
        meter.close("completed")
        assert not flushed(recorder)
    ledger.refuse = False
    assert flushed(recorder)
    assert [row.characters for row in ledger.rows.values()] == [100, 100, 100]
    failures = [record for record in caplog.records if "cannot write usage" in record.message]
    assert len(failures) == 1


def test_who_stops_waiting_for_a_flush_stops_nothing_else(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    recorder.track(meter := SpeechMeter(request("tts", "cartesia", "sonic-3"), clock=clock))
    recorder.submit(hold_up)
    assert begun.wait(PATIENCE)
    assert recorder.flush().cancel()  # as asyncio.wait_for does when its time is over
    go_on.set()
    meter.sent = True
    meter.push(100)
    meter.close("completed")
    assert flushed(recorder)
    assert [row.characters for row in ledger.rows.values()] == [100]


def test_a_job_that_fails_holds_up_no_usage(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        raise LookupError("no such price")

    recorder.track(SpeechMeter(request("tts", "cartesia", "sonic-3"), clock=clock))
    recorder.submit(fail)
    recorder.submit(done.set)
    assert flushed(recorder)
    assert done.is_set()
    assert len(ledger.rows) == 1
    assert [r.levelname for r in caplog.records] == ["ERROR"]


def test_time_that_costs_is_kept_up_to_date_though_nobody_speaks(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    seconds = Clock(0.0)
    meter = TranscriptionMeter(
        request("stt", "assemblyai", "universal-streaming"), clock=clock, monotonic=seconds
    )
    meter.connected()
    recorder.track(meter)
    assert flushed(recorder)
    seconds.now = 2.0
    assert flushed(recorder)
    [row] = ledger.rows.values()
    assert (row.connection_seconds, row.cost_nanos) == (2.0, 2 * 150_000_000 // 3_600)


def test_audio_that_is_sent_while_it_is_counted_is_no_fault(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Ending(TranscriptionMeter):
        """The event loop ends the stream between two looks of the recorder at it."""

        looks = 0

        def __getattribute__(self, name: str) -> object:
            if name == "unsent_seconds":
                type(self).looks += 1
                return None if type(self).looks % 2 == 0 else lambda: 4.0
            return super().__getattribute__(name)

    meter = Ending(request("stt", "deepgram", "nova-3"), clock=clock)
    meter.push(10.0)
    recorder.track(meter)
    assert flushed(recorder)
    assert not caplog.records


def test_an_unknown_price_is_recorded_as_unknown_and_said_once(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        meter = SpeechMeter(request("tts", "acme", "in-house"), clock=clock)
        meter.sent = True
        meter.push(100)
        recorder.track(meter)
        meter.close("completed")
    assert flushed(recorder)
    assert [row.cost_nanos for row in ledger.rows.values()] == [None, None]
    assert len([r for r in caplog.records if "no price is known for acme" in r.message]) == 1


def test_a_fault_in_the_metering_marks_the_row_and_raises_nothing(
    recorder: Recorder, ledger: MemoryLedger, clock: Clock
) -> None:
    meter = SpeechMeter(request("tts", "cartesia", "sonic-3"), clock=clock)
    recorder.track(meter)
    meter.push("not a number")  # type: ignore[arg-type]
    meter.close("completed")
    assert flushed(recorder)
    [row] = ledger.rows.values()
    assert row.status == "completed"
    assert row.error is not None
    assert row.error.startswith("metering failed: TypeError")
