"""The curl lines of README and docs, run as they stand; and the pages against what there is."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography.fernet import Fernet
from support.command_line import Book
from support.web_server import TOKEN, WebServer, plain_environment, web_server

from livekit_plugins_voicegateway.server import problems
from livekit_plugins_voicegateway.server.app import create_app

ROOT = Path(__file__).parents[2]
PORT: Final = 8080
PAGE = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")

STREAM: Final = 28
"""What curl ends with when it has listened to a stream for as long as it was told to."""


def curl_lines(page: Path) -> list[str]:
    """Every command of a page's ``sh`` blocks that begins with curl, all its lines together."""
    found: list[str] = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        for line in block.splitlines():
            unfinished = found and (found[-1].count("'") % 2 or found[-1].endswith("\\"))
            if unfinished:
                found[-1] += f"\n{line}"
            elif line.startswith("curl "):
                found.append(line)
    return found


PAGES = {
    page.relative_to(ROOT).as_posix(): curl_lines(page)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[WebServer]:
    """A server on the port that the pages name; on another one if somebody has that."""
    with socket.socket() as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asking.bind(("127.0.0.1", PORT))
            port = PORT
        except OSError:
            port = 0
    key = Fernet.generate_key().decode()
    with web_server(folder, port=port, env={"VOICEGW_SECRET_KEY": key}) as server:
        yield server


@pytest.mark.parametrize("page", [page for page, lines in PAGES.items() if lines])
def test_the_curl_lines_of_a_page_run_as_they_stand(
    server: WebServer, tmp_path: Path, page: str
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    # what cannot be seen in the lines: an error is an exit status, and a stream ends
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail-with-body\nmax-time = 10\n")
    env = {
        **plain_environment(tmp_path),
        "CURL_HOME": str(tmp_path),
        "VOICEGW_TOKEN": TOKEN,
        "SUPPORT_OPENAI_KEY": "sk-0123456789",
    }
    with server.client() as client:
        client.delete("/v1/projects/support")
        if not any('"project_id": "support"' in line for line in PAGES[page]):
            # a page that changes the project of another page's example
            made = client.post("/v1/projects", json={"project_id": "support"})
            assert made.status_code == 201
    named, real = f"localhost:{PORT}", server.host.replace("127.0.0.1", "localhost")
    if named != real:
        print(f"port {PORT} is taken: asking {real}")
    for line in PAGES[page]:
        done = subprocess.run(
            ["bash", "-c", line.replace(named, real)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        stream = "-N" in line.split()
        assert done.returncode == (STREAM if stream else 0), f"{line}\n{done.stdout}{done.stderr}"
        if not stream and "/metrics" not in line:
            assert json.loads(done.stdout), line


def test_the_lines_of_the_page_are_found() -> None:
    assert len(PAGES["docs/http-api.md"]) > 10
    assert any("\n" in line for line in PAGES["docs/http-api.md"])


def test_the_page_names_every_route_and_no_other(book: Book) -> None:
    table = PAGE[PAGE.index("## What can be asked") : PAGE.index("`period` is")]
    named = set(re.findall(r"(/(?:v1|health|metrics)[a-z0-9/{}_-]*)", table))
    document = create_app(book.config).openapi()
    there = {
        path.replace("{project_id}", "{id}").replace("{room:path}", "{room}")
        for path in document["paths"]
    }
    assert named == there


def test_the_page_names_every_kind_of_problem() -> None:
    source = "".join(
        path.read_text() for path in Path(problems.__file__).parent.rglob("*.py") if path.is_file()
    )
    kinds = set(re.findall(r"Fault\(\s*\d{3},\s*\"([a-z-]+)\"", source)) - {"refused"}
    table = PAGE[PAGE.index("| status |") :]
    assert kinds == set(re.findall(r"`([a-z-]+)`", table)) - {"type", "errors"}


def test_the_problem_of_the_page_is_what_is_said(server: WebServer) -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S)
    with server.client() as client:
        said = client.get("/v1/costs?period=tomorrow&projct=prod")
    assert said.json() == json.loads(shown)
