"""The key of one project is never used for another, whatever happens to its models meanwhile.

Hypothesis makes up what is done to the models of several projects: requests, changes of the model,
failures that lead to a fallback, changes of keys at run time, prewarming. The sandbox has written
down the key of every request and connection; which key is whose can be seen in the key.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from livekit.agents import APIConnectOptions, llm, utils
from support.traces import frames

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

ONCE = APIConnectOptions(max_retry=0, timeout=2.0)

PROJECTS = ("one", "two", "shared", "night")
"""Two with keys of their own, one with the operator's, one that was made at run time."""

AUDIO = frames("austen-0880.wav")[:25]

SECRET_KEY = "c2VhbHMgdGhlIGtleXMgb2YgYWxsIHByb2plY3RzISE="

CONFIGURATION = """
database: {{url: 'sqlite:///{folder}/voicegw.db'}}
fallback: {{stt: none, llm: none, tts: none}}
projects:
  one: {{providers: {{deepgram: {{api_key: key-of-one-1}}, openai: {{api_key: key-of-one-1}},
         cartesia: {{api_key: key-of-one-1}}}}}}
  two: {{providers: {{deepgram: {{api_key: key-of-two-1}}, openai: {{api_key: key-of-two-1}},
         cartesia: {{api_key: key-of-two-1}}}}}}
  shared: {{}}
providers:
  deepgram: {{api_key: key-of-shared-1, stt: {{base_url: '{deepgram}'}}}}
  openai: {{api_key: key-of-shared-1, llm: {{base_url: '{openai}'}}}}
  cartesia: {{api_key: key-of-shared-1, tts: {{base_url: '{cartesia}'}}}}
"""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["use", "use", "use", "model", "fail", "prewarm", "rotate", "context"]),
        st.sampled_from(["llm", "tts", "stt"]),
        st.sampled_from(PROJECTS),
    ),
    min_size=4,
    max_size=14,
)

MODELS = {
    "llm": ("openai/gpt-4.1-mini", "openai/gpt-4.1-nano"),
    "tts": ("cartesia/sonic-3", "cartesia/sonic-2"),
    "stt": ("deepgram/nova-3", "deepgram/nova-2"),
}


def sealed(number: int) -> dict[str, dict[str, str]]:
    key = f"key-of-night-{number}"
    return {name: {"api_key": key} for name in ("deepgram", "openai", "cartesia")}


class World:
    """Models of all projects, the sandbox, and what has been asked of whom."""

    def __init__(self, sandbox: Sandbox, gateway: Gateway, admin: ProjectAdmin) -> None:
        self.sandbox = sandbox
        self.gateway = gateway
        self.admin = admin
        self.rotated = 1
        self.made: dict[tuple[str, str | None], Any] = {}
        self.requests = 0

    def model(self, kind: str, project: str | None) -> Any:
        """A model of a project; for None one that asks for the project with each request."""
        if (kind, project) not in self.made:
            make: Callable[..., Any] = getattr(inference, kind.upper())
            first, second = MODELS[kind]
            more: dict[str, Any] = {} if kind == "llm" else {"fallback": [second]}
            if kind == "stt" and project is not None:
                # which connection is whose, in the sandbox's record
                more["extra_kwargs"] = {"keyterm": [f"for {project}"]}
            self.made[kind, project] = make(first, project=project, **more)
        return self.made[kind, project]

    async def step(self, what: str, kind: str, project: str) -> None:
        match what:
            case "use":
                await self.use(self.model(kind, project), kind, project)
            case "context":
                # made where no project is chosen, and so for whoever asks
                model = self.model(kind, None)
                with inference.use_project(project):
                    await self.use(model, kind, project)
            case "model":
                model = self.model(kind, project)
                renamed = MODELS[kind][self.requests % 2]
                model.update_options(model=renamed)
                await self.use(model, kind, project)
            case "fail":
                provider = {"llm": "openai", "tts": "cartesia", "stt": "deepgram"}[kind]
                getattr(self.sandbox, provider).faults.append(Fault.status(500))
                await self.use(self.model(kind, project), kind, project)
                getattr(self.sandbox, provider).faults.clear()
            case "prewarm":
                if kind != "stt":
                    self.model(kind, project).prewarm()
            case "rotate":
                self.rotated += 1
                changes = {"providers": sealed(self.rotated)}
                await self.admin.update("night", changes, front="cli")

    async def use(self, model: Any, kind: str, project: str) -> None:
        """Make a request that says for whom it is."""
        self.requests += 1
        # that a request fails is not what is looked at here
        with suppress(Exception):
            async with asyncio.timeout(8):
                await request(model, kind, project)

    def sent(self) -> list[tuple[str, str]]:
        """Whom each request that has arrived was for, and the key that came with it."""
        of = [
            *((one.text, one) for one in self.sandbox.cartesia.record.requests),
            *((str(one.messages), one) for one in self.sandbox.openai.record.requests),
            *((" ".join(one.keyterms), one) for one in self.sandbox.deepgram.record.requests),
        ]
        return [(found[1], one.key) for text, one in of if (found := re.search(r"for (\w+)", text))]

    @property
    def wrong(self) -> list[str]:
        """The requests that came with a key that is not their project's."""
        return [
            f"{project} with {key}" for project, key in self.sent() if f"-of-{project}-" not in key
        ]


