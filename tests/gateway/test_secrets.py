"""Keys stay secret: marked ones are put wherever a key can come from, and then looked for.

Every request is made through the real plugins, once well and once with each failure, while every
logger of the process writes down all it can.
"""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIConnectOptions, llm, utils
from support.gateways import SPEECH
from support.machine import PATIENCE
from support.traces import chat, recognize, speak, transcribe

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

MARK = "marked-secret"
ONCE = APIConnectOptions(max_retry=0, timeout=2.0)

CONFIGURATION = """
database: {{url: 'sqlite:///{folder}/voicegw.db'}}
default_project: own
server: {{token: 'marked-secret-token'}}
projects:
  own:
    providers:
      deepgram: {{api_key: 'marked-secret-project-literal'}}
      openai: {{api_key: '${{PROJECT_KEY}}'}}
      cartesia: {{tts: {{api_key: 'marked-secret-${{HALF_KEY}}'}}}}
  shared: {{daily_budget: 5}}
  environment: {{}}
  argument: {{}}
providers:
  deepgram: {{api_key: '${{SHARED_KEY}}', stt: {{base_url: '{deepgram}'}}}}
  openai: {{api_key: marked-secret-shared-literal, llm: {{base_url: '{openai}'}}}}
  cartesia: {{tts: {{api_key: '${{UNSET:-marked-secret-default}}', base_url: '{cartesia}'}}}}
"""

FROM_ENVIRONMENT = (
    CONFIGURATION.replace("api_key: '${{SHARED_KEY}}', ", "")
    .replace("api_key: marked-secret-shared-literal, ", "")
    .replace("api_key: '${{UNSET:-marked-secret-default}}', ", "")
)

VARIABLES = {
    "PROJECT_KEY": "marked-secret-project-variable",
    "HALF_KEY": "half",
    "SHARED_KEY": "marked-secret-shared-variable",
    "DEEPGRAM_API_KEY": "marked-secret-deepgram-environment",
    "OPENAI_API_KEY": "marked-secret-openai-environment",
    "CARTESIA_API_KEY": "marked-secret-cartesia-environment",
    "LIVEKIT_API_KEY": "marked-secret-livekit-key",
    "LIVEKIT_API_SECRET": "marked-secret-livekit-secret",
}

