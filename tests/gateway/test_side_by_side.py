"""A request through the gateway and the same request to the plugin itself look the same.

Each case runs twice on a sandbox of its own, once with the real plugin and once with ours around
it: results, metrics events, error events, the exception at the end and the number of requests that
reached the provider must be equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm, utils
from plugin_pairs import direct, through
from support.gateways import SPEECH, gateway_on
from support.traces import HASTY, PATIENT, Trace, chat, recognize, speak, transcribe

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.sandbox import Fault, Reply, Sandbox, ToolCall

Use = Callable[[Any], Awaitable[Trace]]

REPLY = "Indeed he was not. He was rather cold hearted, and rather selfish, if we believe her."


@dataclass(frozen=True)
class Case:
    """What to do with a model, and what the sandbox does meanwhile."""

    use: Use
    faults: tuple[tuple[Fault, int | None], ...] = ()
    replies: tuple[Reply | str, ...] = (REPLY,)
    pace: float | None = None


@llm.function_tool
async def look_up(name: str) -> str:
    """Look up a character of the novel."""
    return name


CHATS = {
    "answered": Case(chat),
    "with tools": Case(
        lambda model: chat(model, tools=[look_up], tool_choice="required"),
        replies=(Reply(tool_calls=[ToolCall("look_up", {"name": "John Dashwood"})]),),
    ),
    "with two tool calls at once": Case(
        lambda model: chat(model, tools=[look_up], parallel_tool_calls=True),
        replies=(Reply(tool_calls=[ToolCall("look_up", {"name": n}) for n in ("John", "Fanny")]),),
    ),
    "with a response format": Case(
        lambda model: chat(model, response_format={"type": "json_object"})
    ),
    "with extra options": Case(lambda model: chat(model, extra_kwargs={"temperature": 0.3})),
    "interrupted": Case(lambda model: chat(model, stop_after=5)),
    "500 twice, then answered": Case(chat, faults=((Fault.status(500), 2),)),
    "500 for ever": Case(chat, faults=((Fault.status(500), None),)),
    "429 once": Case(chat, faults=((Fault.status(429, retry_after=0.1), 1),)),
    "401": Case(chat, faults=((Fault.status(401), None),)),
    "refused once": Case(chat, faults=((Fault.refuse(), 1),)),
    "cut in the middle for ever": Case(chat, faults=((Fault.cut(5), None),)),
    "cut before the first token": Case(chat, faults=((Fault.cut(0), 1),)),
    "garbage": Case(chat, faults=((Fault.garbage(after=3), None),)),
    "stalled": Case(lambda model: chat(model, conn_options=HASTY), faults=((Fault.stall(), None),)),
}

SYNTHESES = {
    "streamed": Case(speak),
    "whole": Case(lambda model: speak(model, whole=True)),
    "streamed, interrupted": Case(lambda model: speak(model, stop_after=2), pace=2.0),
    "whole, interrupted": Case(lambda model: speak(model, whole=True, stop_after=2), pace=2.0),
    "refused once": Case(speak, faults=((Fault.refuse(), 1),)),
    "500 for ever": Case(speak, faults=((Fault.status(500), None),)),
    "whole, 500 twice": Case(
        lambda model: speak(model, whole=True), faults=((Fault.status(500), 2),)
    ),
    "whole, 429": Case(lambda model: speak(model, whole=True), faults=((Fault.status(429), 1),)),
    "error before audio, then spoken": Case(speak, faults=((Fault.error(done=False), 1),)),
    "error before audio for ever": Case(speak, faults=((Fault.error(done=False), None),)),
    "error in the middle": Case(speak, faults=((Fault.error(after=3, done=False), None),)),
    "cut before audio": Case(speak, faults=((Fault.cut(0), 1),)),
    "cut in the middle": Case(speak, faults=((Fault.cut(3), None),)),
    "stalled": Case(
        lambda model: speak(model, conn_options=HASTY), faults=((Fault.stall(after=0), None),)
    ),
}

STREAMS = {
    "heard to the end": Case(transcribe),
    "hung up after the first words": Case(
        lambda model: transcribe(model, until=lambda trace: len(trace.results) >= 2)
    ),
    "refused twice, then heard": Case(transcribe, faults=((Fault.refuse(), 2),)),
    "refused for ever": Case(transcribe, faults=((Fault.refuse(), None),)),
    "401": Case(transcribe, faults=((Fault.status(401), None),)),
    "cut in the middle, once": Case(transcribe, faults=((Fault.cut(1.5), 1),)),
    "garbage": Case(transcribe, faults=((Fault.garbage(after=1.0), 1),)),
    "keyterms change between two utterances": Case(
        lambda model: transcribe(
            model, between=lambda _: model._update_session_keyterms(["Dashwood"])
        )
    ),
    "flushed between two utterances": Case(
        lambda model: transcribe(model, between=lambda stream: stream.flush())
    ),
}

RECOGNITIONS = {
    "heard": Case(recognize),
    "500 twice, then heard": Case(recognize, faults=((Fault.status(500), 2),)),
    "500 for ever": Case(recognize, faults=((Fault.status(500), None),)),
    "garbage": Case(recognize, faults=((Fault.garbage(), None),)),
}


def prepare(sandbox: Sandbox, kind: str, case: Case) -> Any:
    provider = {"llm": sandbox.openai, "tts": sandbox.cartesia, "stt": sandbox.deepgram}[kind]
    for fault, times in case.faults:
        provider.faults.append(fault, times=times)
    sandbox.openai.replies = list(case.replies)
    if case.pace is not None:
        sandbox.cartesia.pace = case.pace
    sandbox.deepgram.add_clip(SPEECH / "austen-0880.wav", "He was not an ill-disposed young man.")
    return provider


async def compare(kind: str, case: Case, folder: Path) -> None:
    async def use(sandbox: Sandbox, make: Callable[[], Any]) -> tuple[Trace, int]:
        provider = prepare(sandbox, kind, case)
        model = make()
        trace = await case.use(model)
        await model.aclose()
        await sandbox.settled()
        return trace, provider.record.totals.requests

    # both at once: a stream of the Deepgram plugin takes 5 s to notice that it has ended
    async with (
        utils.http_context.open(),
        Sandbox() as sandbox,
        Sandbox() as ours,
        gateway_on(ours, folder),
    ):
        (expected, of_plugin), (seen, of_ours) = await asyncio.gather(
            use(sandbox, lambda: direct(kind, sandbox)), use(ours, lambda: through(kind))
        )
    assert seen.results == expected.results
    assert seen.errors == expected.errors
    assert seen.raised == expected.raised
    assert seen.metrics == expected.metrics
    assert of_ours == of_plugin
    assert expected.results or expected.raised


@pytest.mark.parametrize("name", CHATS)
async def test_a_completion_looks_like_the_plugins_own(name: str, tmp_path: Path) -> None:
    await compare("llm", CHATS[name], tmp_path)


@pytest.mark.parametrize("name", SYNTHESES)
async def test_a_synthesis_looks_like_the_plugins_own(name: str, tmp_path: Path) -> None:
    await compare("tts", SYNTHESES[name], tmp_path)


@pytest.mark.parametrize("name", STREAMS)
async def test_a_transcription_looks_like_the_plugins_own(name: str, tmp_path: Path) -> None:
    await compare("stt", STREAMS[name], tmp_path)


@pytest.mark.parametrize("name", RECOGNITIONS)
async def test_a_recognition_looks_like_the_plugins_own(name: str, tmp_path: Path) -> None:
    await compare("stt", RECOGNITIONS[name], tmp_path)


async def test_an_error_reaches_listeners_once_with_patience(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        sandbox.openai.faults.append(Fault.status(500), times=1)
        model = inference.LLM("openai/gpt-4.1-mini", project="prod")
        trace = await chat(model, conn_options=PATIENT)
        await model.aclose()
    assert [recoverable for *_, recoverable, _ in trace.errors] == [True]
