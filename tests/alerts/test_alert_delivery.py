"""Sending: to a real receiver, tried again, given up, taken over from the dead, sent once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path

import pytest
from support.alerts import some_alert
from support.usage_rows import start_process
from support.webhooks import Receiver

from livekit_plugins_voicegateway.alerts import delivery
from livekit_plugins_voicegateway.alerts.delivery import Deliverer, pause_after
from livekit_plugins_voicegateway.alerts.endpoint import Endpoint, sign
from livekit_plugins_voicegateway.alerts.worker import AlertWorker
from livekit_plugins_voicegateway.ledger.base import Ledger
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering.ids import uuid7

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Clock:
    """Time that passes by itself, and jumps when a test says so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def worker_on(path: Path, url: str, **options: object) -> AlertWorker:
    async def open_ledger() -> Ledger:
        ledger = SqliteLedger(path)
        await ledger.open()
        return ledger

    return AlertWorker(
        Endpoint(url, SECRET),
        open_ledger,
        uuid7(),
        **{"pause_after": lambda tries: 0.02, **options},  # type: ignore[arg-type]
    )


def deliverer(ledger: Ledger, url: str, clock: Clock | None = None) -> Deliverer:
    return Deliverer(
        Endpoint(url, SECRET),
        ledger,
        uuid7(),
        clock=clock or time.time,
        pause_after=lambda tries: 0.0,
    )


def test_a_receiver_gets_what_happened_signed(path: Path, receiver: Receiver) -> None:
    alert = some_alert()
    worker = worker_on(path, receiver.url)
    worker.tell(alert)
    [message] = receiver.wait_for(1)
    assert worker.close()
    assert message.body == alert.body.encode()
    assert message.json["id"] == message.id == alert.id
    timestamp = int(message.headers["webhook-timestamp"])
    assert abs(timestamp - time.time()) < 60
    assert message.headers["webhook-signature"] == sign(SECRET, message.id, timestamp, message.body)
    assert message.headers["content-type"] == "application/json"


def test_a_receiver_that_fails_at_first_is_tried_again_with_the_same_id(path: Path) -> None:
    with Receiver([500, 503, 429]) as receiver:
        worker = worker_on(path, receiver.url)
        worker.tell(some_alert())
        messages = receiver.wait_for(4)
        assert worker.close()
        assert len({message.id for message in messages}) == 1
        assert [message.status for message in messages] == [500, 503, 429, 204]


