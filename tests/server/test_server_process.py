"""`voicegw serve` as a process: where it listens, how it fails, how it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import COMMAND
from support.machine import PATIENCE
from support.web_server import TOKEN, plain_environment, web_server, write_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def failed(folder: Path, *arguments: str, code: int = 1, **env: str) -> str:
    """Start a server that cannot start, and return what it says."""
    done = subprocess.run(
        [COMMAND, "serve", *arguments],
        cwd=folder,
        env={**plain_environment(folder), **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_says_where_it_listens_and_for_whom(folder: Path) -> None:
    with web_server(folder) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert not server.url.endswith(":0")
        with server.client() as client:
            assert client.get("/health").status_code == 200
        assert server.stop() == 0
        assert server.log() == ""


def test_the_configuration_says_where_and_the_command_line_before_it(
    folder: Path, taken: int
) -> None:
    path = folder / "voicegw.yaml"
    path.write_text(path.read_text() + f"server: {{host: 127.0.0.2, port: {taken}}}\n")
    # nobody listens on the port of that address
    done = subprocess.Popen(
        [COMMAND, "serve"],
        cwd=folder,
        env=plain_environment(folder),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert done.stdout is not None
        assert f"http://127.0.0.2:{taken} " in done.stdout.readline()
    finally:
        done.terminate()
        done.communicate(timeout=PATIENCE)
    assert f"127.0.0.1:{taken}" in failed(folder, "--host", "127.0.0.1")


def test_a_token_in_the_file_or_in_the_environment_is_needed_to_ask(folder: Path) -> None:
    path = folder / "voicegw.yaml"
    path.write_text(path.read_text() + 'server: {token: "${SERVER_TOKEN}"}\n')
    with web_server(folder, env={"SERVER_TOKEN": TOKEN}) as server, server.client() as client:
        assert client.get("/v1/costs").status_code == 401
        good = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/costs", headers=good).status_code == 200
    assert "SERVER_TOKEN" in failed(folder)


def test_with_a_token_it_may_listen_for_other_machines(folder: Path) -> None:
    with web_server(folder, "--host", "0.0.0.0", env={"VOICEGW_TOKEN": TOKEN}) as server:
        good = {"authorization": f"Bearer {TOKEN}"}
        with server.client(headers=good) as client:
            assert client.get("/v1/costs").status_code == 200
            named = client.get("/v1/costs", headers={"host": "voice.example"})
            assert named.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid"])
def test_without_a_token_it_does_not_listen_for_other_machines_and_says_why(
    folder: Path, host: str
) -> None:
    said = failed(folder, "--host", host)
    assert "VOICEGW_TOKEN" in said
    assert host in said
    assert not (folder / "voicegw.db").exists()


def test_a_port_that_is_taken_is_named(folder: Path, taken: int) -> None:
    said = failed(folder, "--port", str(taken))
    assert f"127.0.0.1:{taken}" in said
    assert "--port" in said


def test_an_address_that_is_not_this_machines_is_named(folder: Path) -> None:
    said = failed(folder, "--host", "192.0.2.1", VOICEGW_TOKEN=TOKEN)
    assert "this machine has no address 192.0.2.1" in said


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may use every port")
def test_a_port_of_the_system_is_named(folder: Path) -> None:
    assert "below 1024" in failed(folder, "--port", "80")


def test_a_ledger_that_cannot_be_opened_is_named(folder: Path) -> None:
    (folder / "voicegw.db").write_bytes(b"this is no database, and it is long enough" * 100)
    assert str(folder / "voicegw.db") in failed(folder, "--port", "0")


def test_a_wrong_configuration_is_named(folder: Path) -> None:
    (folder / "voicegw.yaml").write_text("server: {port: many}\n")
    assert "server.port" in failed(folder)


def test_a_short_token_is_warned_of_and_not_shown(folder: Path) -> None:
    with web_server(folder, env={"VOICEGW_TOKEN": "s3cr3t"}) as server:
        assert server.stop() == 0
        said = server.log()
    assert "6 characters" in said
    assert "s3cr3t" not in said


def test_without_the_server_extra_the_install_command_is_said(folder: Path) -> None:
    # a finder that does not find it stands for an environment without it
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('uvicorn', 'fastapi'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from livekit_plugins_voicegateway.cli import main\n"
        "main(['serve'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=plain_environment(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'livekit-plugins-voicegateway[server]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_it_ends_when_it_is_told_to_although_somebody_follows(folder: Path, signal: str) -> None:
    import signal as signals

    with web_server(folder) as server, server.client() as client:
        with client.stream("GET", "/v1/events") as following:
            lines = following.iter_lines()
            assert next(lines) == "retry: 2000"
            server.process.send_signal(signals.Signals[signal])
            # the stream is ended and not cut off
            assert [line for line in lines if line] == []
        assert server.process.wait(PATIENCE) == 0
        assert server.log() == ""


def test_it_ends_although_somebody_never_ends_his_request(folder: Path) -> None:
    with web_server(folder) as server:
        host, _, port = server.host.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(
                b"POST /v1/projects HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            )
            # the server waits for the body now
            assert connection.recv(4096).startswith(b"HTTP/1.1 100")
            server.process.terminate()
            assert connection.recv(65_536).startswith(b"HTTP/1.1 503")
        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.log()


def test_it_never_imports_the_agents(folder: Path) -> None:
    code = (
        "import sys\n"
        "import livekit_plugins_voicegateway.server.run\n"
        "from livekit_plugins_voicegateway.config import load_config\n"
        "from livekit_plugins_voicegateway.server.app import create_app\n"
        "from starlette.testclient import TestClient\n"
        "with TestClient(create_app(load_config()), base_url='http://localhost',\n"
        "                client=('127.0.0.1', 1)) as client:\n"
        "    for path in ('/', '/v1/costs', '/v1/prices', '/v1/projects', '/openapi.json',\n"
        "                 '/metrics', '/v1/price?model=openai/gpt-4.1-mini'):\n"
        "        client.get(path)\n"
        "    assert client.post('/v1/projects', json={'project_id': 'x'}).status_code == 201\n"
        "print([name for name in sys.modules if name.startswith('livekit.agents')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=plain_environment(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr
