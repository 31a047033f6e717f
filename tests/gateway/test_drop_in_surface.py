"""Code written for `livekit.agents.inference` runs unchanged: the same arguments, with one more."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import livekit.agents.inference as theirs
import pytest
from livekit.agents import llm, stt, tts
from support.gateways import gateway_on

from livekit_plugins_voicegateway import inference as ours
from livekit_plugins_voicegateway.sandbox import Sandbox

MODELS = {"STT": "deepgram/nova-3", "LLM": "openai/gpt-4.1-mini", "TTS": "cartesia/sonic-3"}

Shape = dict[str, tuple[Any, Any]]


def shape(function: Callable[..., Any]) -> Shape:
    """The parameters of a function by name: kind and default."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: (parameter.kind, parameter.default) for parameter in parameters}


def differences(ours: Shape, theirs: Shape) -> dict[str, Any]:
    """The parameters that theirs has and ours has otherwise, or not at all."""
    return {name: ours.get(name) for name, found in theirs.items() if ours.get(name) != found}


@pytest.mark.parametrize("kind", MODELS)
def test_the_constructor_takes_all_that_livekits_takes_and_a_project(kind: str) -> None:
    mine, livekits = shape(getattr(ours, kind)), shape(getattr(theirs, kind))
    assert differences(mine, livekits) == {}
    assert set(mine) - set(livekits) == {"project"}
    assert mine["project"] == (inspect.Parameter.KEYWORD_ONLY, None)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("STT", "update_options"),
        ("STT", "stream"),
        ("STT", "recognize"),
        ("STT", "from_model_string"),
        ("LLM", "update_options"),
        ("LLM", "chat"),
        ("LLM", "prewarm"),
        ("LLM", "from_model_string"),
        ("TTS", "update_options"),
        ("TTS", "stream"),
        ("TTS", "synthesize"),
        ("TTS", "from_model_string"),
    ],
)
def test_a_method_takes_all_that_livekits_takes(kind: str, method: str) -> None:
    mine = shape(getattr(getattr(ours, kind), method))
    assert differences(mine, shape(getattr(getattr(theirs, kind), method))) == {}


@pytest.mark.parametrize(("kind", "base"), [("STT", stt.STT), ("LLM", llm.LLM), ("TTS", tts.TTS)])
async def test_a_model_object_is_what_the_framework_takes_for_one(
    kind: str, base: type, tmp_path: Path
) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        model = getattr(ours, kind)(MODELS[kind], project="prod")
        assert isinstance(model, base)
        assert bool(model)
        assert not hasattr(type(model), "__len__")
        await model.aclose()


async def test_a_model_string_alone_makes_a_model(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        ours.set_project("prod")
        hears = ours.STT.from_model_string("deepgram/nova-3:fr")
        thinks = ours.LLM.from_model_string("ollama/qwen2.5:3b")
        speaks = ours.TTS.from_model_string("cartesia/sonic-3:a-voice")
        assert (hears.model, hears.provider) == ("nova-3", "Deepgram")
        assert thinks.model == "qwen2.5:3b"
        assert (speaks.model, speaks.provider) == ("sonic-3", "Cartesia")
        assert "language='fr'" in repr(hears._delegates.current().instance._opts)
        assert speaks._delegates.current().instance._opts.voice == "a-voice"
        for model in (hears, thinks, speaks):
            await model.aclose()


async def test_an_explicit_language_or_voice_goes_before_the_suffix(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        hears = ours.STT("deepgram/nova-3:fr", language="de", project="prod")
        speaks = ours.TTS("cartesia/sonic-3:one", voice="two", project="prod")
        assert hears._delegates.current().instance._opts.language == "de"
        assert speaks._delegates.current().instance._opts.voice == "two"
        await hears.aclose()
        await speaks.aclose()


async def test_what_only_livekits_cloud_understands_is_taken_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livekit_plugins_voicegateway.delegates._noted", set())
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        for _ in range(2):
            model = ours.LLM(
                "openai/gpt-4.1-mini", api_secret="s3cret", inference_class="low", project="prod"
            )
            await model.aclose()
    said = [record.getMessage() for record in caplog.records if "no effect" in record.message]
    assert len(said) == 2
    assert said[0].startswith("api_secret=")
    assert said[1].startswith("inference_class=")
    assert "s3cret" not in caplog.text
