"""Another model takes over in the middle of a stream, and gives back: words, times, events, rows.

Both models are the sandboxed Deepgram's, which hears by content: a lost second of audio loses its
words, and a second heard twice says them twice. What real local models make of it is tested in
`test_swap_with_local_models`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import stt, utils
from support.gateways import SPEECH, gateway_on, usage_rows
from swap_streams import Heard, hear, recording, set_budget, silence

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Sandbox

CLIP = recording("austen-0870.wav")
WORDS = (
    "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them."
)
NEXT_CLIP = recording("austen-0930.wav")
NEXT_WORDS = "He might even have been made amiable himself."
PROJECTS = """
projects:
  prod:
    daily_budget: 5.00
    budget_action: throttle
    fallback: {stt: "deepgram/nova-2", llm: none, tts: none}
"""
TODAY = time.time()
MIDNIGHT = (TODAY // 86400 + 1) * 86400


class Clock:
    """Unix time that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def line(
    folder: Path, text: str = PROJECTS, clock: Clock | None = None
) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.add_clip(SPEECH / "austen-0870.wav", WORDS)
        sandbox.deepgram.add_clip(SPEECH / "austen-0930.wav", NEXT_WORDS)
        async with gateway_on(sandbox, folder, text, clock=clock or Clock()) as gateway:
            yield sandbox, gateway


async def listen(gateway: Gateway, *audio: Any, **options: Any) -> tuple[Heard, list[str]]:
    """What was heard, and the models that heard it."""
    model = inference.STT("deepgram/nova-3", project="prod")
    heard = await hear(model, *audio, **options)
    await model.aclose()
    return heard, [row["model"] for row in await usage_rows(gateway)]


async def test_the_times_of_transcripts_are_those_of_the_stream(tmp_path: Path) -> None:
    audio = (silence(2.5), CLIP, silence(1.5))
    async with line(tmp_path) as (_, gateway):
        undisturbed, _ = await listen(gateway, *audio)
        swapped, models = await listen(gateway, *audio, at={5.5: lambda: set_budget(gateway, "0")})
    assert models[-2:] == ["nova-3", "nova-2"]
    assert swapped.finals[0].start_time == pytest.approx(undisturbed.finals[0].start_time, abs=0.3)
    assert swapped.finals[0].end_time == pytest.approx(undisturbed.finals[0].end_time, abs=0.3)


async def test_audio_that_is_pushed_meanwhile_comes_after_what_is_heard_again(
    tmp_path: Path,
) -> None:
    async with line(tmp_path) as (_, gateway):
        heard, models = await listen(
            gateway,
            silence(0.5),
            CLIP,
            silence(1.5),
            at={5.5: lambda: set_budget(gateway, "0")},
            at_once=True,
        )
    assert models == ["nova-3", "nova-2"]
    assert heard.text == WORDS
    assert heard.kinds == ["start", "final", "end"]


async def test_the_budget_is_raised_between_two_utterances_and_the_next_is_the_clouds(
    tmp_path: Path,
) -> None:
    async with line(tmp_path) as (sandbox, gateway):
        heard, models = await listen(
            gateway,
            silence(0.5),
            CLIP,
            silence(9.0),
            NEXT_CLIP,
            silence(1.5),
            at={
                3.0: lambda: set_budget(gateway, "0"),
                14.0: lambda: set_budget(gateway, "5"),
            },
        )
        await sandbox.settled()
        seconds = [request.audio_seconds for request in sandbox.deepgram.record.requests]
    assert models == ["nova-3", "nova-2", "nova-3"]
    assert [final.text for final in heard.finals] == [WORDS, NEXT_WORDS]
    assert heard.kinds == ["start", "final", "end", "start", "final", "end"]
    # the last of the three hears as much of the pause again as may already have been speech
    assert seconds[2] < 21.4 - 14.0 + 3.5


async def test_the_budget_is_raised_in_an_utterance_and_the_next_is_the_clouds(
    tmp_path: Path,
) -> None:
    async with line(tmp_path) as (_, gateway):
        heard, models = await listen(
            gateway,
            silence(0.5),
            CLIP,
            silence(1.0),
            NEXT_CLIP,
            silence(1.5),
            at={
                2.0: lambda: set_budget(gateway, "0"),
                5.0: lambda: set_budget(gateway, "5"),
            },
        )
    assert models == ["nova-3", "nova-2", "nova-3"]
    assert [final.text for final in heard.finals] == [WORDS, NEXT_WORDS]


