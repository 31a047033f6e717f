"""Projects are made, changed and deleted at run time: what is right or wrong, what is noted."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from managed_sites import Site, open_site
from support.usage_rows import usage_row

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import (
    ConfigError,
    InvalidQueryError,
    LedgerError,
    NotManagedError,
    ProjectExistsError,
    UnknownProjectError,
)
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue
from livekit_plugins_voicegateway.projects import Fallback, Project

WHOLE: dict[str, Any] = {
    "project_id": "night-shift",
    "name": "Night shift",
    "description": "After hours\nand on Sundays",
    "daily_budget": 12.5,
    "budget_action": "throttle",
    "tags": ["staging", "night"],
    "providers": {"openai": {"api_key": "sk-night"}, "ollama": {"base_url": "http://localhost:1"}},
    "fallback": {"llm": "ollama/llama3.2:3b", "tts": "none"},
    "pricing": {
        "openai/gpt-4.1-mini": {"input": 0.35, "cached_input": 0.09, "output": 1.4, "per": 1000000},
        "cartesia/sonic-3": [
            {"characters": 45, "per": 1000000},
            {"characters": "40.000000000000001", "per": 1000000, "from": "2027-01-01"},
        ],
        "acme/in-house": {"free": True},
    },
}


async def test_a_project_has_what_it_was_given(site: Site) -> None:
    made = await site.admin.create(WHOLE, front="http")
    assert (made.id, made.name, made.source, made.line) == (
        "night-shift",
        "Night shift",
        "managed",
        0,
    )
    assert made.description == "After hours\nand on Sundays"
    assert made.daily_budget == Decimal("12.5")
    assert made.budget_action == "throttle"
    assert made.tags == ("staging", "night")
    assert made.accent == "yellow"
    assert made.fallback == Fallback("local/whisper-large-v3", "ollama/llama3.2:3b", None)
    assert made.providers["openai"].resolve("llm", {}) == {"api_key": "sk-night"}
    first, second = made.pricing["cartesia/sonic-3"]
    assert first.valid_until == dt.date(2026, 12, 31)
    assert second.characters == Decimal("40.000000000000001")
    assert made.pricing["openai/gpt-4.1-mini"][0].input == Decimal("0.35")
    assert made.pricing["acme/in-house"][0].basis == "free"
    assert site.catalogue.config.project("night-shift") is made


async def test_another_process_reads_the_same_project(site: Site) -> None:
    made = await site.admin.create(WHOLE, front="http")
    async with open_site(site.path.parent, env=site.env) as other:
        assert other.catalogue.config.project("night-shift") == made


async def test_a_project_needs_no_more_than_an_id(site: Site) -> None:
    made = await site.admin.create({"project_id": "x", "name": None, "tags": None}, front="cli")
    assert made == Project("x", source="managed")


async def test_a_field_of_the_file_and_one_made_at_run_time_mean_the_same(tmp_path: Path) -> None:
    text = """
projects:
  same:
    name: Night shift
    daily_budget: 12.5
    budget_action: throttle
    tags: [staging, night]
    fallback: {llm: "ollama/llama3.2:3b", tts: none}
    pricing:
      openai/gpt-4.1-mini: {input: 0.35, cached_input: 0.09, output: 1.4, per: 1000000}
      cartesia/sonic-3:
        - {characters: 45, per: 1000000}
        - {characters: 40, per: 1000000, from: 2027-01-01}
