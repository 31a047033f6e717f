"""Provider keys of projects made at run time: sealed, rotated, and nowhere in the clear."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from managed_sites import Site, new_key, open_site

from livekit_plugins_voicegateway.errors import InvalidQueryError, SecretKeyError, VoiceGatewayError

MARK = "sk-marked-1b7e09"
KEYS: dict[str, Any] = {
    "project_id": "x",
    "providers": {
        "openai": {"api_key": f"{MARK}-openai", "organization": "acme"},
        "deepgram": {"stt": {"api_key": f"{MARK}-deepgram"}},
    },
}


async def keys_of(site: Site, project: str = "x") -> dict[str, object]:
    await site.catalogue.refresh()
    providers = site.catalogue.config.project(project).providers
    return {
        "openai": providers["openai"].resolve("llm", {})["api_key"],
        "deepgram": providers["deepgram"].resolve("stt", {})["api_key"],
    }


async def test_keys_are_kept_and_come_back(site: Site) -> None:
    await site.admin.create(KEYS, front="http")
    async with open_site(site.path.parent, env=site.env) as other:
        assert await keys_of(other) == {
            "openai": f"{MARK}-openai",
            "deepgram": f"{MARK}-deepgram",
        }


async def test_no_key_is_anywhere_in_the_clear(
    site: Site, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = [repr(await site.admin.create(KEYS, front="http"))]
    shown += [repr(await site.admin.update("x", {"name": "y"}, front="http"))]
    changed = {"providers": {"openai": {"api_key": f"{MARK}-second"}}}
    shown += [repr(await site.admin.update("x", changed, front="http"))]
    shown += [repr(await site.ledger.managed_projects()), repr(site.catalogue.config)]
    shown += [repr(vars(site.catalogue)), json.dumps(await site.admin.changes())]
    shown += [json.dumps(await site.admin.would_delete("x"))]
    site.env["VOICEGW_SECRET_KEY"] = f"{new_key()},{site.env['VOICEGW_SECRET_KEY']}"
    shown += [json.dumps(await site.admin.rotate_keys(front="cli"))]
    files = [path for path in tmp_path.iterdir() if path.name.startswith("voicegw.db")]
    assert {path.name for path in files} >= {"voicegw.db", "voicegw.db-wal"}
    for path in files:
        content = path.read_bytes()
        assert b"sk-" not in content
        for key in site.env["VOICEGW_SECRET_KEY"].split(","):
            assert key.encode() not in content
    await site.admin.delete("x", front="http")
    assert MARK not in "".join(shown)
    assert MARK not in caplog.text


@pytest.mark.parametrize(
    "providers",
    [
        f"{MARK}",
        [MARK],
        {"openai": MARK},
        {"openai": [MARK]},
        {"openai": {MARK: None}},
        {"openai": {"api_key": f"{MARK} "}},
        {"openai": {"api_key": f"{MARK}\n"}},
        {"openai": {"api_key": f"${{{MARK}}}"}},
        {"openai": {"api_key": {"key": MARK}}},
        {"openai": {"api_key": [MARK]}},
        {"openai": {"api_key": 7_365_901_552}},
        {"openai": {"api_key": True, "base_url": MARK}},
        {"openai": {"base_url": f"https://{MARK}@localhost"}},
        {"openai": {"stt": MARK}},
        {MARK + "\x00": {}},
        {"google": {"credentials_file": f"/etc/{MARK}"}},
    ],
)
async def test_no_message_quotes_what_may_be_a_key(
    site: Site, providers: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(VoiceGatewayError) as refused:
        await site.admin.create({"project_id": "x", "providers": providers}, front="http")
    assert isinstance(refused.value, InvalidQueryError)
    said = "".join(traceback.format_exception(refused.value)) + caplog.text
    source = Path(__file__).read_text()
    assert MARK not in said.replace(source, "")
    assert "7365901552" not in said


async def test_without_a_secret_key_only_keys_are_refused(tmp_path: Path) -> None:
    async with open_site(tmp_path, env={}) as site:
        with pytest.raises(SecretKeyError) as refused:
            await site.admin.create(KEYS, front="http")
        assert "VOICEGW_SECRET_KEY is not set" in str(refused.value)
        command = re.search(r"python -c '(.*)'`", str(refused.value))
        assert command is not None
        printed: list[str] = []
        exec(command[1], {"print": printed.append})
        await site.admin.create({"project_id": "y", "daily_budget": 1}, front="http")
        site.env["VOICEGW_SECRET_KEY"] = printed[0]
        await site.admin.create(KEYS, front="http")


@pytest.mark.parametrize("key", ["nonsense", "Ünsinn", "a" * 44, "{good},nonsense"])
async def test_a_wrong_secret_key_is_said_and_not_shown(tmp_path: Path, key: str) -> None:
    key = key.format(good=new_key())
    async with open_site(tmp_path, env={"VOICEGW_SECRET_KEY": key}) as site:
        with pytest.raises(SecretKeyError, match="VOICEGW_SECRET_KEY is no Fernet key") as refused:
            await site.admin.create(KEYS, front="http")
        assert key not in str(refused.value)
        assert refused.value.__context__ is None
        assert not (await site.ledger.managed_projects()).rows


async def test_a_project_without_keys_needs_no_secret_key(tmp_path: Path) -> None:
    async with open_site(tmp_path, env={}) as site:
        await site.admin.create({"project_id": "y", "daily_budget": 1}, front="http")
        await site.admin.update("y", {"daily_budget": 2}, front="http")
        await site.admin.delete("y", front="http")


async def test_what_cannot_be_opened_here_says_why(site: Site) -> None:
    await site.admin.create(KEYS, front="http")
    for env, reason in (
        ({}, "VOICEGW_SECRET_KEY is not set"),
        ({"VOICEGW_SECRET_KEY": new_key()}, "does not open the provider keys of project 'x'"),
    ):
        async with open_site(site.path.parent, env=env) as other:
            project = other.catalogue.config.project("x")
            assert reason in project.providers["openai"].unusable
            assert project.providers["openai"].keys("llm") == {"api_key", "organization"}
            assert project.providers["deepgram"].keys("llm") == frozenset()
            assert project.providers["deepgram"].keys("stt") == {"api_key"}
            (note,) = other.catalogue.notes
            assert reason in note


async def test_sealed_options_of_one_project_do_not_open_as_anothers(site: Site) -> None:
    await site.admin.create(KEYS, front="http")
    await site.admin.create({**KEYS, "project_id": "y"}, front="http")
    with closing(sqlite3.connect(site.database)) as shell, shell:
        shell.execute(
            "UPDATE managed_projects SET providers ="
            " (SELECT providers FROM managed_projects WHERE project_id = 'x')"
            " WHERE project_id = 'y'"
        )
    await site.catalogue.refresh()
    unusable = site.catalogue.config.project("y").providers["openai"].unusable
    assert "was sealed for project 'x'" in unusable


async def test_sealed_keys_of_unknown_providers_leave_a_project_out(site: Site) -> None:
    await site.admin.create(KEYS, front="http")
    with closing(sqlite3.connect(site.database)) as shell, shell:
        shell.execute("UPDATE managed_projects SET provider_options = 'damaged'")
    async with open_site(site.path.parent, env={}) as other:
        assert "x" not in other.catalogue.config.projects
    assert (await keys_of(site))["openai"] == f"{MARK}-openai"


async def test_keys_are_sealed_anew_with_a_new_key(site: Site) -> None:
    old = site.env["VOICEGW_SECRET_KEY"]
    await site.admin.create(KEYS, front="http")
    await site.admin.create({"project_id": "plain"}, front="http")
    new = new_key()
    site.env["VOICEGW_SECRET_KEY"] = f" {new} , {old}"
    assert (await keys_of(site))["openai"] == f"{MARK}-openai"
    await site.admin.create({**KEYS, "project_id": "later"}, front="http")
    rotated = await site.admin.rotate_keys(front="cli")
    assert rotated == {"resealed": ["x"], "current": ["later"], "unreadable": {}}
    assert (await site.admin.changes(limit=1))[0]["fields"] == ["secret_key"]
    site.env["VOICEGW_SECRET_KEY"] = new
    async with open_site(site.path.parent, env=site.env) as other:
        assert (await keys_of(other))["deepgram"] == f"{MARK}-deepgram"
        assert not other.catalogue.notes
    assert (await site.admin.rotate_keys(front="cli"))["resealed"] == []


async def test_what_no_key_opens_is_named_and_left(site: Site) -> None:
    await site.admin.create(KEYS, front="http")
    lost, site.env["VOICEGW_SECRET_KEY"] = site.env["VOICEGW_SECRET_KEY"], new_key()
    rotated = await site.admin.rotate_keys(front="cli")
    assert list(rotated["unreadable"]) == ["x"]
    site.env["VOICEGW_SECRET_KEY"] = lost
    assert (await keys_of(site))["openai"] == f"{MARK}-openai"


async def test_lost_keys_can_be_given_again_all_at_once(site: Site) -> None:
    await site.admin.create(KEYS, front="http")
    site.env["VOICEGW_SECRET_KEY"] = new_key()
    some = {"providers": {"openai": {"api_key": "new"}}}
    with pytest.raises(SecretKeyError, match="does not open the provider keys of project 'x'"):
        await site.admin.update("x", some, front="http")
    await site.admin.update("x", {"daily_budget": 1}, front="http")
    every = {"openai": {"api_key": "new"}, "deepgram": None}
    project = await site.admin.update("x", {"providers": every}, front="http")
    assert project.providers["openai"].resolve("llm", {}) == {"api_key": "new"}
    assert list(project.providers) == ["openai"]


async def test_without_the_secret_key_keys_can_be_taken_away(site: Site) -> None:
    await site.admin.create(KEYS, front="http")
    del site.env["VOICEGW_SECRET_KEY"]
    project = await site.admin.update("x", {"providers": None}, front="http")
    assert not project.providers
    (row,) = (await site.ledger.managed_projects()).rows.values()
    assert row.providers is None
    assert row.provider_options is None
