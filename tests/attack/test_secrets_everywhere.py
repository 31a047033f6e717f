"""Keys are found nowhere: not in a log, span, error, crash report, object, pickle or file.

Every request is made through the real plugins, well and with each failure, some of which quote the
key, while everything that could write something down does so at its most talkative.
"""

from __future__ import annotations

import faulthandler
import logging
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attack.marked_keys import KEYS, MARK, SECRET_KEY, crash, files, found, marks, ours, shown
from livekit.agents import APIConnectOptions, llm, telemetry, utils
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.gateways import SPEECH
from support.traces import frames

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

TWICE = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=2.0)

CONFIGURATION = """
database: {{url: 'sqlite:///{folder}/voicegw.db', outbox: '{folder}/outbox'}}
default_project: own
server: {{token: 'sk-MARK-of-the-server'}}
alerts: {{webhook: 'http://127.0.0.1:9/sk-MARK-of-the-webhook-address'}}
projects:
  own:
    daily_budget: 5
    providers:
      deepgram: {{api_key: 'sk-MARK-in-the-file'}}
      openai: {{api_key: '${{PROJECT_KEY}}'}}
      cartesia: {{tts: {{api_key: 'sk-MARK-${{HALF_KEY}}'}}}}
      groq: {{api_key: '${{NOT_SET}}'}}
      rime: {{api_key: "sk-MARK-of a-default"}}
  bare: {{}}
providers:
  deepgram: {{api_key: 'sk-MARK-in-the-file', stt: {{base_url: '{deepgram}'}}}}
  openai: {{api_key: '${{UNSET:-sk-MARK-of-a-default}}', llm: {{base_url: '{openai}'}}}}
  cartesia: {{api_key: 'sk-MARK-of-a-default', tts: {{base_url: '{cartesia}'}}}}
"""

VARIABLES = {
    "PROJECT_KEY": KEYS["variable"],
    "HALF_KEY": "half",
    "OPENAI_API_KEY": KEYS["environment"],
    "ELEVEN_API_KEY": KEYS["environment"],
    "VOICEGW_SECRET_KEY": SECRET_KEY,
}

WHOSE = {
    "own": {"sk-MARK-in-the-file", KEYS["variable"], KEYS["half"]},
    "bare": {"sk-MARK-in-the-file", KEYS["default"]},
    "night": {KEYS["managed"]},
    "argument": {KEYS["argument"]},
}
"""By whose keys the requests of a project are made."""

FAULTS = ("none", "401", "429", "error", "garbage", "cut", "refuse")


def fault(name: str, provider: str, keys: set[str]) -> Fault | None:
    """A failure; where it has a text, it quotes every key that the provider was sent."""
    text = f"wrong key: {', '.join(sorted(keys))}"
    if (name, provider) == ("error", "deepgram"):
        # its plugin logs what came as it came, before there is an error (stt.py), as without us
        text = "wrong key"
    return {
        "none": None,
        "401": Fault.status(401, message=text),
        "429": Fault.status(429, message=text, retry_after=0),
        "error": Fault.error(text),
        "garbage": Fault.garbage(),
        "cut": Fault.cut(after=0),
        "refuse": Fault.refuse(),
    }[name]


