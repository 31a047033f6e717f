"""Whatever is in the file, reading it gives a `Config` or a `ConfigError`, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings, strategies as st

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.config_file.schema import SCHEMA
from livekit_plugins_voicegateway.errors import ConfigError

ENV = {"SET": "marked-secret", "EMPTY": "", "NUMBER": "5"}

WORDS = sorted({key for keys in SCHEMA.values() for key in keys})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.text(max_size=8),
    st.sampled_from(
        [*WORDS, "none", "prod", "UTC", "local/kokoro", "ollama/x:1", "sqlite:///x.db", "a/b"]
    ),
    st.sampled_from(["${SET}", "${UNSET}", "${UNSET:-5}", "${EMPTY}", "${NUMBER}", "${", "$"]),
)
KEYS = st.one_of(
    st.sampled_from([*WORDS, "prod", "a/b", "per", "audio", "from", "api_key"]),
    st.text(max_size=5),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
FILES = st.fixed_dictionaries({}, optional=dict.fromkeys(SCHEMA[""], TREES))
PIECES = st.lists(
    st.sampled_from(
        [
            *(f"{word}:" for word in WORDS),
            *("\n", "\n  ", "\n    ", "\t", " ", "- ", "? ", ": ", ", ", "{", "}", "[", "]"),
            *("&a ", "*a", "<<: ", "!x ", "!!int ", "|\n", ">\n", "'", '"', "#", "---\n", "...\n"),
            *("%YAML 1.1\n", "@", "`", "\\", "\ufeff", "\x85", "\u2028", "\x00", "1e9", ".nan"),
            *("${SET}", "${", "prod", "2027-02-30", "0x1", "1:2", "~", "no"),
        ]
    ),
    max_size=40,
).map("".join)


def load(content: bytes, env: Mapping[str, str] = ENV) -> Config | ConfigError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "voicegw.yaml")
        path.write_bytes(content)
        try:
            return load_config(path, env=env)
        except ConfigError as error:
            return error


def check(content: bytes) -> None:
    outcome = load(content)
    if isinstance(outcome, ConfigError):
        assert outcome.problems
        assert all(problem.found and problem.expected for problem in outcome.problems)
        lines = content.count(b"\n") + content.count(b"\r") + 2
        # the parser takes these for line ends as well
        lines += content.count("\x85".encode()) + content.count("\u2028".encode())
        lines += content.count("\u2029".encode())
        assert all(0 <= problem.line <= lines for problem in outcome.problems)
        assert "marked-secret" not in str(outcome)
    else:
        assert outcome.projects
        assert outcome.default_project is None or outcome.default_project in outcome.projects
        for project in outcome.projects.values():
            assert project.budget_nanos is None or 0 <= project.budget_nanos <= 10**18


@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"? [\n")
@settings(deadline=None)
def test_any_bytes(content: bytes) -> None:
    check(content)


@given(PIECES)
@settings(deadline=None, max_examples=300)
def test_any_text_that_looks_like_yaml(content: str) -> None:
    check(content.encode())


@given(FILES, st.booleans())
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_of_values(tree: object, flow: bool) -> None:
    check(yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True).encode())


@given(TREES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_as_the_options_of_a_provider(tree: object) -> None:
    content = {"providers": {"openai": tree}, "projects": {"prod": {"providers": tree}}}
    check(yaml.safe_dump(content).encode())


@given(PIECES)
@settings(deadline=None)
@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML has no C parser here")
def test_any_text_with_the_python_parser(content: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "livekit_plugins_voicegateway.config_file.yaml_reader._LOADER", yaml.SafeLoader
        )
        check(content.encode())


@given(st.text(max_size=20))
@settings(deadline=None)
def test_any_database_url_in_the_environment(url: str) -> None:
    outcome = load(b"", {"VOICEGW_DATABASE_URL": url})
    assert isinstance(outcome, ConfigError) or outcome.database_url