"""
    fields = {name: WHOLE[name] for name in ("name", "daily_budget", "budget_action", "tags")}
    fields |= {"project_id": "made", "fallback": WHOLE["fallback"]}
    fields["pricing"] = {
        "openai/gpt-4.1-mini": WHOLE["pricing"]["openai/gpt-4.1-mini"],
        "cartesia/sonic-3": [
            {"characters": 45, "per": 1000000},
            {"characters": 40, "per": 1000000, "from": dt.date(2027, 1, 1)},
        ],
    }
    async with open_site(tmp_path, text) as site:
        made = await site.admin.create(fields, front="mcp")
        of_file = site.catalogue.config.project("same")
        for name in ("name", "daily_budget", "budget_action", "tags", "fallback", "pricing"):
            assert getattr(made, name) == getattr(of_file, name)


@pytest.mark.parametrize(
    ("budget", "dollars"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.1, "0.1"),
        ("0.1", "0.1"),
        (" 7 ", "7"),
        (Decimal("1E+2"), "100"),
        ("999999.999999999", "999999.999999999"),
        (1_000_000_000, "1000000000"),
        (None, None),
    ],
)
async def test_a_budget_is_exact(site: Site, budget: object, dollars: str | None) -> None:
    made = await site.admin.create({"project_id": "x", "daily_budget": budget}, front="http")
    assert made.daily_budget == (None if dollars is None else Decimal(dollars))


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("project_id", "../x", "'../x'"),
        ("project_id", "", "''"),
        ("project_id", "x" * 65, "'xxx"),
        ("project_id", 7, "'7'"),
        ("project_id", None, "nothing"),
        ("name", 7, "the number 7"),
        ("name", "x" * 201, "201 characters"),
        ("name", "two\nlines", "a text of several lines or with tabs"),
        ("name", "bell\x07", "a control character"),
        ("name", "\ud800", "a control character, or half of a character"),
        ("name", "${HOME}", "a text with ${"),
        ("description", "x" * 4001, "4001 characters"),
        ("daily_budget", -1, "the number -1"),
        ("daily_budget", float("nan"), "the number .nan"),
        ("daily_budget", float("inf"), "the number .inf"),
        ("daily_budget", Decimal("NaN"), "the number .nan"),
        ("daily_budget", "nan", "the text 'nan'"),
        ("daily_budget", "1e400", "the number 1e400"),
        ("daily_budget", 10**4000, "the number .inf"),
        ("daily_budget", "9" * 5000, "the number 999"),
        ("daily_budget", "0.0000000001", "the number 0.0000000001"),
        ("daily_budget", "123456789.123456789", "the number 123456789.123456789"),
        ("daily_budget", True, "the boolean true"),
        ("daily_budget", "five", "the text 'five'"),
        ("daily_budget", [5], "a list"),
        ("budget_action", "blok", "the text 'blok'"),
        ("budget_action", True, "the boolean true"),
        ("tags", "production", "the text 'production'"),
        ("tags", [""], "the text ''"),
        ("tags", [7], "the number 7"),
        ("tags", ["x"] * 33, "33 tags"),
        ("tags", ["x" * 65], "65 characters"),
        ("fallback", "never", "the text 'never'"),
        ("fallback", {"llm": "local/kokoro"}, "the text 'local/kokoro'"),
        ("fallback", {"video": "x/y"}, "an unknown key"),
        ("pricing", {"nova-3": {"free": True}}, "'nova-3'"),
        ("pricing", {"a/b": {"audio": -1, "per": "minute"}}, "-1"),
        ("pricing", {"a/b": {"audio": 1, "per": "fortnight"}}, "'fortnight'"),
        ("pricing", {"a/b": {"audio": "${PRICE}", "per": "minute"}}, "a text with ${"),
        ("pricing", [1], "a list"),
        ("providers", "openai", "a text"),
        ("providers", {"openai": None}, "options without a key"),
        ("providers", {"google": {"api_key": "x", "vertexai": True}}, "the credentials of the"),
        ("providers", {"openai": {"api_key": ["x"]}}, "a key that is no text"),
        ("providers", {"google": {"credentials_info": ["x"]}}, "neither a text nor a mapping"),
        ("providers", {"openai": {"client": "x"}}, "an object of a program"),
        ("providers", {"open ai": {"api_key": "x"}}, "a key that names no provider"),
        ("providers", {"sk-0123": {"api_key": ""}}, "a key that names no provider"),
        ("providers", {"f" * 32: {"api_key": "openai"}}, "a key that names no provider"),
        ("name", object(), "a object"),
        ("tags", {1: 2}, "a key that is no text"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(
    site: Site, field: str, value: object, found: str
) -> None:
    with pytest.raises(InvalidQueryError) as refused:
        await site.admin.create({"project_id": "x"} | {field: value}, front="http")
    assert {
        problem.field.partition(".")[0].partition("[")[0] for problem in refused.value.problems
    } == {field}
    assert refused.value.problems[0].found.startswith(found)
    assert all(problem.expected for problem in refused.value.problems)
    assert "x" not in site.catalogue.config.projects


async def test_every_wrong_field_is_named_at_once(site: Site) -> None:
    with pytest.raises(InvalidQueryError) as refused:
        await site.admin.create(
            {
                "project_id": "a b",
                "nam": "x",
                "daily_budget": -1,
                "tags": ["", "ok"],
                "fallback": {"stt": "x", "tts": "ollama/x"},
                "pricing": {"a/b": {"audio": 1}},
                "providers": {"openai": {"base_url": "http://x"}, "deepgram": {"api_key": ""}},
            },
            front="mcp",
        )
    assert [problem.field for problem in refused.value.problems] == [
        "nam",
        "project_id",
        "daily_budget",
        "tags[0]",
        "providers.deepgram.api_key",
        "fallback.stt",
        "fallback.tts",
        "pricing.a/b.per",
        "providers.openai",
    ]
    assert refused.value.problems[0].expected.endswith("did you mean 'name'?")


async def test_messages_are_those_of_the_file(site: Site, tmp_path: Path) -> None:
    wrong = (
        "{daily_budget: -1, budget_action: blok, tags: [7], fallback: {stt: x}, pricing: {a: 1}}"
    )
    file = tmp_path / "wrong.yaml"
    file.write_text(f"projects: {{x: {wrong}}}\n")
    with pytest.raises(ConfigError) as of_file:
        load_config(file, env={})
    fields = {"daily_budget": -1, "budget_action": "blok", "tags": [7], "fallback": {"stt": "x"}}
    with pytest.raises(InvalidQueryError) as refused:
        await site.admin.create({"project_id": "x", "pricing": {"a": 1}, **fields}, front="http")
    assert sorted((p.field, p.found, p.expected) for p in refused.value.problems) == sorted(
        (p.key_path.removeprefix("projects.x."), p.found, p.expected)
        for p in of_file.value.problems
    )


async def test_more_than_a_project_has_is_refused(site: Site) -> None:
    prices = {f"a/m{number}": {"free": True} for number in range(10_000)}
    with pytest.raises(InvalidQueryError, match="at most 65536 characters"):
        await site.admin.create({"project_id": "x", "pricing": prices}, front="http")
    nested: Any = "x"
    for _ in range(5_000):
        nested = [nested]
    with pytest.raises(InvalidQueryError, match="a flatter value"):
        await site.admin.create({"project_id": "x", "tags": nested}, front="http")


async def test_an_id_is_taken_once(site: Site) -> None:
    await site.admin.create({"project_id": "x"}, front="http")
    with pytest.raises(ProjectExistsError, match="there is a project 'x' already: choose another"):
        await site.admin.create({"project_id": "x"}, front="http")
    with pytest.raises(ProjectExistsError) as refused:
        await site.admin.create({"project_id": "prod"}, front="http")
    assert refused.value.where == f"{site.path} line 4"
    assert refused.value.where in str(refused.value)


async def test_of_two_that_are_made_at_once_one_is(site: Site) -> None:
    async with open_site(site.path.parent, env=site.env) as other:
        answers = await asyncio.gather(
            *(
                admin.create({"project_id": "x", "name": f"{number}"}, front="http")
                for number in range(6)
                for admin in (site.admin, other.admin)
            ),
            return_exceptions=True,
        )
        made = [answer for answer in answers if isinstance(answer, Project)]
        refused = [answer for answer in answers if isinstance(answer, ProjectExistsError)]
        assert (len(made), len(refused)) == (1, 11)
        await other.catalogue.refresh()
        assert other.catalogue.config.project("x") == made[0]
        assert len(await site.admin.changes()) == 1


async def test_changes_of_different_fields_at_once_all_stay(site: Site) -> None:
    await site.admin.create({"project_id": "x"}, front="http")
    changes: list[dict[str, Any]] = [
        {"name": "New name"},
        {"daily_budget": 3},
        {"tags": ["dev"]},
        {"providers": {"openai": {"api_key": "one"}}},
        {"providers": {"deepgram": {"api_key": "two"}}},
        {"fallback": "none"},
    ]
    async with open_site(site.path.parent, env=site.env) as other:
        admins = [site.admin, other.admin]
        await asyncio.gather(
            *(admins[n % 2].update("x", change, front="http") for n, change in enumerate(changes))
        )
    await site.catalogue.refresh()
    project = site.catalogue.config.project("x")
    assert (project.name, project.daily_budget, project.tags) == ("New name", 3, ("dev",))
    assert set(project.providers) == {"openai", "deepgram"}
    assert project.fallback == Fallback(None, None, None)


async def test_a_change_leaves_all_else_and_none_takes_back(site: Site) -> None:
    made = await site.admin.create(WHOLE, front="http")
    changed = await site.admin.update("night-shift", {"daily_budget": "99.99"}, front="http")
    assert changed.daily_budget == Decimal("99.99")
    for name in ("name", "tags", "providers", "fallback", "pricing", "budget_action"):
        assert getattr(changed, name) == getattr(made, name)
    bare = await site.admin.update(
        "night-shift", {name: None for name in WHOLE if name != "project_id"}, front="http"
    )
    assert bare == Project("night-shift", source="managed")


async def test_only_the_named_providers_change_each_as_a_whole(site: Site) -> None:
    await site.admin.create(
        {
            "project_id": "x",
            "providers": {
                "openai": {"api_key": "a", "organization": "acme"},
                "deepgram": {"api_key": "b"},
                "cartesia": {"api_key": "c"},
            },
        },
        front="http",
    )
    changed = await site.admin.update(
        "x", {"providers": {"openai": {"api_key": "new"}, "deepgram": None}}, front="http"
    )
    assert set(changed.providers) == {"openai", "cartesia"}
    assert changed.providers["openai"].resolve("llm", {}) == {"api_key": "new"}
    assert changed.providers["cartesia"].resolve("tts", {}) == {"api_key": "c"}
    assert (await site.admin.update("x", {"providers": {}}, front="http")) == changed
    assert not (await site.admin.update("x", {"providers": None}, front="http")).providers


async def test_an_id_does_not_change(site: Site) -> None:
    await site.admin.create({"project_id": "x"}, front="http")
    with pytest.raises(InvalidQueryError, match="project_id: found a new id"):
        await site.admin.update("x", {"project_id": "y"}, front="http")


async def test_a_project_of_the_file_is_changed_in_the_file(site: Site) -> None:
    for refused in (
        site.admin.update("prod", {"name": "x"}, front="http"),
        site.admin.delete("prod", front="http"),
        site.admin.would_delete("prod"),
    ):
        with pytest.raises(NotManagedError) as error:
            await refused
        assert error.value.where == f"{site.path} line 4"
        assert error.value.where in str(error.value)


async def test_the_project_that_no_file_has_can_be_made(tmp_path: Path) -> None:
    async with open_site(tmp_path, "") as site:
        assert list(site.catalogue.config.projects) == ["default"]
        with pytest.raises(NotManagedError, match="create one with this id"):
            await site.admin.update("default", {"daily_budget": 1}, front="cli")
        made = await site.admin.create({"project_id": "default", "daily_budget": 1}, front="cli")
        assert site.catalogue.config.project("default") is made
        await site.admin.delete("default", front="cli")
        assert site.catalogue.config.project("default").source == "yaml"


async def test_what_is_not_there_cannot_be_changed_or_deleted(site: Site) -> None:
    for missing in (
        site.admin.update("nobody", {"name": "x"}, front="http"),
        site.admin.delete("nobody", front="http"),
        site.admin.would_delete("nobody"),
    ):
        with pytest.raises(UnknownProjectError) as error:
            await missing
        assert error.value.known == ("prod",)


async def test_what_would_go_is_said_before_and_after(site: Site) -> None:
    await site.admin.create(WHOLE, front="http")
    await site.ledger.write(
        [
            usage_row(project="night-shift", cost_nanos=1_500_000_000),
            usage_row(project="night-shift", cost_nanos=None),
            usage_row(project="night-shift", status="open", ended_at=None, cost_nanos=1),
            usage_row(project="prod", status="open", ended_at=None),
        ]
    )
    answer = await site.admin.would_delete("night-shift")
    assert answer == {
        "project_id": "night-shift",
        "name": "Night shift",
        "daily_budget": 12.5,
        "budget_action": "throttle",
        "provider_keys": {"ollama": ["base_url"], "openai": ["api_key"]},
        "requests": 3,
        "unpriced_requests": 1,
        "cost": 1.500000001,
        "live_requests": 1,
    }
    assert "night-shift" in site.catalogue.config.projects
    assert await site.admin.delete("night-shift", front="http") == answer
    assert "night-shift" not in site.catalogue.config.projects
    assert await site.ledger.has_project("night-shift")
    with pytest.raises(UnknownProjectError):
        await site.admin.delete("night-shift", front="http")


async def test_every_change_is_noted_with_what_it_changed(site: Site) -> None:
    await site.admin.create(
        {"project_id": "x", "daily_budget": 5, "providers": {"openai": {"api_key": "sk-1"}}},
        front="http",
        who="alice\udcff" + "!" * 300,
    )
    site.clock.now += 1
    await site.admin.update("x", {"daily_budget": 6, "tags": ["dev"]}, front="dashboard")
    await site.admin.update("x", {"providers": {"openai": {"api_key": "sk-2"}}}, front="mcp")
    await site.admin.update("x", {"daily_budget": 6, "name": "x"}, front="mcp")  # as it was
    await site.admin.delete("x", front="cli")
    await site.admin.create({"project_id": "y"}, front="cli")
    of_x = await site.admin.changes(project="x")
    assert [(c["action"], c["front"], c["who"], c["fields"]) for c in of_x] == [
        ("deleted", "cli", None, []),
        ("changed", "mcp", None, ["providers.openai"]),
        ("changed", "dashboard", None, ["daily_budget", "tags"]),
        ("created", "http", "alice?" + "!" * 194, ["daily_budget", "providers.openai"]),
    ]
    assert [change["at"] for change in of_x[-2:]] == [
        "2026-09-21T14:13:21.250Z",
        "2026-09-21T14:13:20.250Z",
    ]
    deleted, _, changed, created = of_x
    assert created["before"] is None
    assert deleted["after"] is None
    assert created["after"] == changed["before"]
    assert changed["after"] == {
        "name": "x",
        "description": "",
        "daily_budget": 6.0,
        "budget_action": "warn",
        "tags": ["dev"],
        "fallback": None,
        "pricing": None,
        "providers": {"openai": ["api_key"]},
    }
    assert [change["project_id"] for change in await site.admin.changes(limit=1)] == ["y"]
    assert [change["id"] for change in await site.admin.changes()] == [5, 4, 3, 2, 1]
    for limit in (0, 1001, "7"):
        with pytest.raises(InvalidQueryError, match="a whole number from 1 to 1000"):
            await site.admin.changes(limit=limit)  # type: ignore[arg-type]


async def test_a_refused_change_is_not_noted_and_changes_nothing(site: Site) -> None:
    await site.admin.create({"project_id": "x", "daily_budget": 5}, front="http")
    version = await site.ledger.projects_version()
    with pytest.raises(InvalidQueryError):
        await site.admin.update("x", {"name": "new", "daily_budget": -1}, front="http")
    await site.admin.update("x", {"daily_budget": 5.0}, front="http")
    assert await site.ledger.projects_version() == version
    assert len(await site.admin.changes()) == 1


async def test_a_ledger_that_is_only_read_is_not_changed(site: Site) -> None:
    await site.admin.create({"project_id": "x"}, front="http")
    config = load_config(site.path, env=site.env)
    async with make_ledger(config.database_url, read_only=True) as ledger:
        catalogue = ProjectCatalogue(config, ledger, env=site.env)
        assert await catalogue.refresh()
        assert "x" in catalogue.config.projects
        with pytest.raises(LedgerError, match="opened for reading only"):
            await ProjectAdmin(catalogue, ledger, env=site.env).update(
                "x", {"name": "y"}, front="cli"
            )