class Everything(logging.Handler):
    """Writes down all that is logged, with all that each record carries."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {vars(record)!r}")


@pytest.fixture
def log() -> Iterator[Everything]:
    handler = Everything()
    root = logging.getLogger()
    names = ("", "livekit", "livekit.agents", "livekit.plugins.voicegateway", "httpx", "httpcore")
    loggers = [logging.getLogger(name) for name in (*names, "openai", "aiohttp", "asyncio")]
    before = [logger.level for logger in loggers]
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = telemetry.tracer._tracer_provider
    telemetry.set_tracer_provider(provider)
    yield exporter
    telemetry.tracer.set_provider(before)
    provider.shutdown()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    for name in ("DEEPGRAM_API_KEY", "CARTESIA_API_KEY", "NOT_SET"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def marked(folder: Path) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    """A gateway whose every key is marked, with a project that was made at run time."""
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.add_clip(SPEECH / "austen-0880.wav", "He was not an ill-disposed man.")
        path = folder / "voicegw.yaml"
        path.write_text(CONFIGURATION.format(folder=folder, **sandbox.base_urls))
        config = load_config(path)
        sealed = {name: {"api_key": KEYS["managed"]} for name in ("deepgram", "openai", "cartesia")}
        async with make_ledger(config.database_url) as ledger:
            catalogue = ProjectCatalogue(config, ledger)
            await catalogue.refresh()
            admin = ProjectAdmin(catalogue, ledger)
            await admin.create({"project_id": "night", "providers": sealed}, front="cli")
        gateway = Gateway(config)
        previous = install(gateway)
        try:
            yield sandbox, gateway
        finally:
            install(previous)
            gateway.close()


class Used:
    """What came of using a model object: the events and exceptions themselves."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.events: list[Any] = []
        self.raised: list[Exception] = []
        self.heard = 0
        model.on("error", self.events.append)
        model.on("metrics_collected", self.events.append)

    async def everything(self) -> None:
        for way in self._ways():
            try:
                async for _ in way():
                    self.heard += 1
            except Exception as error:
                self.raised.append(error)

    def _ways(self) -> list[Any]:
        if isinstance(self.model, inference.STT):
            return [self._recognize, self._transcribe]
        if isinstance(self.model, inference.LLM):
            return [self._chat]
        return [self._synthesize, self._speak]

    async def _recognize(self) -> AsyncIterator[Any]:
        yield await self.model.recognize(frames("austen-0880.wav"), conn_options=TWICE)

    async def _transcribe(self) -> AsyncIterator[Any]:
        async with self.model.stream(conn_options=TWICE) as stream:
            for frame in frames("austen-0880.wav"):
                stream.push_frame(frame)
            stream.end_input()
            async for event in stream:
                yield event

    async def _chat(self) -> AsyncIterator[Any]:
        chat_ctx = llm.ChatContext.empty()
        chat_ctx.add_message(role="user", content="Who was he?")
        async with self.model.chat(chat_ctx=chat_ctx, conn_options=TWICE) as stream:
            async for chunk in stream:
                yield chunk

    async def _synthesize(self) -> AsyncIterator[Any]:
        async with self.model.synthesize("He was not.", conn_options=TWICE) as stream:
            async for audio in stream:
                yield audio

    async def _speak(self) -> AsyncIterator[Any]:
        async with self.model.stream(conn_options=TWICE) as stream:
            stream.push_text("He was not an ill-disposed man. ")
            stream.end_input()
            async for audio in stream:
                yield audio


def models(project: str) -> list[Any]:
    given = {"api_key": KEYS["argument"]} if project == "argument" else {}
    project = "bare" if project == "argument" else project
    return [
        inference.STT("deepgram/nova-3", project=project, **given),
        inference.LLM("openai/gpt-4.1-mini", project=project, **given),
        inference.TTS("cartesia/sonic-3", project=project, **given),
    ]


