"""``${VAR}`` and ``${VAR:-default}``: where they may stand, and when they must be set."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import Config
from livekit_plugins_voicegateway.config_file.variables import Template, is_malformed
from livekit_plugins_voicegateway.errors import ConfigError, UnsetVariableError

Load = Callable[..., Config]


def fill(text: str, **env: str) -> str:
    return Template(text, "key", "voicegw.yaml", 1).fill(env)


def test_a_variable_is_filled_anywhere_in_a_text() -> None:
    assert fill("${A}-x-${B_2}", A="1", B_2="2") == "1-x-2"


@pytest.mark.parametrize(("env", "filled"), [({}, "d:-e"), ({"A": ""}, "d:-e"), ({"A": "x"}, "x")])
def test_a_default_stands_in_for_what_is_unset_or_empty(env: dict[str, str], filled: str) -> None:
    assert fill("${A:-d:-e}", **env) == filled


def test_a_default_may_be_empty() -> None:
    assert fill("<${A:-}>") == "<>"


def test_a_variable_that_is_set_to_nothing_is_set() -> None:
    assert fill("<${A}>", A="") == "<>"


@pytest.mark.parametrize("text", ["$", "$$", "$A", "a$", "$ {A}", "{A}", "$(A)", "100$ a day"])
def test_a_lone_dollar_is_only_a_dollar(text: str) -> None:
    assert not is_malformed(text)
    assert fill(text, A="x") == text


def test_a_dollar_before_a_variable_stays() -> None:
    assert fill("$${A}$", A="x") == "$x$"


def test_what_a_variable_holds_is_not_filled_again() -> None:
    assert fill("${A}", A="${B}", B="x") == "${B}"


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${1A}", "${A-x}", "${A B}", "${A:-${B}}"])
def test_what_looks_like_a_variable_and_is_none_is_found(text: str) -> None:
    assert is_malformed(text)


def test_an_unset_variable_is_named_with_its_place(load: Load, tmp_path: Path) -> None:
    config = load("""
        projects:
          prod:
            providers:
              openai:
                api_key: "${PROD_OPENAI_KEY}"
    """)
    with pytest.raises(UnsetVariableError) as caught:
        config.project("prod").providers["openai"].resolve("llm", {})
    error = caught.value
    assert error.variable == "PROD_OPENAI_KEY"
    assert error.key_path == "projects.prod.providers.openai.api_key"
    assert error.source == str(tmp_path / "voicegw.yaml")
    assert error.line == 6


def test_database_and_token_need_their_variables_only_when_they_are_used(load: Load) -> None:
    config = load("""
        database: {url: "postgresql://vg:${PW}@db/ledger"}
        server: {token: "${TOKEN}"}
    """)
    with pytest.raises(UnsetVariableError, match=r"database\.url needs .* PW.*line 2"):
        _ = config.database_url
    with pytest.raises(UnsetVariableError, match=r"server\.token needs .* TOKEN.*line 3"):
        _ = config.server.token


def test_database_and_token_follow_the_environment(load: Load) -> None:
    env = {"OTHER": "x"}
    config = load("{database: {url: 'sqlite:////${DIR}/x.db'}, server: {token: '${T}'}}", env)
    env["DIR"] = "data"
    env["T"] = "t0k"
    assert config.database_url == "sqlite:////data/x.db"
    assert config.server.token == "t0k"


def test_a_database_that_turns_out_wrong_later_is_an_error_then(load: Load) -> None:
    env = {"OTHER": "x"}
    config = load("database: {url: '${URL}'}", env)
    env["URL"] = "mysql://x:pass-word@y/z"
    with pytest.raises(ConfigError, match="begins with mysql://") as caught:
        _ = config.database_url
    assert "pass-word" not in str(caught.value)


def test_settings_may_come_from_variables_numbers_and_booleans_too(load: Load) -> None:
    config = load(
        """
        default_project: ${WHICH}
        timezone: ${ZONE:-Europe/Berlin}
        projects:
          dev:
            name: The ${NAME} project
            daily_budget: ${BUDGET}
            budget_action: "${ACTION:-block}"
            tags: ["${NAME}"]
            fallback: {llm: "${LLM:-ollama/qwen2.5:3b}", tts: "${TTS:-none}"}
        fallback: "${FALLBACK:-none}"
        cost_tracking: {enabled: "${METER}"}
        server: {port: '${PORT:-9000}'}
        """,
        {"WHICH": "dev", "NAME": "test", "BUDGET": "2.50", "METER": "false"},
    )
    project = config.project("dev")
    assert config.default_project == "dev"
    assert config.timezone.key == "Europe/Berlin"
    assert project.name == "The test project"
    assert project.daily_budget == Decimal("2.50")
    assert project.budget_action == "block"
    assert project.tags == ("test",)
    assert (project.fallback.stt, project.fallback.llm, project.fallback.tts) == (
        None,
        "ollama/qwen2.5:3b",
        None,
    )
    assert not config.cost_tracking.enabled
    assert config.server.port == 9000


@pytest.mark.parametrize(
    "content",
    [
        "timezone: ${X}",
        "projects: {p: {daily_budget: '${X}'}}",
        "projects: {p: {description: 'a ${X} b'}}",
        "server: {port: '${X}'}",
        "cost_tracking: {enabled: '${X}'}",
        "fallback: {llm: '${X}'}",
        "fallback: '${X}'",
        "pricing: {a/b: {audio: '${X}', per: minute}}",
    ],
)
def test_a_setting_whose_variable_is_unset_is_a_problem_at_once(load: Load, content: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(content)
    (problem,) = caught.value.problems
    assert problem.found.endswith("and X is not set")
    assert problem.expected == "X in the environment, or a default: ${X:-…}"


def test_the_name_of_a_template_shows_its_variables_and_no_more() -> None:
    template = Template("Bearer literal-secret ${A}${B:-default-secret}", "server.token", "f", 1)
    assert repr(template) == "<Template server.token A B>"


def test_bytes_that_are_no_text_are_refused_where_they_stand(load: Load) -> None:
    # as Python reads the environment: b"\xda" becomes a character that no answer could have
    content = """
        timezone: "${A}"
        projects: {p: {name: "${A}"}}
        database: {url: "${A}"}
        alerts: {secret: "${A}"}
    """
    with pytest.raises(ConfigError) as refused:
        load(content, {"A": "\udcda"})
    places = [(problem.key_path, problem.line) for problem in refused.value.problems]
    assert places == [
        ("timezone", 2),
        ("projects.p.name", 3),
        ("database.url", 4),
        ("alerts.secret", 5),
    ]
    assert "not UTF-8" in str(refused.value)
    config = load('server: {token: "${A}"}', {"A": "\udcda"})
    with pytest.raises(ConfigError, match=r"server\.token"):
        _ = config.server.token
