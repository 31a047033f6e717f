"""Calls in which the budget is spent and raised while the caller speaks.

In each call the caller says one recording five times. Its models change twice, there and back, and
turns in which nothing changes are between, so that each change is compared with a turn of the same
call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import wave
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from livekit.agents import Agent, ModelSettings, llm

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.demo.call import (
    CallEvent,
    CallResult,
    Turn,
    TurnResult,
    hold_call,
)
from livekit_plugins_voicegateway.demo.script import SPEECH, recordings
from livekit_plugins_voicegateway.log import logger

from .stage import Stage, differences, words

__all__ = ["CHANGES", "CLIPS", "TURNS", "Call", "Change", "Said", "TurnName", "hold_calls"]

CLIPS = tuple(sorted(recording.name for recording in recordings()))
ANSWER = "Of course, I can help you with that."

PAUSE = 1.2
"""Seconds between an answer and the caller's next word: the stream asks its budget once a second,
and so is with the right model when the caller speaks."""

TurnName = Literal["raised at the start", "cloud", "spent", "local", "raised"]
TURNS: tuple[TurnName, ...] = ("raised at the start", "cloud", "spent", "local", "raised")
"""A whole call begins with a spent budget. It is raised just before the first word of the first
turn, spent in the middle of the third, and raised in the middle of the fifth."""


class Change(NamedTuple):
    """A change, and the turn that it is compared with.

    Attributes:
        name: What happens to the budget.
        turn: The turn in which it happens.
        without: The turn in which the models that hear it are the same, and nothing changes.
    """

    name: str
    turn: TurnName
    without: TurnName


CHANGES = (
    Change("spent in the middle of the utterance", "spent", "local"),
    Change("raised in the middle of the utterance", "raised", "local"),
    Change("raised when the utterance begins", "raised at the start", "cloud"),
)


EARLIEST = 0.2
"""Seconds before the last word ends, by its loudness, at which an answer may begin."""


@dataclass(frozen=True)
class Said:
    """What became of one turn.

    Attributes:
        clip: The recording.
        words: How many words are said in it.
        wrong: Words that were heard wrong.
        text: What was heard.
        answered_after: Seconds from the last word to the first audio of the answer.
        moved_at: When STT went to another model, in seconds since the first word; None if not.
        last_word: Seconds from the first word to the end of the last.
    """

    clip: str
    words: int
    wrong: int
    text: str
    answered_after: float
    moved_at: float | None
    last_word: float


Call = dict[TurnName, Said]


class Brief(Agent):
    """An agent whose answers are all the same, in the pace of its language model.

    So two answers differ in when they come, not in how long their first clause is.
    """

    def __init__(self) -> None:
        super().__init__(instructions="You are on the telephone. Answer in one short sentence.")

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncIterator[str]:
        """Say a word for each token, and hang up after the last word."""
        answer = ANSWER.split(" ")
        tokens: Any = Agent.default.llm_node(self, chat_ctx, tools, model_settings)
        async with contextlib.aclosing(tokens):
            async for chunk in tokens:
                if answer and chunk.delta and chunk.delta.content:
                    yield answer.pop(0) + " "
                if not answer:
                    return
        for word in answer:
            yield word + " "


class Moves(logging.Handler):
    """Notes when another STT model took over, by the gateway's log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.at: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message."""
        if "goes on with" in record.getMessage():
            self.at.append(record.created)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs."""
        before = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(before)


async def hold_calls(
    stage: Stage, clips: Sequence[str], tries: int, *, turns: Sequence[TurnName], pace: float
) -> list[Call]:
    """Hold calls with each recording.

    Args:
        stage: Where.
        clips: The recordings.
        tries: Calls with each; the budget changes at another moment of the recording in each.
        turns: The turns of each call; what one needs, those before it have brought about.
        pace: Seconds of audio per second.
    """
    calls = []
    for clip in clips:
        for number in range(tries):
            share = (number + 0.5) / tries
            calls.append(await _hold(stage, SPEECH / clip, share, turns, pace))
    return calls


async def _hold(
    stage: Stage, recording: Path, share: float, turns: Sequence[TurnName], pace: float
) -> Call:
    begins, ends = speech_in(recording)
    middle = begins + share * (ends - begins)
    acts: dict[TurnName, tuple[float, Callable[[], None]]] = {
        "raised at the start": (max(0.0, begins - 0.1), stage.pay),
        # a stream asks its budget once a second: half a second later, on average
        "spent": (max(0.0, middle - 0.5), stage.spend),
        "raised": (middle, stage.pay),
    }
    due = list(turns)

    def when(event: CallEvent) -> None:
        if event.name == "turn_began":
            act = acts.get(due.pop(0))
            if act is not None:
                asyncio.get_running_loop().call_later(act[0] / pace, act[1])

    if turns[0].startswith("raised"):
        stage.spend()
    else:
        stage.pay()
    moves = Moves()
    turn = Turn(recording, recordings()[recording], pause=PAUSE)
    with moves.listening():
        result = await hold_call(
            stt=inference.STT("deepgram/nova-3", project="prod"),
            llm=inference.LLM("openai/gpt-4.1-mini", project="prod"),
            tts=inference.TTS("cartesia/sonic-3", project="prod"),
            turns=[turn] * len(turns),
            agent=Brief(),
            pace=pace,
            patience=30.0,
            on_event=when,
        )
    said = [_said(result, turn, moves.at, begins / pace, ends / pace) for turn in result.turns]
    return dict(zip(turns, said, strict=True))


def _said(
    call: CallResult, turn: TurnResult, moves: Sequence[float], begins: float, ends: float
) -> Said:
    name, said = turn.turn.recording.name, words(turn.turn.text)
    first, last = turn.began_at + begins, turn.began_at + ends
    answers = [
        event.at
        for event in call.of("agent_state_changed")
        # a recording goes on after its last word, and the answer may come before it ends
        if event.event.new_state == "speaking" and event.at > last - EARLIEST
    ]
    assert answers, f"{name}: no answer"
    moved = [at - call.started_at - first for at in moves]
    return Said(
        clip=name,
        words=len(said),
        wrong=differences(said, words(turn.transcript)),
        text=turn.transcript,
        answered_after=answers[0] - last,
        moved_at=next((at for at in moved if -0.1 < at < last - first), None),
        last_word=last - first,
    )


def speech_in(recording: Path) -> tuple[float, float]:
    """Where speech begins and ends in a recording, in seconds, by its loudness."""
    with wave.open(str(recording)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        step = file.getframerate() // 100
    loudness = np.abs(samples[: len(samples) // step * step].reshape(-1, step)).mean(axis=1)
    loud = np.flatnonzero(loudness > 0.04 * loudness.max())
    return float(loud[0]) / 100, float(loud[-1] + 1) / 100
