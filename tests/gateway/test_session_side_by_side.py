"""A session on the plugins themselves and one through the gateway, told apart by nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, APIError, function_tool, llm, utils
from plugin_pairs import direct, plugin, through
from support.gateways import SPEECH, gateway_on, usage_rows

from livekit_plugins_voicegateway.demo.call import CallResult, Turn, hold_call
from livekit_plugins_voicegateway.sandbox import Fault, Reply, Sandbox, ToolCall

CLIP, SAID = SPEECH / "austen-0880.wav", "He was not an ill-disposed young man."


class Reader(Agent):
    """Looks up characters of the novel."""

    def __init__(self) -> None:
        super().__init__(instructions="You talk about Jane Austen.")

    @function_tool
    async def look_up(self, name: str) -> str:
        """Look up a character."""
        return f"{name} is the heir of Norland"


async def ask(model: llm.LLM[Any]) -> dict[str, Any]:
    """What a session in writing makes of a question that needs a tool."""
    events: list[str] = []
    session: AgentSession[None] = AgentSession(
        llm=model, vad=None, turn_handling={"turn_detection": None}
    )
    async with session:
        session.on("session_usage_updated", lambda _: events.append("usage"))
        session.on("function_tools_executed", lambda _: events.append("tool"))
        await session.start(Reader())
        result = await session.run(user_input="Who is John?")
        items = [item for item in session.history.items if item.type != "agent_config_update"]
        replies = [item for item in items if item.type == "message" and item.role == "assistant"]
        return {
            "events": events,
            "happened": [type(event).__name__ for event in result.events],
            "history": [(item.type, getattr(item, "text_content", None)) for item in items],
            "served": [
                {name: value for name, value in reply.metrics.items() if name.endswith("metadata")}
                for reply in replies
            ],
            "usage": [
                (used.model, used.input_tokens, used.output_tokens)
                for used in session.usage.model_usage
                if used.type == "llm_usage"
            ],
        }


async def test_a_conversation_in_writing_is_the_same(tmp_path: Path) -> None:
    told = []
    async with utils.http_context.open(), Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        for model in (direct("llm", sandbox), through("llm")):
            sandbox.openai.replies = [
                Reply(tool_calls=[ToolCall("look_up", {"name": "John"})]),
                "He is the heir of Norland.",
            ]
            async with model:
                told.append(await ask(model))
    of_plugin, of_ours = told
    assert of_ours == of_plugin
    assert of_ours["events"].count("tool") == 1
    assert of_ours["usage"]
    assert of_ours["history"][-1] == ("message", "He is the heir of Norland.")


async def test_an_error_reaches_the_session_as_it_does_from_the_plugin(tmp_path: Path) -> None:
    told = []
    async with utils.http_context.open(), Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        sandbox.openai.faults.append(Fault.status(400), times=None)
        for model in (direct("llm", sandbox), through("llm")):
            errors: list[Any] = []
            session: AgentSession[None] = AgentSession(
                llm=model, vad=None, turn_handling={"turn_detection": None}
            )
            async with model, session:
                session.on("error", errors.append)
                await session.start(Reader())
                with pytest.raises(APIError) as caught:
                    await session.run(user_input="Who is John?")
            assert [event.source for event in errors] == [model]
            told.append(
                (
                    type(caught.value),
                    [(type(event.error.error), event.error.recoverable) for event in errors],
                )
            )
    assert told[0] == told[1]


def shape(result: CallResult) -> dict[str, Any]:
    """What was said in a call, and who reported what how often."""
    items = [event.event.item for event in result.of("conversation_item_added")]
    return {
        "transcripts": result.transcripts,
        "replies": result.replies,
        "errors": result.errors,
        # not the STT's, whose connection is cut into reports by the clock
        "metrics": Counter(event.name for event in result.of("llm_metrics", "tts_metrics")),
        "states": [event.event.new_state for event in result.of("agent_state_changed")],
        "served": [
            {name: value for name, value in item.metrics.items() if name.endswith("metadata")}
            for item in items
            if item.type == "message"
        ],
        "timed": [sorted(item.metrics) for item in items if item.type == "message"],
    }


async def test_a_spoken_call_is_the_same(tmp_path: Path) -> None:
    told = []
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path) as gateway:
        sandbox.deepgram.add_clip(CLIP, SAID)
        for make in (lambda kind: direct(kind, sandbox), through):
            sandbox.openai.replies = ["I suspect there is more to the sentence."]
            stt, brain, tts = make("stt"), make("llm"), make("tts")
            result = await hold_call(
                stt=stt, llm=brain, tts=tts, turns=[Turn(CLIP, SAID)], greeting="Good evening!"
            )
            told.append(shape(result))
        rows = await usage_rows(gateway)
    of_plugins, of_ours = told
    assert of_ours == of_plugins
    assert of_ours["transcripts"] == [SAID]
    assert of_ours["replies"][-1] == "I suspect there is more to the sentence."
    served = {
        name: value["model_name"]
        for metadata in of_ours["served"]
        for name, value in metadata.items()
    }
    assert served == {
        "stt_metadata": "nova-3",
        "llm_metadata": "gpt-4.1-mini",
        "tts_metadata": "sonic-3",
    }
    assert Counter(row["modality"] for row in rows) == {"stt": 1, "llm": 1, "tts": 2}


async def test_the_session_hands_its_models_on_and_not_the_plugins(tmp_path: Path) -> None:
    # the stream of an STT survives the handoff to another agent by identity
    async with utils.http_context.open(), Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        model = through("stt")
        session: AgentSession[None] = AgentSession(stt=model, llm=through("llm"), vad=None)
        assert session.stt is model
        assert session.stt is not plugin(model)
        await session.aclose()
        for one in (session.stt, session.llm):
            await one.aclose()
