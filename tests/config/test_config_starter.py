"""The commented file that ``voicegw init`` writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import Config, load_config, write_starter
from livekit_plugins_voicegateway.config_file.schema import SCHEMA
from livekit_plugins_voicegateway.errors import VoiceGatewayError

Load = Callable[..., Config]


def uncommented(text: str) -> str:
    """Take the # away from each line that is a key or within one."""
    key = r"([a-z_]+|[a-z]+/[a-z0-9.-]+)"
    return re.sub(rf"^( *)# ( *{key}:( .*)?)$", r"\1\2", text, flags=re.MULTILINE)


def test_it_works_as_it_is_without_any_variable(tmp_path: Path) -> None:
    path = write_starter(tmp_path / "voicegw.yaml")
    config = load_config(path, env={})
    assert config.default_project == "dev"
    assert config.project("dev").daily_budget == Decimal("5.00")


def test_it_returns_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_starter(Path("mine.yaml")) == tmp_path / "mine.yaml"
    assert (tmp_path / "mine.yaml").exists()


def test_it_is_right_with_everything_taken_in(tmp_path: Path, load: Load) -> None:
    text = uncommented(write_starter(tmp_path / "starter.yaml").read_text(encoding="utf-8"))
    config = load(text)
    assert set(config.projects) == {"dev", "prod"}
    assert config.project("prod").fallback.llm == "ollama/llama3.2:3b"
    assert set(config.providers) == {"openai", "deepgram", "ollama"}
    assert config.pricing


def test_it_shows_every_key(tmp_path: Path) -> None:
    text = write_starter(tmp_path / "voicegw.yaml").read_text(encoding="utf-8")
    for keys in SCHEMA.values():
        for key in keys:
            assert re.search(rf"\b{key}:", text), key


def test_an_existing_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "voicegw.yaml"
    path.write_text("projects: {mine: {}}\n")
    with pytest.raises(VoiceGatewayError, match="exists, and was left as it is"):
        write_starter(path)
    assert path.read_text() == "projects: {mine: {}}\n"


def test_a_link_to_nowhere_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "voicegw.yaml"
    path.symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(VoiceGatewayError, match="exists"):
        write_starter(path)
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        VoiceGatewayError, match=r"missing/voicegw\.yaml cannot be written: No such"
    ):
        write_starter(tmp_path / "missing" / "voicegw.yaml")
