"""A bug of ours ends none of the gateway's threads, and what fails with one row harms no other."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from faulting.injection import functions, injected
from faulting.watched_calls import gateway_on
from livekit.agents.utils import http_context
from support.gateways import usage_rows

from livekit_plugins_voicegateway import background
from livekit_plugins_voicegateway.background import BackgroundThread
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.metering import recorder
from livekit_plugins_voicegateway.metering.meter import Meter, Request, SpeechMeter
from livekit_plugins_voicegateway.sandbox import Sandbox

CONFIG = "projects: {prod: {}}"


def synthesis(gateway: Gateway, *, number: int) -> SpeechMeter:
    request = Request(
        gateway.new_id(), "prod", "tts", "cartesia", "sonic-3", "cartesia/sonic-3", room=f"{number}"
    )
    meter = SpeechMeter(request)
    meter.sent = True
    meter.push(100)
    return meter


def test_a_thread_goes_on_after_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RESTART", 0.0)
    runs: list[int] = []
    gone_on, may_end = threading.Event(), threading.Event()

    def main() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise LookupError("a bug")
        gone_on.set()
        may_end.wait(30)

    thread = BackgroundThread("test", main)
    thread.begin()
    assert gone_on.wait(30)
    assert thread.is_alive()
    may_end.set()
    assert thread.join(30)


@pytest.mark.parametrize("name", ["_round", "_collect", "_main"])
async def test_the_recorder_writes_all_when_a_bug_in_it_is_over(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RESTART", 0.01)
    [target] = [t for t in functions(recorder) if t.name == f"metering.recorder.Recorder.{name}"]
    async with Sandbox() as sandbox, http_context.open():
        async with gateway_on(sandbox, tmp_path, CONFIG) as gateway:
            with injected(target, "before") as injection:
                for number in range(3):
                    meter = synthesis(gateway, number=number)
                    gateway.track(meter)
                    meter.close("completed")
                await gateway.flush(0.5)
            assert injection.strikes
            rows = await usage_rows(gateway)
    found = sorted((row["room"], row["characters"]) for row in rows)
    assert found == [("0", 100), ("1", 100), ("2", 100)]


async def test_a_row_that_cannot_be_made_holds_up_no_other(tmp_path: Path) -> None:
    class Odd(SpeechMeter):
        def measure(self) -> object:  # type: ignore[override]
            raise LookupError("a bug")

    class Broken(SpeechMeter):
        @property
        def age_ms(self) -> float:
            raise LookupError("a bug")

    async with Sandbox() as sandbox, http_context.open():
        async with gateway_on(sandbox, tmp_path, CONFIG) as gateway:
            whole = synthesis(gateway, number=0)
            meters: list[Meter] = [Odd(whole.request), Broken(whole.request), whole]
            for meter in meters:
                gateway.track(meter)
                meter.close("completed")
            rows = await usage_rows(gateway)
    assert len(rows) == 3
    # which of them got the least id of their millisecond is chance
    unknown, *known = sorted(rows, key=lambda row: -1 if row["cost_nanos"] is None else 0)
    assert (unknown["cost_nanos"], unknown["estimated"]) == (None, 1)
    assert unknown["error"].startswith("metering failed: LookupError")
    assert max(row["characters"] for row in known) == 100