async def request(model: Any, kind: str, project: str) -> None:
    if kind == "llm":
        chat_ctx = llm.ChatContext.empty()
        chat_ctx.add_message(role="user", content=f"for {project}")
        await drain(model.chat(chat_ctx=chat_ctx, conn_options=ONCE))
    elif kind == "tts":
        stream = model.stream(conn_options=ONCE)
        stream.push_text(f"This is for {project} alone.")
        stream.end_input()
        await drain(stream)
    else:
        stream = model.stream(conn_options=ONCE)
        for frame in AUDIO:
            stream.push_frame(frame)
        stream.end_input()
        await drain(stream)


async def drain(stream: Any) -> None:
    async with stream:
        async for _ in stream:
            pass


async def play(steps: Iterable[tuple[str, str, str]]) -> World:
    """Do what was made up, and then use every model once more."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with utils.http_context.open(), Sandbox() as sandbox:
            path = folder / "voicegw.yaml"
            path.write_text(CONFIGURATION.format(folder=folder, **sandbox.base_urls))
            env = {"VOICEGW_SECRET_KEY": SECRET_KEY}
            config = load_config(path, env=env)
            async with make_ledger(config.database_url) as ledger:
                catalogue = ProjectCatalogue(config, ledger, env=env)
                await catalogue.refresh()
                admin = ProjectAdmin(catalogue, ledger, env=env)
                created = {"project_id": "night", "providers": sealed(1)}
                await admin.create(created, front="cli")
                gateway = Gateway(config, env=env)
                previous = install(gateway)
                world = World(sandbox, gateway, admin)
                try:
                    for step in steps:
                        await world.step(*step)
                    for kind, project in list(world.made):
                        if project is not None:
                            await world.use(world.model(kind, project), kind, project)
                    for model in world.made.values():
                        await model.aclose()
                finally:
                    install(previous)
                    gateway.close()
        return world


def never_anothers(steps: list[tuple[str, str, str]]) -> None:
    world = asyncio.run(play(steps))
    assert world.wrong == []


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=SLOW,
    phases=[Phase.explicit, Phase.generate],
)
@given(STEPS)
def test_no_key_is_used_for_another_project(steps: list[tuple[str, str, str]]) -> None:
    never_anothers(steps)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(STEPS)
def test_no_key_is_used_for_another_project_in_many_stories(
    steps: list[tuple[str, str, str]],
) -> None:
    never_anothers(steps)


def test_every_project_asks_with_its_own() -> None:
    """What the stories above would find nothing in, if nobody was asked with any key."""
    steps = [("use", kind, project) for kind in MODELS for project in PROJECTS]
    steps += [("context", "llm", project) for project in PROJECTS]
    world = asyncio.run(play(steps))
    assert world.wrong == []
    assert len(world.sent()) >= len(steps)
    assert {key.rpartition("-")[0] for _, key in world.sent()} == {f"key-of-{p}" for p in PROJECTS}


def test_the_search_finds_a_key_that_is_anothers() -> None:
    """Two models of one project, one of which was told to use the other's key."""

    async def mix() -> World:
        steps: list[tuple[str, str, str]] = [("use", "llm", "one")]
        original = World.model

        def swapped(self: World, kind: str, project: str | None) -> Any:
            return original(self, kind, "two" if project == "one" else project)

        World.model = swapped  # type: ignore[method-assign]
        try:
            return await play(steps)
        finally:
            World.model = original  # type: ignore[method-assign]

    assert asyncio.run(mix()).wrong