async def test_a_delivered_alert_is_not_sent_again(
    ledger: SqliteLedger, receiver: Receiver
) -> None:
    await ledger.add_alert(some_alert())
    for _ in range(3):
        await deliverer(ledger, receiver.url).deliver_due()
    assert len(receiver.received) == 1
    assert await ledger.waiting_alerts() == 0


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
async def test_an_answer_that_will_not_change_ends_the_tries_with_one_line_of_the_log(
    ledger: SqliteLedger, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver([status], headers={"location": "/elsewhere"}) as receiver:
        await ledger.add_alert(some_alert())
        for _ in range(3):
            await deliverer(ledger, receiver.url).deliver_due()
        assert len(receiver.received) == 1
    [record] = caplog.records
    assert f"HTTP {status}" in record.getMessage()
    assert record.levelno == logging.ERROR
    assert await ledger.waiting_alerts() == 0


async def test_a_redirect_is_not_followed(ledger: SqliteLedger, receiver: Receiver) -> None:
    with Receiver([307], headers={"location": receiver.url}) as redirecting:
        await ledger.add_alert(some_alert())
        await deliverer(ledger, redirecting.url).deliver_due()
        assert len(redirecting.received) == 1
    assert receiver.received == []


async def test_an_alert_that_nobody_takes_is_given_up_after_a_day(
    ledger: SqliteLedger, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    url = receiver.url
    with Receiver() as closed:
        unreachable = closed.url
    clock = Clock()
    await ledger.add_alert(some_alert())
    await _once(ledger, unreachable, clock)
    assert "tried again" in caplog.records[-1].getMessage()
    clock.ahead = 25 * 3600
    ledger._clock = clock
    await _once(ledger, unreachable, clock)
    assert "given up" in caplog.records[-1].getMessage()
    assert await ledger.waiting_alerts() == 0
    await deliverer(ledger, url, clock).deliver_due()
    assert receiver.received == []


async def _once(ledger: SqliteLedger, url: str, clock: Clock) -> None:
    await Deliverer(
        Endpoint(url), ledger, uuid7(), clock=clock, pause_after=lambda tries: 60.0
    ).deliver_due()


async def test_a_receiver_may_ask_for_a_longer_pause(ledger: SqliteLedger) -> None:
    with Receiver([429], headers={"retry-after": "120"}) as receiver:
        await ledger.add_alert(some_alert())
        before = time.time()
        await _once(ledger, receiver.url, Clock())
        due = await ledger.next_alert()
        assert due is not None
        assert due >= before + 120


def test_pauses_double_up_to_an_hour_and_differ_by_chance() -> None:
    for tries in range(1, 40):
        longest = min(3600, 5 * 2 ** (tries - 1))
        pauses = {pause_after(tries) for _ in range(20)}
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(pauses) > 1


async def test_who_dies_while_sending_is_taken_over_and_who_is_alive_is_not(
    ledger: SqliteLedger, path: Path, receiver: Receiver
) -> None:
    clock = Clock()
    ledger._clock = clock
    with Receiver([0]) as stalled:
        process, _ = start_process(_tell, path, stalled.url)
        [message] = stalled.wait_for(1)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    await deliverer(ledger, receiver.url, clock).deliver_due()
    assert receiver.received == []  # it may yet be alive
    clock.ahead = delivery.CLAIM_SECONDS + 1
    await deliverer(ledger, receiver.url, clock).deliver_due()
    [again] = receiver.received
    assert (again.id, again.body) == (message.id, message.body)


async def _tell(path: Path, url: str) -> None:
    worker = worker_on(path, url)
    worker.tell(some_alert())
    await asyncio.Event().wait()


def test_many_processes_that_notice_the_same_tell_it_once(path: Path, receiver: Receiver) -> None:
    processes = [start_process(_note_and_deliver, path, receiver.url) for _ in range(6)]
    for process, results in processes:
        assert results.poll(60)
        assert results.recv() == "done"
        process.join()
    assert sorted(message.json["model"] for message in receiver.received) == sorted(MODELS)


MODELS = [f"voice-{number}" for number in range(15)]


async def _note_and_deliver(path: Path, url: str) -> str:
    async with SqliteLedger(path) as ledger:
        for model in MODELS:
            await ledger.add_alert(some_alert(model))
            await deliverer(ledger, url).deliver_due()
    return "done"


async def test_who_ends_while_a_receiver_stalls_leaves_the_alert_to_others(
    ledger: SqliteLedger, path: Path, receiver: Receiver
) -> None:
    with Receiver([0]) as stalled:
        worker = worker_on(path, stalled.url)
        worker.tell(some_alert())
        await asyncio.to_thread(stalled.wait_for, 1)
        assert await asyncio.to_thread(worker.close)
    await deliverer(ledger, receiver.url).deliver_due()
    assert len(receiver.received) == 1


async def test_what_was_noticed_last_is_in_the_ledger_when_the_process_ends(
    ledger: SqliteLedger, path: Path, receiver: Receiver
) -> None:
    with Receiver([0]) as stalled:
        worker = worker_on(path, stalled.url)
        worker.tell(some_alert("first"))
        await asyncio.to_thread(stalled.wait_for, 1)
        worker.tell(some_alert("second"))
        assert await asyncio.to_thread(worker.close)
    await deliverer(ledger, receiver.url).deliver_due()
    assert {message.json["model"] for message in receiver.received} == {"first", "second"}


def test_a_process_asks_the_ledger_once_about_what_it_has_told(
    path: Path, receiver: Receiver
) -> None:
    opened = 0

    async def open_ledger() -> Ledger:
        nonlocal opened
        opened += 1
        ledger = SqliteLedger(path)
        await ledger.open()
        return ledger

    worker = AlertWorker(Endpoint(receiver.url), open_ledger, uuid7())
    for _ in range(1000):
        worker.tell(some_alert())
    receiver.wait_for(1)
    assert worker.close()
    assert opened == 1


def test_what_the_ledger_would_not_take_is_sent_when_it_is_back(
    tmp_path: Path, receiver: Receiver
) -> None:
    folder = tmp_path / "gone"
    folder.write_text("no folder")
    worker = worker_on(folder / "voicegw.db", receiver.url, poll=0.02)
    worker.tell(some_alert())
    worker.tell_directly(some_alert("directly"))
    receiver.wait_for(1)
    folder.unlink()
    worker.look()
    messages = receiver.wait_for(2)
    assert worker.close()
    assert [message.json["model"] for message in messages] == ["directly", "voice-1"]


def test_what_no_ledger_keeps_is_sent_before_the_process_ends(
    path: Path, receiver: Receiver
) -> None:
    worker = worker_on(path, receiver.url)
    worker.tell_directly(some_alert())
    assert worker.close()
    assert {message.json["model"] for message in receiver.received} == {"voice-1"}


def test_a_server_sends_what_was_left_behind(path: Path, receiver: Receiver) -> None:
    with Receiver([0]) as stalled:
        worker = worker_on(path, stalled.url)
        worker.tell(some_alert())
        stalled.wait_for(1)
        assert worker.close()
    server = worker_on(path, receiver.url, poll=0.02)
    server.look()
    receiver.wait_for(1)
    assert server.close()


async def test_neither_address_nor_secret_is_in_the_log(
    ledger: SqliteLedger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Receiver() as closed:
        address = closed.url.replace("//", "//me:p4ss@").replace("/hook", "/hook/T0KEN")
    await ledger.add_alert(some_alert())
    await _once(ledger, address, Clock())
    with Receiver([404]) as refusing:
        address = refusing.url.replace("//", "//me:p4ss@").replace("/hook", "/hook/T0KEN")
        ledger._clock = lambda: time.time() + 3600
        clock = Clock()
        clock.ahead = 3600
        await _once(ledger, address, clock)
        assert refusing.received[0].path == "/hook/T0KEN"
    assert "given up" in caplog.text
    for secret in ("p4ss", "T0KEN", SECRET):
        assert secret not in caplog.text
