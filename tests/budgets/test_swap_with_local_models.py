"""A budget is spent in the middle of an utterance: real local models take over, and give back.

A real `AgentSession` with recorded speech in real time, cloud models of the sandbox, and whisper,
Kokoro and a small language model of this machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import stt
from local_calls import Line, edit_distance, open_line, speech_in, turn, words
from support.gateways import usage_rows
from support.usage_rows import usage_row
from swap_streams import set_budget

from livekit_plugins_voicegateway.demo.call import CallEvent, CallResult
from livekit_plugins_voicegateway.demo.local_models import LocalModels
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR

pytestmark = pytest.mark.timeout(300)

LONG = turn("austen-0890.wav")
SHORT = turn("austen-0880.wav")
FINAL = stt.SpeechEventType.FINAL_TRANSCRIPT
EDGES = (stt.SpeechEventType.START_OF_SPEECH, stt.SpeechEventType.END_OF_SPEECH)

# $0.0048 a minute: three seconds cost $0.00024, and are over in the middle of the first utterance
THREE_SECONDS = "0.00024"
PIECE = 0.1
"""Seconds of audio that may be billed and not recorded where a cloud's stream is left."""
UNDER_WAY = 0.5
"""Seconds of audio that may be recorded and not billed there: what was on its way, which is more on
a busy machine."""

LOCAL = ("whisper-base", "smollm2:135m", "kokoro")
CLOUD = ("nova-3", "gpt-4.1-mini", "sonic-3")


class Clock:
    """Unix time that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def turn_the_day(self) -> None:
        now = self()
        self.ahead += (now // 86400 + 1) * 86400 + 60 - now


def once_answered(act: Callable[[], object]) -> Callable[[CallEvent], None]:
    """``act`` when the first answer was said."""
    waiting = [act]

    def when(event: CallEvent) -> None:
        answered = event.name == "agent_state_changed" and event.event.old_state == "speaking"
        if answered and waiting:
            waiting.pop()()

    return when


def models_of(call: CallResult) -> list[tuple[str, ...]]:
    """The models in the metrics of the chat's messages: one of the caller's, two of the agent's,
    none of a greeting."""
    messages = [event.event.item for event in call.of("conversation_item_added")]
    names = []
    for message in messages:
        if message.type == "message":
            metrics: dict[str, Any] = message.metrics
            kinds = ("stt_metadata", "llm_metadata", "tts_metadata")
            names.append(tuple(metrics[kind]["model_name"] for kind in kinds if kind in metrics))
    return names


def heard(line: Line) -> tuple[list[stt.SpeechData], list[stt.SpeechEventType]]:
    """The final transcripts, and the starts and ends of speech."""
    return (
        [event.alternatives[0] for event in line.heard if event.type is FINAL],
        [event.type for event in line.heard if event.type in EDGES],
    )


async def billed(line: Line) -> dict[str, float]:
    """What the cloud would bill: seconds, tokens, characters."""
    await line.sandbox.settled()
    totals = {name: record["totals"] for name, record in line.sandbox.record.items()}
    return {
        "seconds": totals["deepgram"]["audio_seconds"],
        "tokens": totals["openai"]["input_tokens"],
        "characters": totals["cartesia"]["characters"],
    }


async def spend_elsewhere(line: Line, *, dollars: int) -> None:
    """Another process spends today's budget, and this one hears of it: it is lowered by a cent."""
    gateway = line.gateway
    today = gateway.config.days.day_of(gateway.clock())
    async with make_ledger(gateway.config.database_url) as ledger:
        await ledger.write([usage_row(day=today, cost_nanos=dollars * NANOS_PER_DOLLAR)])
    set_budget(gateway, str(dollars - Decimal("0.01")))


