"""The example workers hold calls: in LiveKit's console, and in job processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from console_line import listening
from example_workers import CLOUD_NAMES, WORKERS, Desk

from livekit_plugins_voicegateway import demo
from livekit_plugins_voicegateway.sandbox import ChatRequest, Sandbox

pytestmark = pytest.mark.timeout(300)

SPEECH = Path(demo.__file__).parent / "speech"
YOUNG_MAN = SPEECH / "austen-0880.wav"
RUN_JOB = Path(__file__).with_name("run_job.py")


@pytest.mark.parametrize("name", CLOUD_NAMES)
async def test_a_spoken_call_in_the_console_is_on_the_default_project(
    name: str, desk: Desk, sandbox: Sandbox
) -> None:
    text = json.loads((SPEECH / "transcripts.json").read_text())[YOUNG_MAN.name]
    sandbox.deepgram.add_clip(YOUNG_MAN, text)
    console = ("-m", "livekit.agents", "console", str(WORKERS / name))
    async with listening() as (address, connected):
        async with desk.start(*console, "--connect-addr", address) as worker:
            line = await worker.until(connected)
            await worker.until(line.until_said("Hello, caller."))
            await line.say(YOUNG_MAN)
            await worker.until(line.until_said("That is faint praise."))
            await worker.end(signal.SIGINT)
        assert text in line.messages
        assert any(line.heard)

    rows = await desk.rows()
    assert {row.modality for row in rows} == {"stt", "llm", "tts"}
    assert {row.project for row in rows} == {"production"}
    assert {row.room for row in rows} == {"console-room"}
    (job_id,) = {row.job_id for row in rows}
    assert job_id is not None
    assert job_id.startswith("mock-job-")
    assert "open" not in {row.status for row in rows}
    heard = sum(row.audio_seconds for row in rows if row.modality == "stt")
    # the end of the call may have been on its way still, which is more on a busy machine
    assert -0.1 <= heard - sandbox.deepgram.record.totals.audio_seconds <= 0.5
    keys = {request.key for request in sandbox.openai.record.requests}
    assert keys == {"key-of-production-OPENAI"}


async def test_a_job_whose_metadata_names_a_project_is_on_that_project(
    desk: Desk, sandbox: Sandbox
) -> None:
    asked = asyncio.Event()

    def reply(request: ChatRequest) -> str:
        asked.set()
        return "Hello, caller."

    sandbox.openai.replies = reply
    job = ("project_per_room", "room-7", "job-7", '{"project": "staging"}')
    async with desk.start(str(RUN_JOB), *job, env={"PYTHONPATH": str(WORKERS)}) as worker:
        await worker.until(asked.wait())
        worker.write(b"\n")
        assert await worker.until(worker.ended) == 0

    rows = await desk.rows()
    assert "llm" in {row.modality for row in rows}
    assert {(row.project, row.room, row.job_id) for row in rows} == {("staging", "room-7", "job-7")}
    keys = {request.key for request in sandbox.openai.record.requests}
    assert keys == {"key-of-staging-OPENAI"}