async def test_the_budget_is_raised_a_moment_before_an_utterance_and_that_is_the_clouds(
    tmp_path: Path,
) -> None:
    async with line(tmp_path) as (sandbox, gateway):
        heard, models = await listen(
            gateway,
            silence(0.5),
            CLIP,
            silence(2.45),
            NEXT_CLIP,
            silence(1.5),
            at={
                2.0: lambda: set_budget(gateway, "0"),
                10.05: lambda: set_budget(gateway, "5"),
            },
        )
        await sandbox.settled()
        last = sandbox.deepgram.record.requests[-1]
    assert models == ["nova-3", "nova-2", "nova-3"]
    assert [final.text for final in heard.finals] == [WORDS, NEXT_WORDS]
    assert heard.kinds == ["start", "final", "end", "start", "final", "end"]
    assert last.model == "nova-3"
    assert last.audio_seconds > 3.3


async def test_the_day_turns_and_the_next_utterance_is_the_clouds(tmp_path: Path) -> None:
    clock = Clock()

    def turn() -> None:
        clock.ahead = MIDNIGHT + 60 - time.time()

    # $0.0048 a minute: four seconds cost $0.00032
    text = PROJECTS.replace("5.00", "0.00032")
    async with line(tmp_path, text, clock) as (_, gateway):
        heard, models = await listen(
            gateway, silence(0.5), CLIP, silence(3.0), NEXT_CLIP, silence(1.5), at={9.0: turn}
        )
        rows = await usage_rows(gateway)
    assert models[0] == "nova-3"
    assert "nova-2" in models
    assert [final.text for final in heard.finals] == [WORDS, NEXT_WORDS]
    days = {row["day"] for row in rows if row["model"] == "nova-3"}
    assert len(days) == 2


async def test_keyterms_that_came_after_the_stream_reach_the_model_that_takes_over(
    tmp_path: Path,
) -> None:
    text = PROJECTS.replace("deepgram/nova-2", "deepgram/nova-3-medical")
    async with line(tmp_path, text) as (sandbox, gateway):
        model = inference.STT("deepgram/nova-3", project="prod")
        heard = await hear(
            model,
            silence(0.5),
            CLIP,
            silence(1.5),
            at={
                1.0: lambda: model._update_session_keyterms(["Dashwood"]),
                4.0: lambda: set_budget(gateway, "0"),
            },
        )
        await model.aclose()
        last = sandbox.deepgram.record.requests[-1]
    assert heard.text == WORDS
    assert last.model == "nova-3-medical"
    assert last.options["keyterm"] == ["Dashwood"]


async def test_speech_that_was_over_is_ended_though_nobody_says_so_any_more(
    tmp_path: Path,
) -> None:
    async with line(tmp_path) as (_, gateway):
        model = inference.STT("deepgram/nova-3", project="prod", extra_kwargs={"endpointing_ms": 0})
        heard = await hear(
            model,
            silence(0.5),
            CLIP,
            silence(8.0),
            at={10.0: lambda: set_budget(gateway, "0")},
        )
        await model.aclose()
    assert heard.text == WORDS
    assert heard.kinds[0] == "start"
    assert heard.kinds[-1] == "end"
    assert heard.kinds.count("start") == heard.kinds.count("end") == 1


async def test_a_fallback_that_cannot_stream_is_adapted(tmp_path: Path) -> None:
    text = PROJECTS.replace("deepgram/nova-2", "openai/whisper-1")
    async with line(tmp_path, text) as (_, gateway):
        model = inference.STT("deepgram/nova-3", project="prod")
        fallback = model._delegates.fallback(model._delegates.current())
        assert fallback is not None
        assert fallback.instance.capabilities.streaming
        assert isinstance(fallback.instance, stt.StreamAdapter)
        assert gateway.project("prod").fallback.stt == "openai/whisper-1"
        await model.aclose()
