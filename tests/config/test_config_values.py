"""What a right configuration means."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from livekit_plugins_voicegateway.config import Config, Fallback, load_config
from livekit_plugins_voicegateway.errors import UnknownProjectError, UnsetVariableError

Load = Callable[..., Config]

EXAMPLE = Path(__file__).parents[2] / "voicegw.yaml"


def test_the_example_has_three_projects_with_the_three_actions() -> None:
    config = load_config(EXAMPLE, env={})
    assert {p.id: (p.name, p.budget_action, p.accent) for p in config.projects.values()} == {
        "prod": ("Production", "throttle", "green"),
        "staging": ("Staging", "warn", "yellow"),
        "dev": ("Development", "block", "blue"),
    }
    assert config.default_project == "prod"
    assert config.projects["prod"].daily_budget == Decimal("50.00")
    assert config.database_url == f"sqlite:///{EXAMPLE.parent}/voicegw.db"


def test_a_project_is_what_the_file_says(load: Load) -> None:
    config = load("""
        projects:
          prod:
            name: Production
            description: Customer-facing voice agents
            daily_budget: 50.25
            budget_action: block
            tags: [production, "2026"]
    """)
    project = config.project("prod")
    assert (project.id, project.name) == ("prod", "Production")
    assert project.description == "Customer-facing voice agents"
    assert project.daily_budget == Decimal("50.25")
    assert project.budget_nanos == 50_250_000_000
    assert project.budget_action == "block"
    assert project.tags == ("production", "2026")
    assert (project.source, project.line) == ("yaml", 3)


def test_a_project_without_keys_warns_and_has_no_budget(load: Load) -> None:
    project = load("projects:\n  dev:\n").project("dev")
    assert (project.name, project.daily_budget, project.budget_nanos) == ("dev", None, None)
    assert (project.budget_action, project.tags) == ("warn", ())


def test_a_project_that_is_not_there_is_named_with_those_that_are(load: Load) -> None:
    config = load("projects: {prod: {}, staging: {}}")
    with pytest.raises(UnknownProjectError, match="did you mean 'prod'") as caught:
        config.project("prd")
    assert caught.value.known == ("prod", "staging")


@pytest.mark.parametrize(
    ("written", "budget"),
    [
        ("0", "0"),
        ("-0.0", "0"),
        ("5", "5"),
        ("0.1", "0.1"),
        ("1e2", "100"),
        (".5", "0.5"),
        ("1_000", "1000"),
        ("0.000000001", "0.000000001"),
        ("1000000000", "1000000000"),
    ],
)
def test_a_budget_is_exactly_the_number_that_is_written(
    load: Load, written: str, budget: str
) -> None:
    project = load(f"projects: {{p: {{daily_budget: {written}}}}}").project("p")
    assert project.daily_budget == Decimal(budget)
    assert project.budget_nanos == int(Decimal(budget) * 10**9)
    assert not project.daily_budget.is_signed()


class TestFallback:
    def test_what_is_not_named_keeps_its_default(self, load: Load) -> None:
        config = load("fallback: {stt: local/whisper-base}")
        assert config.fallback == Fallback(
            "local/whisper-base", "ollama/qwen2.5:3b", "local/kokoro"
        )

    def test_a_project_goes_over_the_top_level(self, load: Load) -> None:
        config = load("""
            fallback: {stt: local/whisper-base, tts: none}
            projects:
              prod: {fallback: {llm: "ollama/llama3.2:3b", stt: none}}
              dev: {}
        """)
        assert config.project("prod").fallback == Fallback(None, "ollama/llama3.2:3b", None)
        assert config.project("dev").fallback == config.fallback

    def test_none_never_swaps(self, load: Load) -> None:
        config = load("""
            projects:
              prod: {fallback: none}
              dev: {fallback: {llm: none}}
        """)
        assert config.project("prod").fallback == Fallback(None, None, None)
        assert config.project("dev").fallback.model("llm") is None
        assert config.project("dev").fallback.model("stt") == "local/whisper-large-v3"
        assert config.project("dev").fallback.model("tts") == "local/kokoro"

    def test_none_at_the_top_holds_for_projects_that_name_no_model(self, load: Load) -> None:
        config = load(
            "{fallback: none, projects: {dev: {fallback: {tts: 'local/kokoro:af_bella'}}}}"
        )
        assert config.project("dev").fallback == Fallback(None, None, "local/kokoro:af_bella")

    def test_it_holds_for_the_implied_project_too(self, load: Load) -> None:
        assert load("fallback: none").project("default").fallback == Fallback(None, None, None)

    @pytest.mark.parametrize("model", ["ollama/qwen2.5:3b", "openrouter/meta-llama/llama-3.3-70b"])
    def test_any_model_string_may_take_over(self, load: Load, model: str) -> None:
        assert load(f"fallback: {{llm: '{model}'}}").fallback.llm == model


class TestPricing:
    def test_rates_and_days_are_exact(self, load: Load) -> None:
        config = load("""
            pricing:
              openai/gpt-4.1-mini: {input: 0.35, cached_input: 0.09, output: 1.40, per: 1000000}
              cartesia/sonic-3:
                - {characters: 45, per: 1000000}
                - {characters: 40.1, per: 1000000, from: 2027-01-01}
            projects:
              prod:
                pricing:
                  deepgram/nova-3:multi: {audio: 0.0050, per: minute}
                  acme/in-house: {free: true}
        """)
        (mini,) = config.pricing["openai/gpt-4.1-mini"]
        assert (mini.input, mini.cached_input, mini.output) == (
            Decimal("0.35"),
            Decimal("0.09"),
            Decimal("1.40"),
        )
        first, second = config.pricing["cartesia/sonic-3"]
        assert second.characters == Decimal("40.1")
        assert second.valid_from == dt.date(2027, 1, 1)
        assert first.valid_until == dt.date(2026, 12, 31)
        own = config.project("prod").pricing
        assert own["deepgram/nova-3:multi"][0].per == "minute"
        assert own["acme/in-house"][0].basis == "free"

    def test_a_rate_may_come_from_a_variable(self, load: Load) -> None:
        config = load(
            "pricing: {acme/tts: {characters: '${RATE}', per: 1000}}", env={"RATE": "0.015"}
        )
        assert config.pricing["acme/tts"][0].characters == Decimal("0.015")


def test_cost_tracking_and_server_are_what_the_file_says(load: Load) -> None:
    config = load("""
        cost_tracking:
          {enabled: false, unpriced: block, on_ledger_failure: allow, retention_days: 30}
        server: {host: 0.0.0.0, port: 9000, token: "a b c"}
    """)
    assert not config.cost_tracking.enabled
    assert config.cost_tracking.unpriced == "block"
    assert config.cost_tracking.on_ledger_failure == "allow"
    assert config.cost_tracking.retention_days == 30
    assert (config.server.host, config.server.port) == ("0.0.0.0", 9000)
    assert config.server.token == "a b c"


def test_the_token_is_the_variables_when_the_file_has_none(load: Load) -> None:
    assert load("server: {port: 1}", env={"VOICEGW_TOKEN": "t0k"}).server.token == "t0k"
    assert load("server: {token: ''}", env={"VOICEGW_TOKEN": "t0k"}).server.token is None


def test_alerts_go_where_the_file_says(load: Load) -> None:
    endpoint = load(
        "alerts: {webhook: 'https://me:${PASSWORD}@hooks.example.com/x', secret: s3cret}",
        env={"PASSWORD": "p4ss"},
    ).alerts.endpoint
    assert endpoint is not None
    assert (endpoint.url, endpoint.secret) == ("https://me:p4ss@hooks.example.com/x", "s3cret")


def test_the_secret_of_alerts_is_the_variables_when_the_file_has_none(load: Load) -> None:
    text, env = "alerts: {webhook: 'http://host'}", {"VOICEGW_WEBHOOK_SECRET": "s3cret"}
    endpoint, unsigned = load(text, env=env).alerts.endpoint, load(text).alerts.endpoint
    assert endpoint is not None
    assert unsigned is not None
    assert (endpoint.secret, unsigned.secret) == ("s3cret", "")


@pytest.mark.parametrize("text", ["", "alerts: {}", "alerts: {webhook: ''}"])
def test_nobody_is_told_without_a_webhook(load: Load, text: str) -> None:
    assert load(text).alerts.endpoint is None


def test_neither_address_nor_secret_of_alerts_is_in_a_repr(load: Load) -> None:
    config = load("alerts: {webhook: 'http://host/T0KEN', secret: s3cret}")
    for shown in (repr(config), repr(config.alerts), repr(config.alerts.endpoint)):
        assert "T0KEN" not in shown
        assert "s3cret" not in shown


def test_a_variable_of_alerts_is_looked_at_when_it_is_needed(load: Load) -> None:
    config = load("alerts: {webhook: 'https://${HOOK}'}")
    with pytest.raises(UnsetVariableError, match=r"alerts\.webhook needs .* HOOK"):
        _ = config.alerts.endpoint


@pytest.mark.parametrize("empty", ["", " ~", " {}", "   # all of it commented out"])
@pytest.mark.parametrize("key", ["projects", "providers", "pricing", "database", "server"])
def test_a_key_with_nothing_after_it_is_an_empty_mapping(load: Load, key: str, empty: str) -> None:
    config = load(f"{key}:{empty}\n")
    assert list(config.projects) == ["default"]
    assert config.server.port == 8080


def test_an_alias_shares_a_block_between_projects(load: Load) -> None:
    config = load("""
        projects:
          prod:
            providers: &keys
              openai: {api_key: one-key}
          staging:
            providers: *keys
    """)
    for project_id in ("prod", "staging"):
        options = config.project(project_id).providers["openai"]
        assert options.resolve("llm", {}) == {"api_key": "one-key"}
        assert options.path == f"projects.{project_id}.providers.openai"


def test_a_byte_order_mark_and_other_alphabets_are_read(load: Load) -> None:
    config = load("\ufeffprojects: {prod: {name: Küche 厨房}}".encode())
    assert config.project("prod").name == "Küche 厨房"


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML has no C parser here")
def test_the_python_parser_reads_the_same_as_the_c_parser(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_c = load_config(EXAMPLE, env={})
    monkeypatch.setattr(
        "livekit_plugins_voicegateway.config_file.yaml_reader._LOADER", yaml.SafeLoader
    )
    assert load_config(EXAMPLE, env={}) == with_c
