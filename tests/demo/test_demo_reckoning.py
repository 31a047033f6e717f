"""Costs by turn, and when recorded is as near to billed as promised."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from demo_calls import SPEECH, YOUNG_MAN, turn

from livekit_plugins_voicegateway.demo.call import CallResult, Turn, TurnResult
from livekit_plugins_voicegateway.demo.local_models import LocalModels
from livekit_plugins_voicegateway.demo.performance import perform
from livekit_plugins_voicegateway.demo.reckoning import (
    Comparison,
    compare,
    faults_of_spending,
    turn_costs,
    word_error_rate,
)
from livekit_plugins_voicegateway.demo.script import CONVERSATIONS, conversations
from livekit_plugins_voicegateway.errors import UnknownModelError
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.sandbox import Sandbox, SpeechRecord

STARTED_AT = 1_700_000_000.0

ROW = UsageRow(
    id="row",
    request_id="request",
    started_at=STARTED_AT,
    ended_at=STARTED_AT + 1,
    day="2023-11-14",
    project="production",
    modality="stt",
    provider="deepgram",
    model="nova-3",
    requested_model="deepgram/nova-3",
    status="completed",
)

NO_LOCAL_MODELS = LocalModels(None, None, ())


def call_of_two_turns() -> CallResult:
    return CallResult(
        room="demo-production",
        job_id="job",
        started_at=STARTED_AT,
        duration=10.0,
        turns=(
            TurnResult(turn(YOUNG_MAN), began_at=1.0, ended_at=3.0),
            TurnResult(turn(YOUNG_MAN), began_at=6.0, ended_at=8.0),
        ),
        events=(),
        segments=(),
    )


def request_at(seconds: float, modality: str, nanos: int | None) -> UsageRow:
    return dataclasses.replace(
        ROW, started_at=STARTED_AT + seconds, modality=modality, cost_nanos=nanos
    )


def test_a_request_belongs_to_the_turn_in_which_it_began() -> None:
    rows = [request_at(0.5, "tts", 5), request_at(3.5, "llm", 7), request_at(8.5, "llm", 9)]

    greeting, first, second = turn_costs(call_of_two_turns(), rows)

    assert (greeting.nanos, first.nanos, second.nanos) == ({"tts": 5}, {"llm": 7}, {"llm": 9})


def test_a_stream_is_shared_by_time_and_nothing_of_it_is_lost() -> None:
    costs = turn_costs(call_of_two_turns(), [request_at(0.0, "stt", 1001)])

    assert [cost.nanos["stt"] for cost in costs] == [100, 501, 400]


def test_a_request_of_unknown_price_makes_its_turn_unknown_not_free() -> None:
    rows = [request_at(3.5, "llm", None), request_at(4.0, "llm", 7)]

    assert turn_costs(call_of_two_turns(), rows)[1].nanos == {"llm": None}


@pytest.mark.parametrize(
    ("recorded", "kept"), [(100.0, True), (101.0, True), (99.0, True), (101.1, False), (0, False)]
)
def test_a_promise_is_kept_up_to_its_bound(recorded: float, kept: bool) -> None:
    assert Comparison("deepgram", "seconds", recorded, 100.0, "within 1 %", 1.0).kept is kept


async def test_a_project_is_compared_with_what_was_paid_with_its_own_keys() -> None:
    sandbox = Sandbox()
    for project, text in (("production", "Good evening!"), ("staging", "Hello.")):
        sandbox.cartesia.record.requests.append(
            SpeechRecord(
                id=project,
                key=f"demo-{project}-cartesia",
                model="sonic-3",
                headers={},
                started_at=STARTED_AT,
                live=True,
                text=text,
                characters=len(text),
            )
        )
    rows = [dataclasses.replace(ROW, modality="tts", provider="cartesia", characters=19)]

    (whole,) = compare(rows, sandbox)
    (staging,) = compare(rows, sandbox, "staging")

    assert (whole.recorded, whole.billed, whole.kept) == (19, 19, True)
    assert (staging.recorded, staging.billed, staging.kept) == (0, 6, True)
    assert staging.allowed == 6


async def test_a_caller_who_was_heard_wrong_is_a_fault(tmp_path: Path) -> None:
    misheard = dataclasses.replace(
        CONVERSATIONS[1], turns=(Turn(SPEECH / YOUNG_MAN, "She was a young woman."),)
    )

    outcome = await perform(tmp_path, [misheard], NO_LOCAL_MODELS)

    (fault,) = outcome.faults
    assert fault.startswith("staging, turn 1: said 'She was a young woman.', heard 'He was not")


async def test_a_model_that_does_not_exist_is_the_error_that_a_worker_would_see(
    tmp_path: Path,
) -> None:
    unknown = dataclasses.replace(CONVERSATIONS[1], llm="openia/gpt-4o-mini")

    with pytest.raises(UnknownModelError, match="openai"):
        await perform(tmp_path, [unknown], NO_LOCAL_MODELS)


def test_words_heard_wrong_are_counted_as_a_part_of_those_said() -> None:
    assert word_error_rate("Go forward ten meters.", "go forward 10 metres") == 0
    assert word_error_rate("He was not an old man.", "He was an old man.") == 1 / 6
    assert word_error_rate("yes", "") == 1


def test_a_conversation_whose_budget_was_spent_must_have_gone_on_with_local_models() -> None:
    spent = conversations(local=True)[0]
    faults = faults_of_spending(spent, [])
    assert [fault.rpartition(" ")[2] for fault in faults][:3] == list(spent.models[:3])


def test_without_local_models_there_are_two_conversations_and_no_budget_is_spent() -> None:
    held = conversations(local=False)
    assert [each.project for each in held] == ["production", "staging"]
    assert all(each.spent_in is None for each in held)
