"""Which project a request belongs to, and that its own key pays, whatever happens beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import utils
from support.gateways import gateway_on, usage_rows
from support.traces import PATIENT, Trace, chat, recognize, speak

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import NoProjectChosenError, UnknownProjectError
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

TWO_KEYS = """
projects:
  prod:
    providers:
      openai: {api_key: prod-openai}
      deepgram: {api_key: prod-deepgram}
      cartesia: {api_key: prod-cartesia}
  staging:
    providers:
      openai: {api_key: staging-openai}
      deepgram: {api_key: staging-deepgram}
      cartesia: {api_key: staging-cartesia}
"""


@asynccontextmanager
async def two_projects(folder: Path) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    async with (
        utils.http_context.open(),
        Sandbox() as sandbox,
        gateway_on(sandbox, folder, TWO_KEYS) as gateway,
    ):
        yield sandbox, gateway


@contextmanager
def configured(folder: Path, text: str, **env: str) -> Iterator[None]:
    path = folder / "voicegw.yaml"
    path.write_text(text)
    gateway = Gateway(load_config(path, env=env), env=env)
    previous = install(gateway)
    try:
        yield
    finally:
        install(previous)
        gateway.close()


def keys(provider: Any) -> list[str]:
    """The keys that a sandboxed provider saw, a request each."""
    return [request.key for request in provider.record.requests]


# What `set_project`, `use_project` and `get_project` say


def test_the_order_of_what_chooses_a_project(tmp_path: Path) -> None:
    text = "default_project: a\nprojects: {a: {}, b: {}, c: {}, d: {}}\n"
    with configured(tmp_path, text):
        assert inference.get_project() == "a"
    with configured(tmp_path, text, VOICEGW_PROJECT="b"):
        assert inference.get_project() == "b"
        with inference.use_project("c"):
            assert inference.get_project() == "c"
            with inference.use_project("d"):
                assert inference.get_project() == "d"
            assert inference.get_project() == "c"
        assert inference.get_project() == "b"


def test_without_any_choice_it_is_the_project_default(tmp_path: Path) -> None:
    with configured(tmp_path, "timezone: UTC\n"):
        assert inference.get_project() == "default"


def test_where_nothing_chooses_the_error_names_the_ways_to_choose(tmp_path: Path) -> None:
    with (
        configured(tmp_path, "projects: {prod: {}, staging: {}}\n"),
        pytest.raises(NoProjectChosenError, match=r"set_project\(\).*VOICEGW_PROJECT.*prod, stag"),
    ):
        inference.get_project()


async def test_an_unknown_project_is_refused_at_once(tmp_path: Path) -> None:
    async with two_projects(tmp_path):
        inference.set_project("prod")
        with pytest.raises(UnknownProjectError, match=r"did you mean 'staging'.*prod, staging"):
            inference.set_project("stagin")
        with pytest.raises(UnknownProjectError, match=r"prod, staging"), inference.use_project("x"):
            pass
        with pytest.raises(UnknownProjectError, match=r"prod, staging"):
            inference.LLM("openai/gpt-4.1-mini", project="stagin")
        assert inference.get_project() == "prod"


async def test_a_failing_block_brings_the_previous_project_back(tmp_path: Path) -> None:
    async with two_projects(tmp_path):
        inference.set_project("prod")
        with pytest.raises(ValueError, match="went wrong"), inference.use_project("staging"):
            raise ValueError("went wrong")
        assert inference.get_project() == "prod"


async def test_a_task_inherits_the_choice_and_keeps_its_own_to_itself(tmp_path: Path) -> None:
    async with two_projects(tmp_path):
        inference.set_project("prod")
        chosen = asyncio.Event()
        looked = asyncio.Event()

        async def changes() -> tuple[str, str]:
            inherited = inference.get_project()
            inference.set_project("staging")
            chosen.set()
            await looked.wait()
            return inherited, inference.get_project()

        async def looks() -> str:
            await chosen.wait()
            found = inference.get_project()
            looked.set()
            return found

        (inherited, own), beside = await asyncio.gather(changes(), looks())
        assert (inherited, own, beside) == ("prod", "staging", "prod")
        assert inference.get_project() == "prod"


async def test_a_thread_starts_without_a_choice(tmp_path: Path) -> None:
    async with two_projects(tmp_path):
        inference.set_project("prod")
        seen: list[object] = []

        def look() -> None:
            try:
                seen.append(inference.get_project())
            except NoProjectChosenError as e:
                seen.append(type(e))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen == [NoProjectChosenError]
        assert await asyncio.to_thread(inference.get_project) == "prod"


# Whose key pays


async def test_an_object_made_with_a_chosen_project_keeps_it(tmp_path: Path) -> None:
    async with two_projects(tmp_path) as (sandbox, gateway):
        by_argument = inference.LLM("openai/gpt-4.1-mini", project="staging")
        inference.set_project("staging")
        by_context = inference.LLM("openai/gpt-4.1-mini")
        inference.set_project("prod")
        await chat(by_argument)
        await chat(by_context)
        rows = await usage_rows(gateway)
        for model in (by_argument, by_context):
            await model.aclose()
    assert keys(sandbox.openai) == ["staging-openai", "staging-openai"]
    assert [row["project"] for row in rows] == ["staging", "staging"]


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
async def test_an_object_made_without_a_choice_follows_the_context_of_each_request(
    kind: str, tmp_path: Path
) -> None:
    async with two_projects(tmp_path) as (sandbox, gateway):
        model: Any
        if kind == "llm":
            model, use, provider = inference.LLM("openai/gpt-4.1-mini"), chat, sandbox.openai
        elif kind == "tts":
            model, use, provider = inference.TTS("cartesia/sonic-3"), speak, sandbox.cartesia
        else:
            model, use, provider = inference.STT("deepgram/nova-3"), recognize, sandbox.deepgram

        async def call(project: str) -> Trace:
            inference.set_project(project)
            trace: Trace = await use(model)
            assert trace.raised is None
            return trace

        await asyncio.gather(call("prod"), call("staging"))
        await call("prod")
        rows = await usage_rows(gateway)
        await model.aclose()
    name = provider.name
    assert sorted(keys(provider)[:2]) == [f"prod-{name}", f"staging-{name}"]
    assert keys(provider)[2] == f"prod-{name}"
    assert sorted(row["project"] for row in rows) == ["prod", "prod", "staging"]


async def test_calls_beside_each_other_never_use_each_others_key(tmp_path: Path) -> None:
    async with two_projects(tmp_path) as (sandbox, gateway):
        sandbox.openai.faults.append(Fault.cut(0), times=3)
        sandbox.openai.faults.append(Fault.cut(2), times=2)
        shared = inference.LLM("openai/gpt-4.1-mini")

        async def call(number: int) -> None:
            project = ("prod", "staging")[number % 2]
            inference.set_project(project)
            text = f"question {number} of {project}"
            own = inference.LLM("openai/gpt-4.1-mini")
            await chat(shared, text=text, conn_options=PATIENT)
            await chat(own, text=text, conn_options=PATIENT)
            await own.aclose()

        await asyncio.gather(*(call(number) for number in range(10)))
        rows = await usage_rows(gateway)
        await shared.aclose()
    for request in sandbox.openai.record.requests:
        project = str(request.messages[-1]["content"]).rpartition(" ")[2]
        assert request.key == f"{project}-openai"
    assert len(sandbox.openai.faults.struck) == 5
    assert {row["project"] for row in rows} == {"prod", "staging"}


async def test_each_project_keeps_its_key_when_options_change(tmp_path: Path) -> None:
    async with two_projects(tmp_path) as (sandbox, _):
        model = inference.LLM("openai/gpt-4.1-mini")
        for project in ("prod", "staging"):
            with inference.use_project(project):
                await chat(model)
        model.update_options(model="openai/gpt-4.1")
        for project in ("staging", "prod"):
            with inference.use_project(project):
                await chat(model)
        await model.aclose()
    assert [(request.key, request.model) for request in sandbox.openai.record.requests] == [
        ("prod-openai", "gpt-4.1-mini"),
        ("staging-openai", "gpt-4.1-mini"),
        ("staging-openai", "gpt-4.1"),
        ("prod-openai", "gpt-4.1"),
    ]


async def test_fallback_models_are_paid_for_by_the_same_project(tmp_path: Path) -> None:
    async with two_projects(tmp_path) as (sandbox, gateway):
        sandbox.cartesia.faults.append(Fault.status(500), times=1)
        model = inference.TTS(
            "cartesia/sonic-2",
            fallback=["cartesia/sonic-3"],
            conn_options=PATIENT,
        )
        with inference.use_project("staging"):
            await speak(model, whole=True)
        with inference.use_project("prod"):
            await speak(model, whole=True)
        rows = await usage_rows(gateway)
        await model.aclose()
    assert keys(sandbox.cartesia) == ["staging-cartesia", "staging-cartesia", "prod-cartesia"]
    assert sorted(row["project"] for row in rows) == ["prod", "staging"]