PLACES = {
    "own": "project",
    "shared": "shared",
    "environment": "environment",
    "argument": "argument",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def marked(folder: Path, project: str) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    """A gateway whose every key is marked."""
    text = FROM_ENVIRONMENT if project == "environment" else CONFIGURATION
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.add_clip(SPEECH / "austen-0880.wav", "He was not an ill-disposed man.")
        path = folder / "voicegw.yaml"
        path.write_text(text.format(folder=folder, **sandbox.base_urls))
        gateway = Gateway(load_config(path))
        previous = install(gateway)
        try:
            yield sandbox, gateway
        finally:
            install(previous)
            gateway.close()


def models(project: str) -> dict[str, Any]:
    """One model of each kind, with its key from where ``project`` has it."""
    given = {"api_key": "marked-secret-argument"} if project == "argument" else {}
    return {
        "deepgram": inference.STT("deepgram/nova-3", project=project, **given),
        "openai": inference.LLM("openai/gpt-4.1-mini", project=project, **given),
        "cartesia": inference.TTS("cartesia/sonic-3", project=project, **given),
    }


async def use(model: Any) -> list[Any]:
    """Make each kind of request once; what was raised ends up in the traces."""
    if isinstance(model, inference.STT):
        heard = await recognize(model, conn_options=ONCE)
        return [heard, await transcribe(model, conn_options=ONCE, until=_heard)]
    if isinstance(model, inference.LLM):
        return [await chat(model, conn_options=ONCE)]
    spoken = await speak(model, whole=True, conn_options=ONCE)
    return [spoken, await speak(model, conn_options=ONCE)]


def _heard(trace: Any) -> bool:
    return any(text for _, text in trace.results)


def ours(roots: Iterable[Any]) -> Iterator[Any]:
    """All objects of VoiceGateway's own classes that can be reached from ``roots``."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing):
            continue
        seen.add(id(thing))
        of_us = type(thing).__module__.startswith("livekit_plugins_voicegateway")
        if of_us:
            yield thing
        if of_us or isinstance(thing, dict | list | tuple | set | frozenset):
            waiting.extend(gc.get_referents(thing))


def told(error: BaseException) -> str:
    """All that an exception says of itself and of what it came from."""
    parts = ["".join(traceback.format_exception(error))]
    seen: set[int] = set()
    next_one: BaseException | None = error
    while next_one is not None and id(next_one) not in seen:
        seen.add(id(next_one))
        parts += [str(next_one), repr(next_one), repr(next_one.args)]
        next_one = next_one.__cause__ or next_one.__context__
    return "\n".join(parts)


def stored(folder: Path) -> bytes:
    """Every byte of the ledger, the write-ahead log included."""
    files = [file for file in folder.iterdir() if file.name.startswith("voicegw.db")]
    assert files
    return b"".join(file.read_bytes() for file in files)


@pytest.mark.parametrize("fault", ["none", "401", "500", "refuse", "garbage"])
@pytest.mark.parametrize("project", PLACES)
async def test_no_key_is_in_logs_errors_or_the_ledger(
    project: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    faults = {
        "401": Fault.status(401, message="no such key"),
        "500": Fault.status(500),
        "refuse": Fault.refuse(),
        "garbage": Fault.garbage(),
    }
    async with marked(tmp_path, project) as (sandbox, gateway):
        for provider in (sandbox.deepgram, sandbox.openai, sandbox.cartesia):
            if fault != "none":
                provider.faults.append(faults[fault], times=None)
        made = models(project)
        traces = [trace for model in made.values() for trace in await use(model)]
        assert await gateway.flush(PATIENCE)
        for model in made.values():
            await model.aclose()
        received = {
            request.key
            for provider in (sandbox.deepgram, sandbox.openai, sandbox.cartesia)
            for request in provider.record.requests
        }
        assert received
        assert all(key.startswith(MARK) for key in received)
        assert any(PLACES[project] in key for key in received)
        assert MARK.encode() not in stored(tmp_path)
    assert MARK not in caplog.text
    assert MARK not in repr([(trace.errors, trace.raised) for trace in traces])
    assert fault == "none" or any(trace.raised for trace in traces)


@pytest.mark.parametrize("project", PLACES)
async def test_no_key_is_in_the_repr_of_any_object(project: str, tmp_path: Path) -> None:
    async with marked(tmp_path, project) as (sandbox, gateway):
        for provider in (sandbox.deepgram, sandbox.openai, sandbox.cartesia):
            provider.faults.append(Fault.stall(), times=None)
        made = models(project)
        streams = [
            made["deepgram"].stream(),
            made["openai"].chat(chat_ctx=llm.ChatContext.empty()),
            made["cartesia"].stream(),
            made["cartesia"].synthesize("He was not an ill-disposed man."),
        ]
        things = list(ours([gateway, *made.values(), *streams]))
        shown = {type(thing).__name__ for thing in things}
        reprs = [repr(thing) for thing in things]
        for closing in (*streams, *made.values()):
            await closing.aclose()
    assert {"Config", "Delegate", "Gateway", "ModelSpec", "Option", "Project"} <= shown
    assert {"ProviderOptions", "Recorder", "RecognizeStream", "Router", "Template"} <= shown
    assert [text for text in reprs if MARK in text] == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: inference.LLM("openai/gpt-4.1-mini", api_key=f"{MARK}\n"),
        lambda: inference.STT("deepgram/nova-3", api_key=MARK, extra_kwargs={"x": MARK}),
        lambda: inference.STT(
            "deepgram/nova-3", api_key=MARK, extra_kwargs={"keyterm": ["a"], "keywords": [("a", 1)]}
        ),
        lambda: inference.TTS("elevenlabs/eleven_flash_v2_5", api_key=MARK, encoding="no-such"),
        lambda: inference.TTS("lmnt/blizzard", api_key=MARK),
        lambda: inference.LLM("cartesia/sonic-3", api_key=MARK),
        lambda: inference.LLM("nowhere/model", api_key=MARK),
        lambda: inference.LLM("openai/gpt-4.1-mini", api_key=MARK, project="nowhere"),
        lambda: inference.LLM("ollama/x", api_key=MARK),
        lambda: inference.STT("azure/default", api_key=MARK),
        lambda: inference.LLM("azure/gpt-4.1", api_key=MARK),
    ],
)
async def test_no_key_is_in_what_a_constructor_raises_or_logs(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with marked(tmp_path, "own"):
        inference.set_project("own")
        with pytest.raises(Exception) as caught:  # noqa: PT011  (ours, or the plugin's own)
            make()
    assert "test_secrets.py" in "".join(traceback.format_exception(caught.value))
    # the lines of this very file stand in the traceback, and they show a name, not its value
    assert MARK not in told(caught.value)
    assert MARK not in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1",
        "http://[nowhere",
        "no address",
        "http://user:marked-secret@127.0.0.1:1",
    ],
)
async def test_no_key_is_in_what_a_wrong_address_leads_to(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with marked(tmp_path, "own") as (_, gateway):
        for kind, model in (
            ("STT", "deepgram/nova-3"),
            ("LLM", "openai/gpt-4.1-mini"),
            ("TTS", "cartesia/sonic-3"),
        ):
            made = getattr(inference, kind)(model, base_url=address, api_key=MARK, project="own")
            traces = await use(made)
            await made.aclose()
            assert all(trace.raised for trace in traces)
            assert MARK not in repr([(trace.errors, trace.raised) for trace in traces])
        assert await gateway.flush(PATIENCE)
        assert MARK.encode() not in stored(tmp_path)
    assert MARK not in caplog.text
