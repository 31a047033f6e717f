"""docs/local-models.md has every option of the local models, and its examples are right."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT

DOCS = (Path(__file__).parents[2] / "docs" / "local-models.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """The text under one heading."""
    return DOCS.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("title", "model"), [("Whisper", WhisperSTT), ("Kokoro", KokoroTTS)])
def test_the_table_of_options_is_the_constructors(
    title: str, model: type[WhisperSTT] | type[KokoroTTS]
) -> None:
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == set(inspect.signature(model).parameters) - {"model"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_right_configuration(example: str, tmp_path: Path) -> None:
    path = tmp_path / "voicegw.yaml"
    path.write_text(example, encoding="utf-8")
    assert load_config(path, env={}).projects


def test_every_section_that_is_linked_exists() -> None:
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.+)$", DOCS, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", DOCS)) <= headings