@pytest.mark.parametrize(
    ("project", "how"),
    [
        pytest.param(
            project,
            how,
            marks=() if project == "own" or how == "401" else pytest.mark.faults,
        )
        for project in WHOSE
        for how in FAULTS
    ],
)
async def test_no_key_comes_out_of_a_request(
    project: str,
    how: str,
    tmp_path: Path,
    log: Everything,
    spans: InMemorySpanExporter,
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with marked(tmp_path) as (sandbox, gateway):
            providers = (sandbox.deepgram, sandbox.openai, sandbox.cartesia)
            for provider in providers:
                if (chosen := fault(how, provider.name, WHOSE[project])) is not None:
                    provider.faults.append(chosen, times=None)
            used = [Used(model) for model in models(project)]
            for one in used:
                await one.everything()
            with (tmp_path / "stacks.txt").open("w") as stacks:
                faulthandler.dump_traceback(stacks)
            things = shown(ours([gateway, *(one.model for one in used)]))
            assert await gateway.flush(10)
            for one in used:
                await one.model.aclose()
            received = {request.key for p in providers for request in p.record.requests}
            stored = files(tmp_path)
    raised = [error for one in used for error in one.raised]
    finished = spans.get_finished_spans()
    outputs: dict[str, str | bytes] = {
        "log": "\n".join(log.lines),
        "warnings": "\n".join(f"{warning.message} {warning!r}" for warning in warned),
        "spans": "\n".join(span.to_json() for span in finished),
        "events": "\n".join(f"{event} {event!r}" for one in used for event in one.events),
        "error events": "\n".join(
            f"{event.error!r} {vars(event.error)!r}"
            for one in used
            for event in one.events
            if hasattr(event, "error")
        ),
        **things,
        **stored,
    }
    for number, error in enumerate(raised):
        outputs |= {f"raised {number}: {name}": text for name, text in crash(error).items()}
    # that something was written down of which keys could have been a part
    assert received == WHOSE[project]
    assert bool(raised) == (how != "none")
    assert finished
    assert log.lines
    assert {"file voicegw.db", "file stacks.txt"} <= outputs.keys()
    assert found(outputs) == {}


MISTAKES = {
    "unset": lambda: inference.LLM("groq/llama-3.3"),
    "blank": lambda: inference.TTS("rime/arcana"),
    "no option": lambda: inference.STT("deepgram/nova-3", extra_kwargs={"no_such": 1}),
    "wrong option": lambda: inference.STT(
        "deepgram/nova-3", extra_kwargs={"keyterm": ["a"], "keywords": [("a", 1.0)]}
    ),
    "wrong encoding": lambda: inference.TTS("elevenlabs/eleven_flash_v2_5", encoding="no-such"),
    "no project": lambda: inference.LLM("openai/gpt-4.1-mini", project="nowhere"),
    "no plugin": lambda: inference.TTS("lmnt/blizzard"),
    "no provider": lambda: inference.LLM("nowhere/model"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_no_key_is_in_the_crash_report_of_a_mistake(
    mistake: str, tmp_path: Path, log: Everything
) -> None:
    """With variables, as pytest, rich and error trackers show them."""
    async with marked(tmp_path):
        inference.set_project("own")
        with pytest.raises(Exception) as caught:  # noqa: PT011  (ours, or the plugin's own)
            MISTAKES[mistake]()
        outputs = {**crash(caught.value), "log": "\n".join(log.lines)}
    assert any(name.startswith("variable") for name in outputs)
    assert found(outputs) == {}


async def test_usage_that_waits_on_disk_has_no_key_in_it(tmp_path: Path) -> None:
    async with marked(tmp_path) as (sandbox, gateway):
        (tmp_path / "voicegw.db").chmod(0o400)
        for provider in (sandbox.deepgram, sandbox.openai, sandbox.cartesia):
            provider.faults.append(Fault.status(401, message=KEYS["file"]), times=None)
        for model in models("own"):
            await Used(model).everything()
            await model.aclose()
        await gateway.flush(2)
    assert found(dict(files(tmp_path))) == {}


def test_a_mark_is_found_however_it_is_written() -> None:
    """The search itself: without it nothing above would mean anything."""
    import base64
    import json

    for text in (
        KEYS["file"],
        json.dumps({"k": KEYS["file"]}),
        repr(KEYS["file"].encode()),
        KEYS["file"].encode().hex(),
        *(base64.b64encode(b"x" * n + KEYS["file"].encode()).decode() for n in range(6)),
        SECRET_KEY,
    ):
        assert marks(text), text
    assert not marks(MARK[:-1] + " and nothing else")
