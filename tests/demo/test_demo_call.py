"""A call in a real AgentSession, as the demo and other tests hold it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from demo_calls import AMIABLE, TEN_METERS, TEXTS, YOUNG_MAN, plugins, turn
from livekit.agents import Agent, ModelSettings, get_job_context

from livekit import rtc
from livekit_plugins_voicegateway.demo.call import hold_call
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

PACE = 4.0


async def test_every_turn_is_heard_and_answered_before_the_next_one(sandbox: Sandbox) -> None:
    call = await hold_call(**plugins(sandbox), turns=[turn(YOUNG_MAN), turn(TEN_METERS)], pace=PACE)

    assert call.transcripts == [TEXTS[YOUNG_MAN], TEXTS[TEN_METERS]]
    assert call.replies == ["That is faint praise.", "Gladly."]
    assert [(t.transcript, t.reply, t.interrupted) for t in call.turns] == [
        (TEXTS[YOUNG_MAN], "That is faint praise.", False),
        (TEXTS[TEN_METERS], "Gladly.", False),
    ]
    assert call.errors == []
    answered = [e.at for e in call.of("agent_state_changed") if e.event.new_state == "listening"]
    assert call.turns[1].began_at > answered[1]


async def test_the_reply_is_played_as_the_provider_made_it(sandbox: Sandbox) -> None:
    call = await hold_call(**plugins(sandbox), turns=[turn(YOUNG_MAN)], pace=PACE)

    (segment,) = call.segments
    assert segment.duration == pytest.approx(sandbox.cartesia.record.totals.audio_seconds)
    assert len(segment.audio) == 2 * round(24000 * segment.duration)
    assert any(segment.audio)
    assert segment.played == segment.duration
    assert not segment.interrupted


async def test_a_caller_who_barges_in_is_heard_and_cuts_the_reply_short(sandbox: Sandbox) -> None:
    call = await hold_call(
        **plugins(sandbox), turns=[turn(AMIABLE), turn(TEN_METERS, barge_in=1.0)], pace=PACE
    )

    first, second = call.turns
    assert first.interrupted
    assert first.reply.startswith("But he was not.")
    assert len(first.reply) < len(sandbox.openai.record.requests[0].text) / 2
    assert call.segments[0].interrupted
    assert 1.0 <= call.segments[0].played < call.segments[0].duration
    assert (second.transcript, second.reply) == (TEXTS[TEN_METERS], "Gladly.")


async def test_metrics_name_the_speech_that_answered_the_turn(sandbox: Sandbox) -> None:
    call = await hold_call(**plugins(sandbox), turns=[turn(YOUNG_MAN)], pace=PACE)

    speech_id = call.turns[0].speech_id
    assert speech_id is not None
    (completion,) = call.of("llm_metrics")
    (synthesis,) = call.of("tts_metrics")
    assert completion.event.speech_id == synthesis.event.speech_id == speech_id
    assert sum(e.event.audio_duration for e in call.of("stt_metrics")) > 3.0


class Greeter(Agent):
    """Remembers in which job and room it spoke."""

    def __init__(self) -> None:
        super().__init__(instructions="Greet.")
        self.seen: list[tuple[str, str, str]] = []

    async def tts_node(
        self, text: Any, model_settings: ModelSettings
    ) -> AsyncIterator[rtc.AudioFrame]:
        job = get_job_context().job
        self.seen.append((job.id, job.room.name, job.metadata))
        async for frame in Agent.default.tts_node(self, text, model_settings):
            yield frame


async def test_the_agent_finds_itself_in_the_job_and_room_it_was_told(sandbox: Sandbox) -> None:
    agent = Greeter()

    call = await hold_call(
        **plugins(sandbox),
        turns=[],
        agent=agent,
        greeting="Hello.",
        room="room-7",
        job_id="job-7",
        job_metadata="{}",
        pace=PACE,
    )

    assert agent.seen == [("job-7", "room-7", "{}")]
    assert (call.room, call.job_id) == ("room-7", "job-7")
    assert call.replies == ["Hello."]


async def test_a_turn_that_nobody_answers_does_not_end_the_call(sandbox: Sandbox) -> None:
    sandbox.openai.faults.append(Fault.status(400))

    call = await hold_call(**plugins(sandbox), turns=[turn(YOUNG_MAN), turn(TEN_METERS)], pace=PACE)

    unanswered, answered = call.turns
    assert (unanswered.transcript, unanswered.reply) == (TEXTS[YOUNG_MAN], "")
    assert answered.reply == "Gladly."
    assert [error.recoverable for error in call.errors] == [False]


async def test_a_session_that_closes_by_itself_ends_the_call(sandbox: Sandbox) -> None:
    sandbox.deepgram.faults.append(Fault.status(401), times=None)

    call = await hold_call(**plugins(sandbox), turns=[turn(YOUNG_MAN), turn(TEN_METERS)], pace=PACE)

    assert call.transcripts == []
    assert call.of("close")[0].event.reason == "error"
    assert call.turns[1].began_at == 0.0
