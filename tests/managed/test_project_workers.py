"""Running workers take in what changes: at the next request, and never to the harm of a call."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm, stt
from livekit.agents.utils import http_context
from managed_sites import Site, new_key, open_site
from support.gateways import SPEECH, providers_yaml, usage_rows
from support.machine import PATIENCE
from support.traces import frames

from livekit import rtc
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import MissingCredentialsError, UnknownProjectError
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.sandbox import Sandbox
from livekit_plugins_voicegateway.signals import BudgetExceededError

MODEL = "openai/gpt-4.1-mini"


@dataclass
class Worker:
    """A worker's gateway beside a server that changes projects, on one ledger."""

    site: Site
    gateway: Gateway
    sandbox: Sandbox
    models: list[llm.LLM[Any]] = field(default_factory=list)

    def llm(self, model: str = MODEL, **arguments: Any) -> inference.LLM:
        """A model object that is closed at the end."""
        made = inference.LLM(model, **arguments)
        self.models.append(made)
        return made

    async def looked(self) -> None:
        """Wait until what is in the ledger now has been taken in, and what follows from it done."""
        for _ in range(2):
            done = threading.Event()
            self.gateway.watcher.submit(done.set)
            await asyncio.to_thread(done.wait, 30)
            assert done.is_set()

    async def create(self, **fields: object) -> None:
        await self.site.admin.create({"project_id": "night", **fields}, front="http")
        await self.looked()

    async def update(self, **changes: object) -> None:
        await self.site.admin.update("night", changes, front="http")
        await self.looked()

    async def delete(self) -> None:
        await self.site.admin.delete("night", front="http")
        await self.looked()

    @property
    def keys(self) -> list[str]:
        """The keys of all completions, in their order."""
        return [request.key for request in self.sandbox.openai.record.requests]


@asynccontextmanager
async def working(folder: Path, text: str = "projects: {prod: {}}\n") -> AsyncIterator[Worker]:
    async with Sandbox() as sandbox, http_context.open():
        env = {"VOICEGW_SECRET_KEY": new_key()}
        async with open_site(folder, text + providers_yaml(sandbox), env=env) as site:
            gateway = Gateway(load_config(site.path, env=env), env=env)
            previous = install(gateway)
            try:
                gateway.watcher.start()
                worker = Worker(site, gateway, sandbox)
                yield worker
                for model in worker.models:
                    await model.aclose()
            finally:
                install(previous)
                gateway.close()


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with working(tmp_path) as worker:
        yield worker


async def answered(model: llm.LLM[Any]) -> None:
    conversation = llm.ChatContext.empty()
    conversation.add_message(role="user", content="What time is it?")
    async with model.chat(chat_ctx=conversation) as stream:
        async for _ in stream:
            pass


def silence(seconds: float = 0.1) -> rtc.AudioFrame:
    return rtc.AudioFrame.create(16_000, 1, int(16_000 * seconds))


