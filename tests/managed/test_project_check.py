"""``voicegw check`` says what is to be known of projects made at run time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from managed_sites import FILE, new_key, open_site

from livekit_plugins_voicegateway.cli.inspection import Findings, inspect_config
from livekit_plugins_voicegateway.config import load_config


def checked(folder: Path, env: dict[str, str], providers: object, **here: str) -> Findings:
    """Make a project ``night`` where ``env`` holds, and check where ``here`` does."""

    async def make() -> Path:
        async with open_site(folder, FILE, env=env) as site:
            made = {"project_id": "night", "daily_budget": 1, "providers": providers}
            await site.admin.create(made, front="cli")
            return site.path

    variables = {**env, "OPERATORS_KEY": "sk-operators", **here}
    return inspect_config(load_config(asyncio.run(make()), env=variables), variables)


def test_keys_of_its_own_are_named_and_not_shown(tmp_path: Path) -> None:
    env = {"VOICEGW_SECRET_KEY": new_key()}
    found = checked(tmp_path, env, {"openai": {"api_key": "sk-nights"}})
    assert list(found.config.projects) == ["prod", "night"]
    (key,) = found.keys["night"]
    assert (key.state, key.says) == ("set", "a key of its own, sealed in the ledger")
    assert found.ok
    assert "sk-nights" not in repr(found)


def test_without_the_secret_key_they_are_missing_and_the_reason_is_said(tmp_path: Path) -> None:
    env = {"VOICEGW_SECRET_KEY": new_key()}
    own = {"openai": {"api_key": "sk-nights"}}
    found = checked(tmp_path, env, own, VOICEGW_SECRET_KEY="")
    (key,) = found.keys["night"]
    assert key.state == "missing"
    assert "VOICEGW_SECRET_KEY is not set" in key.says
    assert any("project 'night'" in note and "VOICEGW_SECRET_KEY" in note for note in found.notes)


def test_an_option_that_nobody_takes_is_a_fault(tmp_path: Path) -> None:
    env = {"VOICEGW_SECRET_KEY": new_key()}
    found = checked(tmp_path, env, {"openai": {"api_key": "sk-nights", "max_retrys": 1}})
    (problem,) = found.problems
    assert problem.key_path == "projects.night.providers.openai.max_retrys"
    assert not found.ok
