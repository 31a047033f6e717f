"""`local_only.py` with real weights: a spoken call without any provider, and weights in advance."""

from __future__ import annotations

import contextlib
import importlib
import logging
import logging.handlers
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_line import listening
from example_workers import WORKERS, Desk
from support.machine import MODELS, PATIENCE, without_models

from livekit_plugins_voicegateway import demo
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.local.engines import close_engines
from livekit_plugins_voicegateway.local.weights import (
    find_kokoro,
    kokoro_voices,
    missing_weights,
)
from livekit_plugins_voicegateway.log import logger
from livekit_plugins_voicegateway.sandbox import Sandbox

YOUNG_MAN = Path(demo.__file__).parent / "speech" / "austen-0880.wav"


@pytest.fixture
def local_desk(desk: Desk, sandbox: Sandbox) -> Desk:
    """A desk with weights and Ollama, and without a key of any cloud provider."""
    options = {"weights": str(MODELS)}
    missing = [*missing_weights("whisper-base", options), *missing_weights("kokoro", options)]
    if missing:
        without_models(missing)
    known = kokoro_voices(find_kokoro(MODELS).voices)
    desk.use_weights(MODELS, "af_heart" if "af_heart" in known else "jm_kumo")
    desk.cloud_keys = False
    sandbox.ollama.replies = {"young man": "That is faint praise.", "": "Hello, caller."}
    return desk


@pytest.mark.timeout(300)
async def test_a_spoken_call_needs_no_provider_and_costs_nothing(
    local_desk: Desk, sandbox: Sandbox
) -> None:
    console = ("-m", "livekit.agents", "console", str(WORKERS / "local_only.py"))
    async with listening() as (address, connected):
        async with local_desk.start(*console, "--connect-addr", address) as worker:
            line = await worker.until(connected)
            await worker.until(line.until_said("Hello, caller."))
            await line.say(YOUNG_MAN)
            await worker.until(line.until_said("That is faint praise."))
            await worker.end(signal.SIGINT)
        assert any(line.heard)

    rows = await local_desk.rows()
    assert {(row.modality, row.provider, row.model) for row in rows} == {
        ("stt", "local", "whisper-base"),
        ("llm", "ollama", "qwen2.5:3b"),
        ("tts", "local", "kokoro"),
    }
    assert {row.project for row in rows} == {"development"}
    assert {row.cost_nanos for row in rows} == {0}
    for provider in (sandbox.deepgram, sandbox.openai, sandbox.cartesia):
        assert provider.record.requests == []


def test_prewarm_loads_whisper_and_kokoro_before_there_is_a_call(
    local_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(WORKERS)
    worker = importlib.import_module("local_only")
    with gateway_of(local_desk), logged() as messages:
        worker.server.setup_fnc(None)
        loaded: set[str] = set()
        while loaded != {"local/whisper-base", "local/kokoro"}:
            message = messages.get(timeout=PATIENCE).getMessage()
            assert "cannot take over" not in message
            if " loaded in " in message:
                loaded.add(message.partition(" ")[0])


@contextlib.contextmanager
def gateway_of(desk: Desk) -> Iterator[None]:
    """Let this process have the gateway that a worker at this desk would have."""
    gateway = Gateway(load_config(desk.config, env=desk.env), env=desk.env)
    previous = install(gateway)
    try:
        yield
    finally:
        install(previous)
        gateway.close()
        close_engines()


@contextlib.contextmanager
def logged() -> Iterator[queue.Queue[logging.LogRecord]]:
    """What VoiceGateway writes to its log while the block runs."""
    messages: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = logging.handlers.QueueHandler(messages)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
