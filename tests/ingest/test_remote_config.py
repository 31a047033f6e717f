"""A configuration whose ledger is a server's, and what the command line says beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from serving_workers import WORKERS_TOKEN
from support.command_line import COMMAND
from support.web_server import WebServer, plain_environment

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.errors import UnsetVariableError
from livekit_plugins_voicegateway.ledger.outbox import outbox_file
from livekit_plugins_voicegateway.ledger.urls import token_of, without_credentials

TOKEN = "e5a1 t@ken/with:signs"


def load(folder: Path, database: str, env: Mapping[str, str] | None = None) -> Config:
    path = folder / "voicegw.yaml"
    path.write_text(f"database: {database}\n")
    return load_config(path, env=env or {})


def test_the_token_is_the_keys_or_the_variables_and_is_not_shown(tmp_path: Path) -> None:
    url = "https://voicegw.example.com/ledger"
    of_file = load(tmp_path, f"{{url: '{url}', token: '{TOKEN}'}}")
    of_environment = load(tmp_path, f"{{url: '{url}'}}", {"VOICEGW_INGEST_TOKEN": TOKEN})
    for config in (of_file, of_environment):
        assert token_of(config.database_url) == TOKEN
        assert without_credentials(config.database_url) == url
        assert TOKEN not in repr(config)
    assert load(tmp_path, f"{{url: '{url}'}}").database_url == url
    assert load(tmp_path, "{url: 'sqlite:///x.db'}", {"VOICEGW_INGEST_TOKEN": TOKEN}).database_url


def test_a_token_that_is_not_set_is_named_when_it_is_needed(tmp_path: Path) -> None:
    config = load(tmp_path, "{url: 'https://voicegw.example.com', token: '${NO_TOKEN}'}")
    with pytest.raises(UnsetVariableError, match=r"database\.token needs .* NO_TOKEN.*line 1"):
        _ = config.database_url


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_this_machine_may_be_asked_without_tls(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, f"{{url: 'http://{host}'}}").database_url == f"http://{host}"


def test_another_token_does_not_make_another_outbox(tmp_path: Path) -> None:
    one, other = (
        load(tmp_path, f"{{url: 'https://voicegw.example.com', token: {token}}}").database_url
        for token in ("one-token", "another-token")
    )
    assert one != other
    assert outbox_file(tmp_path, one) == outbox_file(tmp_path, other)


def command(
    folder: Path, server: WebServer, *arguments: str, token: str = WORKERS_TOKEN
) -> subprocess.CompletedProcess[str]:
    (folder / "voicegw.yaml").write_text(f"database: {{url: '{server.url}'}}\n")
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**plain_environment(folder), "VOICEGW_INGEST_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["costs", "projects", "logs", "calls", "verify"])
def test_a_report_is_asked_at_the_server_and_the_command_says_so(
    tmp_path: Path, server: WebServer, name: str
) -> None:
    done = command(tmp_path, server, name)
    assert done.returncode == 1
    assert f"the ledger is kept by the server {server.url}" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert WORKERS_TOKEN not in done.stdout + done.stderr


def test_check_asks_the_server(tmp_path: Path, server: WebServer) -> None:
    done = command(tmp_path, server, "check")
    assert server.url in done.stdout
    assert "cannot be used" not in done.stdout
    wrong = command(tmp_path, server, "check", token="none-of-the-tokens")
    assert wrong.returncode == 1
    assert "the token is not the right one" in " ".join((wrong.stdout + wrong.stderr).split())
    assert "none-of-the-tokens" not in wrong.stdout + wrong.stderr


def test_a_command_with_a_database_loads_no_http_client(tmp_path: Path) -> None:
    (tmp_path / "voicegw.yaml").write_text("database: {url: 'sqlite:///voicegw.db'}\n")
    script = (
        "import sys; from livekit_plugins_voicegateway.cli import main\n"
        "try: main(['costs'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'aiohttp', 'livekit_plugins_voicegateway.ledger.http'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, **plain_environment(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