async def test_projects_are_there_when_the_first_one_is_chosen(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.admin.create({"project_id": "night", "daily_budget": 3}, front="http")
        gateway = Gateway(load_config(site.path, env=site.env), env=site.env)
        previous = install(gateway)
        try:
            with inference.use_project("night"):
                assert inference.get_project() == "night"
            assert gateway.config.project("night").daily_budget == 3
        finally:
            install(previous)
            gateway.close()


async def test_one_that_was_made_just_now_can_be_chosen_at_once(worker: Worker) -> None:
    with pytest.raises(UnknownProjectError):
        inference.set_project("nobody")
    await worker.site.admin.create({"project_id": "night"}, front="http")
    worker.gateway.watcher._looked_at = 0.0  # as if the other look had been a second ago
    with inference.use_project("night"):
        await answered(worker.llm())
    assert (await usage_rows(worker.gateway))[0]["project"] == "night"


async def test_a_budget_holds_from_the_next_request_on(worker: Worker) -> None:
    await worker.create(budget_action="block")
    model = worker.llm(project="night")
    await answered(model)
    await worker.update(daily_budget=0)
    with pytest.raises(BudgetExceededError):
        await answered(model)
    with pytest.raises(BudgetExceededError):
        inference.check_budget("night")
    await worker.update(budget_action="warn")
    await answered(model)
    await worker.update(budget_action="block", daily_budget=5)
    await answered(model)
    await worker.update(daily_budget=None)
    await answered(model)
    statuses = [row["status"] for row in await usage_rows(worker.gateway)]
    assert statuses.count("rejected") == 1
    assert statuses.count("completed") == 4


async def test_another_fallback_takes_over_at_once(worker: Worker) -> None:
    await worker.create(
        daily_budget=0, budget_action="throttle", fallback={"llm": "ollama/llama3.2:3b"}
    )
    model = worker.llm(project="night")
    await answered(model)
    await worker.update(fallback={"llm": "ollama/llama3.1:8b"})
    await answered(model)
    models = [request.model for request in worker.sandbox.ollama.record.requests]
    assert models == ["llama3.2:3b", "llama3.1:8b"]


async def test_another_price_is_charged_at_once(worker: Worker) -> None:
    await worker.create(pricing={MODEL: {"input": 0, "output": 1, "per": 1}})
    model = worker.llm(project="night")
    await answered(model)
    assert await worker.gateway.flush(PATIENCE)
    await worker.update(pricing={MODEL: {"free": True}})
    await answered(model)
    first, second = await usage_rows(worker.gateway)
    assert first["cost_nanos"] == first["output_tokens"] * 1_000_000_000
    assert (second["cost_nanos"], "free" in second["price"]) == (0, True)


async def test_another_key_pays_for_the_next_request(worker: Worker) -> None:
    await worker.create(providers={"openai": {"api_key": "first-key"}})
    model = worker.llm(project="night")
    await answered(model)
    await worker.update(providers={"openai": {"api_key": "second-key"}})
    await answered(model)
    await worker.update(daily_budget=5)
    instance = model._delegates.current().instance
    await worker.update(daily_budget=6)
    assert model._delegates.current().instance is instance
    await worker.update(providers=None)
    await answered(model)
    assert worker.keys == ["first-key", "second-key", "sandbox-openai-key"]


async def test_the_models_behind_a_fallback_adapter_get_their_keys_too(worker: Worker) -> None:
    await worker.create(providers={"cartesia": {"api_key": "first-key"}})
    model = inference.TTS("cartesia/sonic-2", project="night", fallback=["cartesia/sonic-3"])
    for key in ("second-key", "third-key"):
        async for _ in model.synthesize("It is noon."):
            pass
        await worker.update(providers={"cartesia": {"api_key": key}})
    async for _ in model.synthesize("It is noon."):
        pass
    keys = [request.key for request in worker.sandbox.cartesia.record.requests]
    assert keys == ["first-key", "second-key", "third-key"]
    await model.aclose()


async def test_a_stream_that_runs_keeps_its_connection(worker: Worker) -> None:
    await worker.create(providers={"deepgram": {"api_key": "first-key"}})
    model = inference.STT("deepgram/nova-3", project="night")
    metrics: list[object] = []
    model.on("metrics_collected", metrics.append)
    running = model.stream()
    running.push_frame(silence())
    connections = worker.sandbox.deepgram.record.requests
    async with asyncio.timeout(PATIENCE):
        while not connections or not connections[0].audio_seconds:
            running.push_frame(silence())
            await asyncio.sleep(0.01)
    await worker.update(providers={"deepgram": {"api_key": "second-key"}})
    later = model.stream()
    for stream in (running, later):
        for _ in range(10):
            stream.push_frame(silence())
        stream.end_input()
        async for event in stream:
            assert isinstance(event, stt.SpeechEvent)
        await stream.aclose()
    assert [request.key for request in connections] == ["first-key", "second-key"]
    assert len([row for row in await usage_rows(worker.gateway) if row["modality"] == "stt"]) == 2
    await model.aclose()


@pytest.mark.parametrize("action", ["throttle", "block"])
async def test_a_stream_that_runs_obeys_a_budget_that_its_project_had_not(
    worker: Worker, action: str
) -> None:
    words = "And Mr. John Dashwood had then leisure to consider."
    worker.sandbox.deepgram.add_clip(SPEECH / "austen-0870.wav", words)
    fallback = {"stt": "deepgram/nova-2", "llm": "none", "tts": "none"}
    await worker.create(fallback=fallback, budget_action=action)
    model = inference.STT("deepgram/nova-3", project="night")
    stream = model.stream()

    async def push() -> None:
        for index, frame in enumerate(frames("austen-0870.wav", silence=1.5)):
            stream.push_frame(frame)
            if index % 5 == 0:
                await asyncio.sleep(0.1 / 3)
            if index == 100:
                await worker.update(daily_budget=0)
        stream.end_input()

    pushing = asyncio.create_task(push())
    finals = []
    refused: BudgetExceededError | None = None
    try:
        async for event in stream:
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                finals.append(event.alternatives[0].text)
    except BudgetExceededError as error:
        refused = error
    await pushing
    await stream.aclose()
    await model.aclose()
    models = [row["model"] for row in await usage_rows(worker.gateway)]
    if action == "throttle":
        assert (" ".join(finals), models) == (words, ["nova-3", "nova-2"])
    else:
        assert (refused is not None, models) == (True, ["nova-3"])


async def test_a_deleted_project_goes_on_for_those_who_chose_it(worker: Worker) -> None:
    await worker.create(
        providers={"openai": {"api_key": "nights-key"}},
        pricing={MODEL: {"input": 0, "output": 1, "per": 1000}},
        daily_budget=100,
    )
    model = worker.llm(project="night")
    with inference.use_project("night"):
        await worker.delete()
        with pytest.raises(UnknownProjectError):
            inference.set_project("night")
        with pytest.raises(UnknownProjectError):
            worker.llm(project="night")
        await answered(model)
        await answered(worker.llm())
        model.update_options(model="openai/gpt-4.1")
        await answered(model)
    assert worker.keys == ["nights-key"] * 3
    rows = await usage_rows(worker.gateway)
    assert {row["project"] for row in rows} == {"night"}
    assert rows[0]["cost_nanos"] == rows[0]["output_tokens"] * 1_000_000
    await worker.create(providers={"openai": {"api_key": "new-key"}})
    await answered(model)
    assert worker.keys[-1] == "new-key"


async def test_a_fallback_adapter_of_a_deleted_project_can_change_its_model(
    worker: Worker,
) -> None:
    await worker.create(providers={"cartesia": {"api_key": "nights-key"}})
    model = inference.TTS("cartesia/sonic-2", project="night", fallback=["cartesia/sonic-3"])
    await worker.delete()
    model.update_options(model="cartesia/sonic-3")
    async for _ in model.synthesize("It is noon."):
        pass
    (request,) = worker.sandbox.cartesia.record.requests
    assert (request.key, request.model) == ("nights-key", "sonic-3")
    await model.aclose()


async def test_keys_that_cannot_be_read_here_leave_calls_that_run_as_they_are(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    await worker.create(providers={"openai": {"api_key": "first-key"}})
    model = worker.llm(project="night")
    other = {"VOICEGW_SECRET_KEY": new_key()}
    text = worker.site.path.read_text().partition("\n")[2]
    async with open_site(worker.site.path.parent, text, env=other) as site:
        change = {"providers": {"openai": {"api_key": "second-key"}}}
        await site.admin.update("night", change, front="http")
    await worker.looked()
    await answered(model)
    assert worker.keys == ["first-key"]
    with pytest.raises(MissingCredentialsError, match="does not open the provider keys"):
        worker.llm(project="night")
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert (
        said[0].getMessage().startswith(f"{MODEL} goes on with the keys that project 'night' had")
    )


async def test_nothing_is_metered_and_projects_are_known_all_the_same(tmp_path: Path) -> None:
    text = "projects: {prod: {}}\ncost_tracking: {enabled: false}\n"
    async with working(tmp_path, text) as worker:
        await worker.create(providers={"openai": {"api_key": "nights-key"}}, daily_budget=0)
        model = worker.llm(project="night")
        await answered(model)
        await worker.update(providers=None)
        await answered(model)
        assert worker.keys == ["nights-key", "sandbox-openai-key"]
        assert not await worker.site.ledger.has_project("night")


@pytest.mark.parametrize("trouble", ["directory", "no database", "no folder"])
async def test_a_ledger_that_cannot_be_read_is_no_trouble_for_a_call(
    tmp_path: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    database = tmp_path / "voicegw.db"
    if trouble == "directory":
        database.mkdir()
    elif trouble == "no database":
        database.write_bytes(b"this is no database" * 1000)
    else:
        database = tmp_path / "nowhere" / "voicegw.db"
    async with Sandbox() as sandbox:
        path = tmp_path / "voicegw.yaml"
        tracking = "cost_tracking: {enabled: false}\n"
        url = f"database: {{url: 'sqlite:///{database}'}}\n"
        path.write_text(url + tracking + providers_yaml(sandbox))
        gateway = Gateway(load_config(path, env={}), env={})
        previous = install(gateway)
        try:
            model = inference.LLM(MODEL)
            await answered(model)
            await model.aclose()
            with pytest.raises(UnknownProjectError):
                inference.set_project("night")
        finally:
            install(previous)
            gateway.close()
    assert caplog.messages == []
    assert database.exists() is (trouble != "no folder")


async def test_a_closed_gateway_has_no_thread(worker: Worker) -> None:
    assert "voicegateway-projects" in {thread.name for thread in threading.enumerate()}
    worker.gateway.close()
    assert worker.gateway.watcher._thread is not None
    assert not worker.gateway.watcher._thread.is_alive()
