"""A project that is changed on the watcher's thread while a request is being served."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.gateways import gateway_on
from support.machine import PATIENCE

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.projects import Fallback, Project
from livekit_plugins_voicegateway.sandbox import Sandbox

PROJECTS = """
projects:
  prod:
    daily_budget: 1
    budget_action: throttle
    fallback: {stt: none, llm: "ollama/qwen2.5:3b", tts: none}
"""


def take_in(gateway: Gateway, project: Project) -> None:
    """What the watcher does when it finds ``project`` changed."""
    projects = {**gateway.config.projects, project.id: project}
    gateway._take_in(replace(gateway.config, projects=projects))


async def test_a_change_is_not_undone_by_who_asked_for_the_project_just_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path, PROJECTS) as gateway:
        model = inference.LLM("openai/gpt-4.1-mini", project="prod")
        changed = replace(gateway.project("prod"), daily_budget=None)
        active_project = gateway.active_project

        def overtaken(chosen: str | None = None) -> Project:
            project = active_project(chosen)
            if project is not changed:
                take_in(gateway, changed)
            return project

        monkeypatch.setattr(gateway, "active_project", overtaken)
        assert model._delegates.current().project is changed
        await model.aclose()


async def test_a_fallback_that_was_changed_while_it_was_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path, PROJECTS) as gateway:
        model = inference.LLM("openai/gpt-4.1-mini", project="prod")
        delegates = model._delegates
        delegate = delegates.current()
        other = Fallback(stt=None, llm="ollama/llama3.2:3b", tts=None)
        changed = replace(gateway.project("prod"), fallback=other)
        make = gateway.fallback

        def overtaken(*what: Any) -> Any:
            made = make(*what)
            if delegate.project is not changed:
                take_in(gateway, changed)
            return made

        monkeypatch.setattr(gateway, "fallback", overtaken)
        first, second = delegates.fallback(delegate), delegates.fallback(delegate)
        assert first is not None
        assert second is not None
        assert (first.model, second.model) == ("qwen2.5:3b", "llama3.2:3b")
        assert {first, second} <= set(delegates.all())  # both are closed at the end
        await model.aclose()


async def test_a_fallback_that_many_requests_need_at_once_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path, PROJECTS) as gateway:
        model = inference.LLM("openai/gpt-4.1-mini", project="prod")
        delegate = model._delegates.current()
        make, begun, all_begun, made = gateway.fallback, [], threading.Event(), []

        def slow(*what: Any) -> Any:
            assert all_begun.wait(PATIENCE)
            made.append(make(*what))
            return made[-1]

        def ask() -> Any:
            begun.append(True)
            if len(begun) == 4:
                all_begun.set()
            return model._delegates.fallback(delegate)

        monkeypatch.setattr(gateway, "fallback", slow)
        with ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(ask) for _ in range(4)]
        assert len({one.result() for one in asked}) == len(made) == 1
        await model.aclose()
