"""docs/configuration.md has every key of the file, and its examples are right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import Config
from livekit_plugins_voicegateway.config_file.schema import SCHEMA
from livekit_plugins_voicegateway.pricing import spec

Load = Callable[..., Config]

DOCS = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
HEADINGS = set(re.findall(r"^#{2,4} `?([^`\n]+)`?$", DOCS, re.MULTILINE))
KEYS = [f"{path}.{key}" if path else key for path, keys in SCHEMA.items() for key in keys]
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_section(key: str) -> None:
    assert key in HEADINGS


@pytest.mark.parametrize("heading", sorted(HEADINGS))
def test_every_section_about_a_key_is_about_one_that_exists(heading: str) -> None:
    if heading.startswith("projects.") or re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", heading):
        assert heading in KEYS


@pytest.mark.parametrize("key", spec._KEYS)
def test_every_key_of_a_price_is_in_the_table(key: str) -> None:
    assert re.search(rf"^\| `{key}` \|", DOCS, re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 8


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_right_configuration(load: Load, example: str) -> None:
    assert load(example).projects


def test_the_sections_of_the_schema_are_the_defaults_that_the_docs_state(load: Load) -> None:
    config = load("")
    for key, value in {
        "timezone": config.timezone.key,
        "fallback.stt": config.fallback.stt,
        "fallback.llm": config.fallback.llm,
        "fallback.tts": config.fallback.tts,
        "cost_tracking.unpriced": config.cost_tracking.unpriced,
        "cost_tracking.on_ledger_failure": config.cost_tracking.on_ledger_failure,
        "cost_tracking.retention_days": config.cost_tracking.retention_days,
        "server.host": config.server.host,
        "server.port": config.server.port,
        "projects.<id>.budget_action": config.project("default").budget_action,
    }.items():
        section = DOCS.split(f"`{key}`\n", 1)[1].split("\n#", 1)[0]
        assert f"- Default: `{value}`" in section
