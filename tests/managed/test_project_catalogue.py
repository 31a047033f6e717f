"""Projects of the file and of the ledger, merged; and a ledger that somebody else has changed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from managed_sites import Site, open_site

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.errors import InvalidQueryError, VoiceGatewayError
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.ledger.migrate import create
from livekit_plugins_voicegateway.ledger.queries import load_migrations
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.managed import ProjectCatalogue
from livekit_plugins_voicegateway.projects import Project


def in_the_shell(site: Site, statement: str) -> None:
    with closing(sqlite3.connect(site.database)) as shell, shell:
        shell.execute(statement)


async def test_a_look_takes_in_what_others_have_changed(site: Site) -> None:
    async with open_site(site.path.parent, env=site.env) as other:
        assert not await site.catalogue.refresh()
        await other.admin.create({"project_id": "x"}, front="http")
        await other.admin.create({"project_id": "y"}, front="http")
        assert await site.catalogue.refresh()
        assert list(site.catalogue.config.projects) == ["prod", "x", "y"]
        y = site.catalogue.config.project("y")
        await other.admin.update("x", {"daily_budget": 3}, front="http")
        assert await site.catalogue.refresh()
        assert not await site.catalogue.refresh()
        assert site.catalogue.config.project("x").daily_budget == 3
        assert site.catalogue.config.project("y") is y
        await other.admin.delete("x", front="http")
        assert await site.catalogue.refresh()
        assert list(site.catalogue.config.projects) == ["prod", "y"]


async def test_the_rest_of_the_configuration_stays(site: Site) -> None:
    before = site.catalogue.config
    await site.admin.create({"project_id": "x"}, front="http")
    after = site.catalogue.config
    assert before.projects["prod"] is after.projects["prod"]
    assert (before.path, before.providers, before.days.day_of(0)) == (
        after.path,
        after.providers,
        after.days.day_of(0),
    )


async def test_the_files_project_wins(site: Site) -> None:
    await site.admin.create({"project_id": "x", "name": "of the ledger"}, front="http")
    text = "projects:\n  x: {name: of the file}\n"
    async with open_site(site.path.parent, text, env=site.env) as other:
        assert other.catalogue.config.project("x").name == "of the file"
        (note,) = other.catalogue.notes
        assert note.endswith(f"{other.path} line 3, too: the file's definition holds")


async def test_a_change_in_the_shell_is_seen(site: Site) -> None:
    await site.admin.create({"project_id": "x", "daily_budget": 5}, front="http")
    in_the_shell(site, "UPDATE managed_projects SET daily_budget = '7.25' WHERE project_id = 'x'")
    assert await site.catalogue.refresh()
    assert str(site.catalogue.config.project("x").daily_budget) == "7.25"
    in_the_shell(site, "DELETE FROM managed_projects")
    assert await site.catalogue.refresh()
    assert "x" not in site.catalogue.config.projects


@pytest.mark.parametrize(
    "damage",
    [
        "tags = 'no JSON'",
        "tags = '[7]'",
        "tags = '{}'",
        pytest.param(f"tags = '{'[' * 100_000}'", id="tags of many levels"),
        "budget_action = 'warn', daily_budget = 'much'",
        "daily_budget = 1e300",
        "name = '${HOME}'",
        "pricing = '{\"a/b\": {}}'",
        "fallback = '\"never\"'",
        "project_id = '../x'",
    ],
)
async def test_what_is_not_fit_to_be_a_project_is_left_out_and_said(
    site: Site, damage: str
) -> None:
    await site.admin.create({"project_id": "x"}, front="http")
    await site.admin.create({"project_id": "sound"}, front="http")
    in_the_shell(site, f"UPDATE managed_projects SET {damage} WHERE project_id = 'x'")
    assert await site.catalogue.refresh()
    assert list(site.catalogue.config.projects) == ["prod", "sound"]
    (note,) = site.catalogue.notes
    assert "made at run time, is left out: " in note
    (damaged,) = (await site.ledger.managed_projects()).rows.keys() - {"sound"}
    await site.admin.delete(damaged, front="cli")
    assert not site.catalogue.notes


async def test_a_reader_that_came_before_the_file_sees_it_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "later" / "voicegw.yaml"
    path.parent.mkdir()
    path.write_text(f"database: {{url: 'sqlite:///{tmp_path}/later/voicegw.db'}}\n")
    config = load_config(path, env={})
    async with make_ledger(config.database_url, read_only=True) as ledger:
        catalogue = ProjectCatalogue(config, ledger, env={})
        assert await catalogue.refresh()
        assert not path.with_name("voicegw.db").exists()
        async with open_site(path.parent, "") as site:
            await site.admin.create({"project_id": "x"}, front="http")
            looks = [catalogue.refresh() for _ in range(5)]
            assert sorted(await asyncio.gather(*looks))[-1]
            assert "x" in catalogue.config.projects
            await site.admin.create({"project_id": "y"}, front="http")
            assert await catalogue.refresh()
            assert "y" in catalogue.config.projects


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_reader_of_what_nobody_wrote_sees_what_is_written_later(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.admin.create({"project_id": "x"}, front="http")
    for path in tmp_path.glob("voicegw.db-*"):
        path.unlink()
    tmp_path.chmod(0o500)
    try:
        config = load_config(site.path, env={})
        async with make_ledger(config.database_url, read_only=True) as ledger:
            catalogue = ProjectCatalogue(config, ledger, env={})
            await catalogue.refresh()
            tmp_path.chmod(0o700)
            async with open_site(tmp_path) as later:
                await later.admin.create({"project_id": "y"}, front="http")
                assert await catalogue.refresh()
                assert "y" in catalogue.config.projects
    finally:
        tmp_path.chmod(0o700)


async def test_a_worker_of_before_projects_could_be_made_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "voicegw.db"
    known = load_migrations("sqlite")
    create(path, wait=1, migrations=known[:2])
    with closing(sqlite3.connect(path)) as old_worker, old_worker:
        old_worker.execute(
            "INSERT INTO managed_projects (project_id, name, created_at, updated_at)"
            " VALUES ('early', 'Early', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z')"
        )
    async with open_site(tmp_path) as site:
        assert site.catalogue.config.project("early").name == "Early"
        with closing(sqlite3.connect(path)) as old_worker, old_worker:
            old_worker.execute("UPDATE managed_projects SET name = 'Still early'")
        assert await site.catalogue.refresh()
        assert site.catalogue.config.project("early").name == "Still early"
        await site.admin.update("early", {"daily_budget": 1}, front="cli")
    assert [m.additive for m in known if m.name.endswith("_projects")] == [True]


async def test_a_project_is_written_only_if_nothing_has_changed_since(site: Site) -> None:
    await site.admin.create({"project_id": "x"}, front="http")
    found = await site.ledger.managed_projects()
    (change,) = await site.ledger.project_changes(None, limit=10)
    await site.admin.update("x", {"name": "y"}, front="http")
    assert not await site.ledger.write_project(None, change, version=found.version)
    assert len(await site.ledger.project_changes(None, limit=10)) == 2
    assert "x" in (await site.ledger.managed_projects()).rows


IDS = st.sampled_from(["prod", "a", "b"])
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "name": st.none()
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=9),
    "description": st.none() | st.sampled_from(["", "one", "two\nlines", "${", "\x00"]),
    "daily_budget": st.none()
    | st.decimals(0, 1000, places=4).map(str)
    | st.sampled_from([-1, 1e400, 0, 12.5]),
    "budget_action": st.sampled_from([None, "warn", "throttle", "block", "stop"]),
    "tags": st.none() | st.lists(st.sampled_from(["prod", "dev", "ö", ""]), max_size=3),
    "fallback": st.sampled_from([None, "none", {"llm": "ollama/x"}, {"stt": "none"}, {"stt": "x"}]),
    "providers": st.none()
    | st.dictionaries(
        st.sampled_from(["openai", "deepgram"]),
        st.sampled_from([None, {"api_key": "k1"}, {"api_key": "k2"}, {"base_url": "x"}]),
    ),
}
CHANGES = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none()).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "update", "update", "delete"]), IDS, CHANGES), max_size=12
)


def applied(model: dict[str, dict[str, Any]], step: tuple[str, str, dict[str, Any]]) -> None:
    """What a step that was not refused makes of the projects."""
    what, project_id, changes = step
    if what == "delete":
        del model[project_id]
        return
    project = model.setdefault(project_id, {"providers": {}})
    for name, value in changes.items():
        if name != "providers":
            project[name] = value
        elif value is None:
            project["providers"] = {}
        else:
            merged = {**project["providers"], **value}
            project["providers"] = {name: its for name, its in merged.items() if its is not None}


def expected(project_id: str, fields: dict[str, Any], config: Config) -> Mapping[str, object]:
    fallback = fields.get("fallback")
    own = fallback if isinstance(fallback, dict) else {}
    return {
        "name": (fields.get("name") or "").strip() or project_id,
        "description": fields.get("description") or "",
        "daily_budget": None
        if fields.get("daily_budget") is None
        else float(fields["daily_budget"]),
        "budget_action": fields.get("budget_action") or "warn",
        "tags": tuple(fields.get("tags") or ()),
        "llm": None if fallback == "none" else own.get("llm", config.fallback.llm),
        "stt": None if fallback == "none" or own.get("stt") == "none" else config.fallback.stt,
        "providers": fields["providers"],
    }


def found(project: Project) -> Mapping[str, object]:
    return {
        "name": project.name,
        "description": project.description,
        "daily_budget": None if project.daily_budget is None else float(project.daily_budget),
        "budget_action": project.budget_action,
        "tags": project.tags,
        "llm": project.fallback.llm,
        "stt": project.fallback.stt,
        "providers": {n: options.resolve("llm", {}) for n, options in project.providers.items()},
    }


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_row_of_changes_leaves_what_was_not_refused(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, dict[str, Any]]]
) -> None:
    async def take() -> None:
        folder = tmp_path_factory.mktemp("site")
        model: dict[str, dict[str, Any]] = {}
        noted = 0
        async with open_site(folder) as site, open_site(folder, env=site.env) as other:
            for step in steps:
                what, project_id, changes = step
                before = {**site.catalogue.config.projects}
                try:
                    if what == "create":
                        await site.admin.create({"project_id": project_id, **changes}, front="cli")
                    elif what == "update":
                        await site.admin.update(project_id, changes, front="cli")
                    else:
                        await site.admin.delete(project_id, front="cli")
                except VoiceGatewayError as e:
                    assert site.catalogue.config.projects == before
                    if isinstance(e, InvalidQueryError):
                        wrong = {
                            problem.field.partition(".")[0].partition("[")[0]
                            for problem in e.problems
                        }
                        assert wrong <= changes.keys()
                    continue
                applied(model, step)
            await other.catalogue.refresh()
            for catalogue in (site.catalogue, other.catalogue):
                projects = {**catalogue.config.projects}
                assert projects.pop("prod").source == "yaml"
                assert {name: found(project) for name, project in projects.items()} == {
                    name: expected(name, fields, catalogue.config) for name, fields in model.items()
                }
            log = await site.admin.changes(limit=1000)
            noted = len(log)
            assert noted <= len(steps)
            latest = {change["project_id"]: change["after"] for change in reversed(log)}
            assert {name for name, after in latest.items() if after is not None} == model.keys()

    asyncio.run(take())


async def test_a_ledger_that_is_closed_can_be_looked_at_again(site: Site) -> None:
    ledger = SqliteLedger(site.database, read_only=True)
    catalogue = ProjectCatalogue(site.catalogue.config, ledger, env=site.env)
    await ledger.open()
    await catalogue.refresh()
    await ledger.close()
    await site.admin.create({"project_id": "x"}, front="http")
    await ledger.open()
    assert await catalogue.refresh()
    await ledger.close()
    assert "x" in catalogue.config.projects
