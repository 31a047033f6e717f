"""What is wrong with a file is said with line, key, what was found, and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.errors import ConfigError, ConfigProblem

Load = Callable[..., Config]


def problems(load: Load, content: str | bytes, **env: str) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(content, env)
    return caught.value.problems


def only_problem(load: Load, content: str | bytes, **env: str) -> ConfigProblem:
    (problem,) = problems(load, content, **env)
    return problem


P = "projects: {p: {%s}}"

WRONG = [
    # content, key path, in what was found, in what would be right
    ("- a\n- b", "", "a list", "a mapping with default_project, timezone"),
    ("just text", "", "the text 'just text'", "a mapping with default_project"),
    ("timezon: UTC", "timezon", "an unknown key", "did you mean 'timezone'?"),
    ("zzz: 1", "zzz", "an unknown key", "one of default_project, timezone, database"),
    ("timezone: Mars/Olympus", "timezone", "'Mars/Olympus'", "such as Europe/Berlin"),
    ("timezone: utc", "timezone", "'utc'", "did you mean 'UTC'?"),
    ("timezone: berlin", "timezone", "'berlin'", "did you mean 'Europe/Berlin'?"),
    ("timezone: ../../etc/passwd", "timezone", "'../../etc/passwd'", "IANA"),
    ("timezone: America", "timezone", "'America'", "IANA"),
    ("timezone: ''", "timezone", "''", "IANA"),
    ("timezone: 2", "timezone", "the number 2", "IANA"),
    ("default_project: x\nprojects: {ab: {}}", "default_project", "'x'", "a project: ab"),
    ("default_project: prof\nprojects: {prod: {}}", "default_project", "'prof'", "mean 'prod'"),
    ("default_project: prod", "default_project", "'prod'", "a project: default"),
    ("default_project: [prod]", "default_project", "a list", "the id of a project"),
    ("database: voicegw.db", "database", "the text 'voicegw.db'", "a mapping with url"),
    ("providers: {local: {beam_size: 3}}", "providers.local", "all local", "'whisper' or of 'kok"),
    ("database: {uri: x}", "database.uri", "an unknown key", "did you mean 'url'?"),
    ("database: {url: 5}", "database.url", "a number", "sqlite:///voicegw.db"),
    ("projects: [prod]", "projects", "a list", "a mapping of projects"),
    ("projects: {p: [x]}", "projects.p", "a list", "a mapping with name, description"),
    ("projects: {'a b': {}}", "projects.a b", "the id 'a b'", "letters, digits"),
    ("projects: {-p: {}}", "projects.-p", "the id '-p'", "letters, digits"),
    (P % "bugdet: 1", "projects.p.bugdet", "an unknown key", "one of name, description"),
    (P % "daily_bugdet: 1", "projects.p.daily_bugdet", "unknown", "mean 'daily_budget'?"),
    (P % "name: 5", "projects.p.name", "the number 5", "text, in quotes"),
    (P % "name: no", "projects.p.name", "the boolean no", "text, in quotes"),
    (P % "name: [a]", "projects.p.name", "a list", "text"),
    (P % "name: ", "projects.p.name", "nothing", "text"),
    (P % "tags: production", "projects.p.tags", "'production'", "a list of texts"),
    (P % "tags: [a, 5]", "projects.p.tags[1]", "the number 5", "text, in quotes"),
    (P % "tags: [a, {b: c}]", "projects.p.tags[1]", "a mapping", "text"),
    (P % "tags: [' ']", "projects.p.tags[0]", "' '", "not empty"),
    (P % "budget_action: throtle", "projects.p.budget_action", "'throtle'", "mean 'throttle'?"),
    (P % "budget_action: Block", "projects.p.budget_action", "'Block'", "warn, throttle, block"),
    (P % "budget_action: off", "projects.p.budget_action", "boolean off", "one of warn"),
    (P % "budget_action: [warn]", "projects.p.budget_action", "a list", "one of warn"),
    (P % "daily_budget: -1", "projects.p.daily_budget", "the number -1", "0 to 1000000000"),
    (P % "daily_budget: 1e10", "projects.p.daily_budget", "number 1e10", "0 to 1000000000"),
    (P % "daily_budget: 1e999999999", "projects.p.daily_budget", "1e9999", "such as 50.00"),
    (P % "daily_budget: .nan", "projects.p.daily_budget", "number .nan", "such as 50.00"),
    (P % "daily_budget: .inf", "projects.p.daily_budget", "number .inf", "such as 50.00"),
    (P % "daily_budget: nan", "projects.p.daily_budget", "text 'nan'", "such as 50.00"),
    (P % "daily_budget: inf", "projects.p.daily_budget", "text 'inf'", "such as 50.00"),
    (P % "daily_budget: 010", "projects.p.daily_budget", "text '010'", "such as 50.00"),
    (P % "daily_budget: 50 USD", "projects.p.daily_budget", "'50 USD'", "such as 50.00"),
    (P % "daily_budget: $50", "projects.p.daily_budget", "'$50'", "such as 50.00"),
    (P % "daily_budget: '50'", "projects.p.daily_budget", "text '50'", "without quotes"),
    (P % "daily_budget: true", "projects.p.daily_budget", "boolean true", "such as 50.00"),
    (P % "daily_budget: ", "projects.p.daily_budget", "nothing", "leave the key out"),
    (P % "daily_budget: [5]", "projects.p.daily_budget", "a list", "such as 50.00"),
    (P % "daily_budget: 0.0000000001", "projects.p.daily_budget", "0.0000000001", "nine"),
    (P % "fallback: maybe", "projects.p.fallback", "'maybe'", "or none to never swap"),
    (P % "fallback: ", "projects.p.fallback", "nothing", "or none to never swap"),
    (P % "fallback: {sst: none}", "projects.p.fallback.sst", "unknown", "mean 'stt'"),
    ("fallback: {llm: gpt-4}", "fallback.llm", "'gpt-4'", "such as ollama/qwen2.5:3b"),
    ("fallback: {llm: /x}", "fallback.llm", "'/x'", "such as ollama/qwen2.5:3b"),
    ("fallback: {llm: openai/}", "fallback.llm", "'openai/'", "such as ollama/qwen2.5:3b"),
    ("fallback: {llm: 'a/b c'}", "fallback.llm", "'a/b c'", "such as ollama/qwen2.5:3b"),
    ("fallback: {stt: 'deepgram/nova-3:'}", "fallback.stt", "nova-3:", "local/whisper-base"),
    ("fallback: {stt: local/kokoro}", "fallback.stt", "local/kokoro", "local/whisper-base"),
    ("fallback: {tts: local/whisper-base}", "fallback.tts", "whisper", "local/kokoro"),
    ("fallback: {llm: local/qwen}", "fallback.llm", "local/qwen", "ollama/qwen2.5:3b"),
    ("fallback: {tts: ollama/x}", "fallback.tts", "ollama/x", "local/kokoro"),
    ("fallback: {tts: ~}", "fallback.tts", "nothing", "or none to never swap"),
    ("providers: [openai]", "providers", "a list", "{openai: {api_key: …}}"),
    ("providers: {openai: x}", "providers.openai", "a text", "a mapping of options"),
    ("providers: {'a b': {}}", "providers", "names no provider", "such as openai"),
    ("providers: {a: {stt: x}}", "providers.a.stt", "a text", "a mapping of options"),
    ("providers: {a: {api_key: 5}}", "providers.a.api_key", "a number", "in quotes"),
    ("providers: {a: {api_key: }}", "providers.a.api_key", "nothing", "in quotes"),
    ("providers: {a: {api_key: ''}}", "providers.a.api_key", "an empty text", "no such key"),
    ("providers: {a: {base-url: x}}", "providers.a", "names no option", "base_url"),
    ("providers: {a: {language: no}}", "providers.a.language", "no,", '"no" in quotes'),
    ("providers: {a: {speed: .inf}}", "providers.a.speed", "a number", "finite"),
    ("providers: {a: {x: [{y: '${'}]}}", "providers.a.x[0].y", "${", "${NAME}"),
    ("pricing: [x]", "pricing", "a list", "a mapping of prices"),
    ("pricing: {a/b: 5}", "pricing.a/b", "5", "a price such as"),
    ("pricing: {a/b: {}}", "pricing.a/b", "no rate", "audio, connection"),
    ("pricing: {ab: {free: true}}", "pricing.ab", "'ab'", "a model such as"),
    ("pricing: {a/b: {audio: x, per: hour}}", "pricing.a/b.audio", "'x'", "dollars"),
    ("pricing: {a/b: {audio: -1, per: hour}}", "pricing.a/b.audio", "-1", "dollars"),
    ("pricing: {a/b: {audio: .nan, per: hour}}", "pricing.a/b.audio", ".nan", "dollars"),
    ("pricing: {a/b: {audio: 1e99999999999999999999, per: hour}}", "pricing.a/b.audio", "1e9", ""),
    ("pricing: {a/b: {audio: 1, per: day}}", "pricing.a/b.per", "'day'", "minute"),
    ("pricing: {a/b: {audio: 1, par: hour, per: hour}}", "pricing.a/b.par", "", "mean 'per'"),
    ("pricing: {a/b: [{free: true}, 5]}", "pricing.a/b[1]", "5", "a price such as"),
    (
        "pricing: {a/b: {free: true, from: 2027-13-01}}",
        "pricing.a/b.from",
        "2027-13-01",
        "YYYY-MM-DD",
    ),
    (
        P % "pricing: {a/b: [{free: true}, {free: true, until: x}]}",
        "projects.p.pricing.a/b[1].until",
        "'x'",
        "a day",
    ),
    ("cost_tracking: yes", "cost_tracking", "the boolean yes", "a mapping with enabled"),
    ("cost_tracking: {enabled: 1}", "cost_tracking.enabled", "number 1", "true or false"),
    ("cost_tracking: {enabled: 'true'}", "cost_tracking.enabled", "'true'", "true or false"),
    ("cost_tracking: {unpriced: warn}", "cost_tracking.unpriced", "'warn'", "allow, block"),
    (
        "cost_tracking: {on_ledger_failure: warn}",
        "cost_tracking.on_ledger_failure",
        "'warn'",
        "allow, throttle, block",
    ),
    ("cost_tracking: {retention_days: 0}", "cost_tracking.retention_days", "0", "1 to 36500"),
    ("cost_tracking: {retention_days: 1.5}", "cost_tracking.retention_days", "1.5", "whole"),
    ("alerts: https://host/x", "alerts", "a text", "a mapping with webhook"),
    ("alerts: {webhok: https://host/x}", "alerts.webhok", "", "mean 'webhook'"),
    ("alerts: {webhook: 5}", "alerts.webhook", "a number", "a URL such as https://"),
    ("alerts: {webhook: host/x}", "alerts.webhook", "no URL", "https://"),
    ("alerts: {webhook: 'ftp://host/x'}", "alerts.webhook", "begins with ftp://", "https://"),
    ("alerts: {webhook: 'http:///x'}", "alerts.webhook", "without a host", "https://"),
    ("alerts: {secret: 12345}", "alerts.secret", "a number", "in quotes"),
    ("alerts: {secret: whsec_1}", "alerts.secret", "no base64", "whsec_ and base64"),
    ("server: {port: 0}", "server.port", "the number 0", "1 to 65535"),
    ("server: {port: 65536}", "server.port", "the number 65536", "1 to 65535"),
    ("server: {port: 1e30}", "server.port", "the number 1e30", "1 to 65535"),
    ("server: {port: 80:80}", "server.port", "the text '80:80'", "1 to 65535"),
    ("server: {port: http}", "server.port", "the text 'http'", "1 to 65535"),
    ("server: {host: ''}", "server.host", "''", "127.0.0.1"),
    ("server: {host: 'a b'}", "server.host", "'a b'", "127.0.0.1"),
    ("server: {token: 12345}", "server.token", "a number", "in quotes"),
    ("server: {token: }", "server.token", "nothing", "for none"),
]


@pytest.mark.parametrize(("content", "key_path", "found", "expected"), WRONG)
def test_a_wrong_value_is_reported_where_it_stands(
    load: Load, content: str, key_path: str, found: str, expected: str
) -> None:
    problem = only_problem(load, f"\n\n{content}\n")
    assert problem.key_path == key_path
    assert found in problem.found
    assert expected in problem.expected
    assert problem.line == 3


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(load: Load) -> None:
    found = problems(
        load,
        """\
        timezone: Mars
        server:
          port: x
        projects:
          prod:
            daily_budget: -5
            tags:
              - fine
              - 7
            nam: x
          prod: {}
        pricing:
          a/b:
            audio: 1
            per: day
        """,
    )
    assert [(problem.line, problem.key_path) for problem in found] == [
        (1, "timezone"),
        (3, "server.port"),
        (6, "projects.prod.daily_budget"),
        (9, "projects.prod.tags[1]"),
        (10, "projects.prod.nam"),
        (11, "projects.prod"),
        (15, "pricing.a/b.per"),
    ]


def test_the_message_names_the_file_and_every_problem(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("timezone: 5\nserver: {port: 0}\n")
    assert str(caught.value) == (
        f"{tmp_path}/voicegw.yaml has 2 problems:\n"
        "  line 1: timezone: found the number 5; expected an IANA time zone such as Europe/Berlin\n"
        "  line 2: server.port: found the number 0; expected a whole number from 1 to 65535"
    )


class TestYaml:
    @pytest.mark.parametrize(
        ("content", "key_path", "line"),
        [
            ("timezone: UTC\ntimezone: UTC", "timezone", 2),
            ("projects:\n  p: {}\n  q: {}\n  p: {}", "projects.p", 4),
            ("projects:\n  p:\n    name: a\n    name: b", "projects.p.name", 4),
            ("providers: {a: {x: {y: 1,\n y: 2}}}", "providers.a.x.y", 2),
            ("providers: {a: {x: [{y: 1},\n {z: 2, 'z': 2}]}}", "providers.a.x[1].z", 2),
        ],
    )
    def test_a_key_that_stands_twice_is_an_error(
        self, load: Load, content: str, key_path: str, line: int
    ) -> None:
        problem = only_problem(load, content)
        assert (problem.key_path, problem.line) == (key_path, line)
        assert problem.found == "this key a second time"

    @pytest.mark.parametrize(
        ("content", "line", "found"),
        [
            (b"projects:\n  p: [a, b\n", 3, "a syntax error"),
            (b"projects:\n  p: {a: b: c}\n", 2, "a syntax error"),
            (b"a: 'x\nb: 2", 2, "a syntax error"),
            (b"providers:\n  a: {api_key: @x}", 2, "a syntax error"),
            (b"projects:\n\tp: {}\n", 2, "a tab in the indentation"),
            (b"projects:\n  p:\n  \tname: x\n", 3, "a tab in the indentation"),
            (b"timezone: UTC\n# caf\xe9\n", 2, "bytes that are not UTF-8"),
            ("timezone: UTC\n".encode("utf-16"), 1, "bytes that are not UTF-8"),
            (b"timezone: UTC\nserver: \x07\n", 2, "a control character"),
            (b"timezone: UTC\n---\ntimezone: UTC\n", 2, "a second document"),
            (b"timezone: UTC\nserver: *nowhere\n", 2, "an alias"),
            (b"server: &s\n  x: *s\n", 2, "an alias"),
            (b"timezone: UTC\nserver:\n  ? [a, b]\n  : c\n", 3, "as a key"),
            (b"timezone: !!str UTC\n", 1, "a YAML tag"),
            (b"timezone: !secret UTC\n", 1, "a YAML tag"),
            (b"server:\n  <<: {port: 5}\n", 2, "the merge key <<"),
        ],
    )
    def test_what_is_no_plain_yaml_is_refused_with_its_line(
        self, load: Load, content: bytes, line: int, found: str
    ) -> None:
        problem = only_problem(load, content)
        assert problem.line == line
        assert found in problem.found

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("server: {port: ${PORT}}", "${…} in quotes"),
            ("server: {port: 5", "valid YAML (while parsing a flow mapping that begins on line 1)"),
            ("database: url: x", "a text with a colon in it needs quotes"),
            ("providers: {a: {b: @x}}", "that begins with @, ` or % in quotes"),
        ],
    )
    def test_a_usual_slip_gets_a_hint(self, load: Load, content: str, expected: str) -> None:
        assert expected in only_problem(load, content).expected

    def test_nesting_without_end_is_refused(self, load: Load) -> None:
        assert "nesting" in only_problem(load, b"[" * 1_000_000).found
        assert "nesting" in only_problem(load, b"{a: " * 200_000).found

    def test_aliases_that_multiply_are_refused(self, load: Load) -> None:
        lines = ["providers:", "  a: {l0: &l0 [x, x, x, x, x, x, x, x, x, x],"]
        for level in range(1, 10):
            aliases = ", ".join([f"*l{level - 1}"] * 10)
            lines.append(f"    l{level}: &l{level} [{aliases}],")
        assert "more than 50000 values" in only_problem(load, "\n".join([*lines, "  }"])).found

    def test_aliases_that_nest_without_end_are_refused(self, load: Load) -> None:
        lines = ["providers:", "  a: {l0: &l0 [x],"]
        lines += [f"    l{level}: &l{level} [*l{level - 1}]," for level in range(1, 200)]
        assert "aliases without end" in only_problem(load, "\n".join([*lines, "  }"])).found

    def test_a_file_with_very_many_problems_is_answered_soon_and_briefly(self, load: Load) -> None:
        content = "\n".join(f"tymezone{number}: x" for number in range(20_000))
        found = problems(load, content)
        assert len(found) == 101
        assert found[-1].found == "19900 more problems"


class TestSecrets:
    """Whatever is wrong with a key, and wherever it has slipped to, it is not shown."""

    @pytest.mark.parametrize(
        "content",
        [
            "providers: sk-secret",
            "providers: {openai: sk-secret}",
            "providers: {openai: [sk-secret]}",
            "providers: {openai: {sk-secret}}",
            "providers: {openai: {api_key sk-secret}}",
            "providers: {openai: {api_key: '${sk-secret}'}}",
            "providers: {openai: {api_key: *sk-secret}}",
            "providers: {openai: {api_key: &sk-secret }}",
            "providers: {openai: {api_key: !sk-secret x}}",
            "providers: {openai: {api_key: 'sk-secret}}",
            "providers: {openai: {api_key: @sk-secret}}",
            "providers: {openai: {stt: sk-secret}}",
            "providers:\n  openai:\n  api_key: sk-secret",
            "projects: {p: {providers: sk-secret}}",
            "projects: {p: {providers: {openai: sk-secret}}}",
            "api_key: sk-secret",
            "server: {token: [sk-secret]}",
            "server: {token: '${sk-secret'}",
            "database: {url: 'mysql://user:sk-secret@db/name'}",
            "database: {url: sk-secret}",
            "timezone: ${KEY}",
            "projects: {p: {daily_budget: '${KEY}'}}",
            "projects: {p: {budget_action: '${KEY}'}}",
            "pricing: {a/b: {audio: '${KEY}', per: minute}}",
            "pricing: {a/b: '${KEY}'}",
            "pricing: {a/b: [{audio: 1, per: '${KEY}'}]}",
            "fallback: ${KEY}",
            "default_project: ${KEY}",
            "server: {port: '${KEY}', host: '${KEY} x'}",
        ],
    )
    def test_a_key_is_in_no_message(self, load: Load, content: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load(content, {"KEY": "sk-secret"})
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(caught.value.problems)

    @pytest.mark.parametrize(
        "content",
        [
            "alerts: T0KEN",
            "alerts: https://T0KEN@host",
            "alerts: [T0KEN]",
            "alerts: {webhook: T0KEN}",
            "alerts: {webhook: 'ftp://user:T0KEN@host/T0KEN'}",
            "alerts: {webhook: 'https:///T0KEN', secret: 'whsec_T0KEN!'}",
            "alerts: {webhook: '${KEY}', secret: 'whsec_${KEY}'}",
        ],
    )
    def test_neither_address_nor_secret_of_alerts_is_in_a_message(
        self, load: Load, content: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            load(content, {"KEY": "T0KEN!"})
        assert "T0KEN" not in str(caught.value)


def test_a_file_that_may_not_be_read_says_why(tmp_path: Path) -> None:
    loop = tmp_path / "voicegw.yaml"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(loop, env={})
