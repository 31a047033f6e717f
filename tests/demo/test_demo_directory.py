"""The demo's directory: its own, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.demo.directory import clear_directory, write_config
from livekit_plugins_voicegateway.demo.run import main
from livekit_plugins_voicegateway.errors import VoiceGatewayError


def test_a_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    clear_directory(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


def test_the_ledger_of_an_earlier_demo_goes(tmp_path: Path) -> None:
    write_config(tmp_path, {"timezone": "UTC"})
    for name in ("voicegw.db", "voicegw.db-wal", "voicegw.db-shm"):
        (tmp_path / name).write_bytes(b"old")

    clear_directory(tmp_path)

    assert not list(tmp_path.glob("voicegw.db*"))


@pytest.mark.parametrize("name", ["voicegw.yaml", "voicegw.db"])
def test_what_no_demo_has_written_stays_and_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("timezone: UTC")

    with pytest.raises(VoiceGatewayError, match=rf"{name} was not written by a demo.*--directory"):
        clear_directory(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "timezone: UTC"


def test_a_place_that_cannot_be_written_to_is_an_error_for_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert main(tmp_path / "file" / "demo") == 1

    assert "cannot write to" in capsys.readouterr().err


def test_its_configuration_is_one_that_the_gateway_reads(tmp_path: Path) -> None:
    path = write_config(tmp_path, {"default_project": "a", "projects": {"a": {"name": "A"}}})

    config = load_config(path, env={})

    assert config.default_project == "a"
    assert config.database_url.endswith("voicegw.db")
