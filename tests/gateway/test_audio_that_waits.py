"""Audio that was pushed and has yet to be sent belongs to the row in which it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from livekit.agents import utils
from support.gateways import SPEECH, gateway_on, usage_rows

from livekit import rtc
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.demo.line import read_recording
from livekit_plugins_voicegateway.sandbox import Sandbox

SECOND = 2 * 16_000


async def test_nothing_is_lost_when_the_price_changes_while_audio_waits(tmp_path: Path) -> None:
    samples = read_recording(SPEECH / "austen-0890.wav")
    seconds = [samples[i * SECOND : (i + 1) * SECOND] for i in range(4)]
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.transcripts = ["Unless to be rather cold-hearted."]
        async with gateway_on(sandbox, tmp_path) as gateway:
            model = inference.STT("deepgram/nova-3", project="prod")
            stream = model.stream()
            for number, second in enumerate(seconds):
                if number == 3:
                    # Deepgram has a price of its own for these; nothing was sent so far
                    model._update_session_keyterms(["Dashwood"])
                stream.push_frame(rtc.AudioFrame(second, 16_000, 1, len(second) // 2))
            stream.end_input()
            async for _ in stream:
                pass
            await stream.aclose()
            await model.aclose()
            await sandbox.settled()
            rows = await usage_rows(gateway)
    billed = sandbox.deepgram.record.totals.audio_seconds
    assert len(rows) == 2
    assert billed == pytest.approx(4.0, abs=0.1)
    assert sum(row["audio_seconds"] for row in rows) == pytest.approx(billed, abs=0.1)
