"""Projects, and which of them is active in which context."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from decimal import Decimal

import pytest

from livekit_plugins_voicegateway.config import Config
from livekit_plugins_voicegateway.errors import NoProjectChosenError, UnknownProjectError
from livekit_plugins_voicegateway.projects import (
    Project,
    get_project,
    resolve_project,
    set_project,
    use_project,
)

KNOWN = {"prod", "staging", "dev"}


@pytest.fixture(autouse=True)
def own_context() -> Iterator[None]:
    """Leave the context of the test as it was found: with no project chosen."""
    from livekit_plugins_voicegateway import projects

    token = projects._chosen.set(None)
    yield
    projects._chosen.reset(token)


def config(*ids: str, default: str | None = None) -> Config:
    return Config(projects={id: Project(id) for id in ids}, default_project=default, env={})


@pytest.mark.parametrize(
    ("tags", "accent"),
    [
        (("production", "dev"), "green"),
        (("eu-PROD",), "green"),
        (("staging",), "yellow"),
        (("development",), "blue"),
        (("load-test",), "blue"),
        (("customer", "production"), "pink"),
        ((), "pink"),
    ],
)
def test_the_first_tag_chooses_the_accent(tags: tuple[str, ...], accent: str) -> None:
    assert Project("p", tags=tags).accent == accent


def test_a_project_is_called_by_its_id_when_it_has_no_name() -> None:
    assert Project("p").name == "p"
    assert Project("p", name="Production").name == "Production"


@pytest.mark.parametrize(
    ("dollars", "nanos"), [(None, None), ("0", 0), ("50.00", 50_000_000_000), ("0.000000001", 1)]
)
def test_a_budget_in_nano_dollars_is_exact(dollars: str | None, nanos: int | None) -> None:
    budget = None if dollars is None else Decimal(dollars)
    assert Project("p", daily_budget=budget).budget_nanos == nanos


class TestChoosing:
    def test_no_project_is_chosen_at_first(self) -> None:
        assert get_project() is None

    def test_a_choice_holds_until_the_next(self) -> None:
        set_project("prod", KNOWN)
        set_project("dev", KNOWN)
        assert get_project() == "dev"

    @pytest.mark.parametrize("wrong", ["prd", "", "PROD"])
    def test_a_name_is_checked_at_once(self, wrong: str) -> None:
        set_project("dev", KNOWN)
        with pytest.raises(UnknownProjectError, match="Known projects: dev, prod, staging"):
            set_project(wrong, KNOWN)
        with pytest.raises(UnknownProjectError), use_project(wrong, KNOWN):
            pytest.fail("the block must not be entered")
        assert get_project() == "dev"

    def test_what_is_no_text_is_no_project(self) -> None:
        with pytest.raises(TypeError, match="a project is named by its id, a str, not by None"):
            set_project(None, KNOWN)  # type: ignore[arg-type]

    def test_a_block_restores_the_previous_choice(self) -> None:
        set_project("prod", KNOWN)
        with use_project("staging", KNOWN):
            with use_project("dev", KNOWN):
                assert get_project() == "dev"
            assert get_project() == "staging"
        assert get_project() == "prod"

    def test_a_block_restores_that_nothing_was_chosen(self) -> None:
        with use_project("dev", KNOWN):
            pass
        assert get_project() is None

    def test_a_block_that_fails_restores_it_too(self) -> None:
        with pytest.raises(RuntimeError, match="boom"), use_project("dev", KNOWN):
            raise RuntimeError("boom")
        assert get_project() is None

    def test_a_block_may_be_left_in_another_context(self) -> None:
        block = use_project("dev", KNOWN)
        contextvars.copy_context().run(block.__enter__)
        block.__exit__(None, None, None)
        assert get_project() is None

    async def test_tasks_beside_each_other_never_see_each_others_choice(self) -> None:
        set_project("dev", KNOWN)
        all_chose = asyncio.Barrier(3)

        async def call(project: str | None) -> str | None:
            if project is not None:
                set_project(project, KNOWN)
            await all_chose.wait()
            return get_project()

        seen = await asyncio.gather(call("prod"), call("staging"), call(None))
        assert seen == ["prod", "staging", "dev"]
        assert get_project() == "dev"

    async def test_a_task_starts_with_the_choice_of_who_starts_it(self) -> None:
        async def child() -> str | None:
            return get_project()

        with use_project("prod", KNOWN):
            task = asyncio.create_task(child())
        assert await task == "prod"


class TestResolving:
    def test_the_order_is_argument_context_variable_default_project_default(self) -> None:
        env = {"VOICEGW_PROJECT": "c"}
        everything = config("a", "b", "c", "d", "default", default="d")
        with use_project("b", everything.projects):
            assert resolve_project("a", everything, env) == "a"
            assert resolve_project(None, everything, env) == "b"
        assert resolve_project(None, everything, env) == "c"
        assert resolve_project(None, everything, {"VOICEGW_PROJECT": ""}) == "d"
        assert resolve_project(None, everything, {}) == "d"
        assert resolve_project(None, config("a", "default"), {}) == "default"

    def test_without_a_configuration_it_is_default(self) -> None:
        assert resolve_project(None, Config(env={}), {}) == "default"

    @pytest.mark.parametrize(
        ("argument", "env", "default"),
        [("x", {}, None), (None, {"VOICEGW_PROJECT": "x"}, "a"), (None, {}, "x")],
    )
    def test_a_name_that_is_no_project_is_an_error_and_not_passed_over(
        self, argument: str | None, env: dict[str, str], default: str | None
    ) -> None:
        with pytest.raises(UnknownProjectError, match="there is no project 'x'"):
            resolve_project(argument, config("a", "default", default=default), env)

    def test_a_project_that_is_gone_is_an_error(self) -> None:
        with use_project("old", {"old"}), pytest.raises(UnknownProjectError, match="'old'"):
            resolve_project(None, config("a"), {})

    def test_where_nothing_is_chosen_the_ways_to_choose_are_named(self) -> None:
        with pytest.raises(NoProjectChosenError) as caught:
            resolve_project(None, config("prod", "dev"), {})
        for way in ("project=", "set_project()", "VOICEGW_PROJECT", "default_project", "dev, prod"):
            assert way in str(caught.value)
        assert isinstance(caught.value, UnknownProjectError)
