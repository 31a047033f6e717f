"""A budget that is spent in the middle of an utterance: another model takes over, no word is lost.

The model that takes over is a second model of the sandboxed Deepgram, which hears by content: a
lost second of audio loses its words, and a second heard twice says them twice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from livekit.agents import stt, utils
from support.gateways import SPEECH, gateway_on, usage_rows
from support.traces import PATIENT, frames

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Sandbox

WORDS = (
    "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them."
)
PROJECTS = """
projects:
  prod:
    daily_budget: {budget}
    budget_action: throttle
    fallback: {{stt: "deepgram/nova-2", llm: none, tts: none}}
"""


async def hear(
    sandbox: Sandbox, gateway: Gateway, *, clips: int = 1
) -> list[tuple[stt.SpeechEventType, str, float]]:
    """Push the clip three times as fast as it was spoken; give what was heard."""
    sandbox.deepgram.add_clip(SPEECH / "austen-0870.wav", WORDS)
    model = inference.STT("deepgram/nova-3", project="prod")
    events: list[tuple[stt.SpeechEventType, str, float]] = []
    finals = 0
    stream = model.stream(conn_options=PATIENT)

    async def push() -> None:
        for _ in range(clips):
            for index, frame in enumerate(frames("austen-0870.wav", silence=1.5)):
                stream.push_frame(frame)
                if index % 5 == 0:
                    await asyncio.sleep(0.1 / 3)
            await asyncio.sleep(0.3)
        stream.end_input()

    pushing = asyncio.create_task(push())
    async for event in stream:
        if event.type in (
            stt.SpeechEventType.START_OF_SPEECH,
            stt.SpeechEventType.END_OF_SPEECH,
            stt.SpeechEventType.FINAL_TRANSCRIPT,
        ):
            data = event.alternatives[0] if event.alternatives else None
            events.append((event.type, data.text if data else "", data.end_time if data else 0.0))
            finals += data is not None
    await pushing
    await stream.aclose()
    await model.aclose()
    return events


def spoken(events: list[tuple[stt.SpeechEventType, str, float]]) -> str:
    return " ".join(
        text for kind, text, _ in events if kind == stt.SpeechEventType.FINAL_TRANSCRIPT
    )


async def test_no_word_is_lost_and_none_heard_twice(tmp_path: Path) -> None:
    # $0.0048 a minute: four seconds cost $0.00032
    text = PROJECTS.format(budget="0.00032")
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, text) as gateway:
            events = await hear(sandbox, gateway)
            await sandbox.settled()
            rows = await usage_rows(gateway)
    assert spoken(events) == WORDS
    kinds = [kind for kind, _, _ in events if kind != stt.SpeechEventType.FINAL_TRANSCRIPT]
    assert kinds == [stt.SpeechEventType.START_OF_SPEECH, stt.SpeechEventType.END_OF_SPEECH]
    assert [row["model"] for row in rows] == ["nova-3", "nova-2"]
    assert {row["requested_model"] for row in rows} == {"deepgram/nova-3"}
    assert len({row["request_id"] for row in rows}) == 1
    cloud = next(row for row in rows if row["model"] == "nova-3")
    # the budget, and at most the second that was under way and the next
    assert cloud["cost_nanos"] <= 320_000 + 2 * 80_000


async def test_a_stream_with_money_is_left_alone(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, PROJECTS.format(budget="1.00")) as gateway:
            events = await hear(sandbox, gateway)
            rows = await usage_rows(gateway)
    assert spoken(events) == WORDS
    assert [row["model"] for row in rows] == ["nova-3"]