async def test_the_caller_is_heard_whole_and_answered_by_local_models(
    tmp_path: Path, local_models: LocalModels
) -> None:
    async with open_line(tmp_path, local_models, budget=THREE_SECONDS) as line:
        call = await line.call(LONG)
        rows = await usage_rows(line.gateway)
        bill = await billed(line)
        alone = await line.whole(LONG.recording)
    [result] = call.turns
    finals, edges = heard(line)

    # the words: as the local model alone hears the whole utterance
    assert edit_distance(words(result.transcript), words(alone)) == 0
    assert edges == list(EDGES)

    # the times: where the words are in the audio
    begins, ends = speech_in(line.audio)
    assert finals[0].start_time == pytest.approx(line.audio_began + begins, abs=0.3)
    assert finals[-1].end_time == pytest.approx(line.audio_began + ends, abs=0.3)

    # the answer
    assert result.reply
    assert not result.interrupted
    assert models_of(call) == [LOCAL[:1], LOCAL[1:]]

    # the money: the cloud heard until the budget was spent, and nothing after
    assert [row["model"] for row in rows] == ["nova-3", *LOCAL]
    assert [row["requested_model"] for row in rows] == [
        "deepgram/nova-3",
        "deepgram/nova-3",
        "openai/gpt-4.1-mini",
        "cartesia/sonic-3",
    ]
    assert {row["status"] for row in rows} == {"completed"}
    cloud, *local = rows
    assert {row["cost_nanos"] for row in local} == {0}
    assert cloud["request_id"] == local[0]["request_id"]
    assert (bill["tokens"], bill["characters"]) == (0, 0)
    assert -PIECE <= cloud["audio_seconds"] - bill["seconds"] <= UNDER_WAY
    assert cloud["audio_seconds"] < ends
    # what the cloud had heard of the utterance was heard again
    given = sum(frame.duration for frame in line.audio)
    assert local[0]["audio_seconds"] > given - cloud["audio_seconds"] + 0.5
    assert sum(len(text) for text in call.replies) <= local[2]["characters"]


@pytest.mark.parametrize("how", ["the budget is raised", "the day turns"])
async def test_the_next_turn_is_the_clouds_again(
    tmp_path: Path, local_models: LocalModels, how: str
) -> None:
    clock = Clock()
    async with open_line(tmp_path, local_models, budget="5", clock=clock) as line:
        spending: list[asyncio.Task[None]] = []

        def pay_again() -> None:
            if how == "the day turns":
                clock.turn_the_day()
            else:
                set_budget(line.gateway, "20")

        answered = once_answered(pay_again)

        def when(event: CallEvent) -> None:
            if event.name == "user_state_changed" and not spending:
                spending.append(asyncio.create_task(spend_elsewhere(line, dollars=5)))
            elif spending:
                answered(event)

        call = await line.call(LONG, SHORT, greeting="Good evening!", when=when)
        await spending[0]
        rows = [row for row in await usage_rows(line.gateway) if row["room"] == call.room]
        bill = await billed(line)
        alone = await line.whole(LONG.recording)
    one, two = call.turns
    _, edges = heard(line)

    # no word is lost and none heard twice: one turn is the local model's, the other the cloud's
    assert edit_distance(words(one.transcript), words(alone)) == 0
    assert two.transcript == SHORT.text
    assert edges == [*EDGES, *EDGES]
    assert models_of(call) == [(), LOCAL[:1], LOCAL[1:], CLOUD[:1], CLOUD[1:]]
    assert two.reply.startswith("That is praise")

    # one voice after the other, at one rate
    assert len(call.segments) == 3
    rates = {(f.sample_rate, f.num_channels) for s in call.segments for f in s.frames}
    assert rates == {(24_000, 1)}

    served = [row["model"] for row in rows if row["modality"] == "stt"]
    assert served[0] == served[-1] == "nova-3"
    assert "whisper-base" in served
    paid = [row for row in rows if row["model"] in CLOUD]
    recorded = sum(row["audio_seconds"] or 0 for row in paid if row["modality"] == "stt")
    assert -PIECE <= recorded - bill["seconds"] <= UNDER_WAY
    assert all(row["cost_nanos"] > 0 for row in paid)
    assert all(row["cost_nanos"] == 0 for row in rows if row["model"] in LOCAL)
