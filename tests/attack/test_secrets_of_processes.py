"""Keys are found nowhere: not in what the server answers, what commands print, or what is left."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from attack.marked_keys import KEYS, MARK, SECRET_KEY, WEBHOOK_SECRET, files, found
from fastapi.routing import iter_route_contexts
from support.command_line import COMMAND
from support.web_server import plain_environment, web_server

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger.urls import without_credentials
from livekit_plugins_voicegateway.server.app import create_app

CONFIGURATION = """
default_project: own
database: {url: 'sqlite:///voicegw.db', outbox: outbox}
server: {token: '${VOICEGW_TOKEN:-}'}
alerts: {webhook: 'http://127.0.0.1:9/sk-MARK-of-the-webhook-address', secret: '${WEBHOOK_SECRET}'}
projects:
  own:
    daily_budget: 5
    providers:
      openai: {api_key: 'sk-MARK-in-the-file'}
      deepgram: {api_key: '${PROJECT_KEY}'}
      groq: {api_key: '${NOT_SET}'}
providers:
  cartesia: {api_key: '${UNSET:-sk-MARK-of-a-default}'}
"""

VARIABLES = {
    "PROJECT_KEY": KEYS["variable"],
    "OPENAI_API_KEY": KEYS["environment"],
    "VOICEGW_TOKEN": KEYS["token"],
    "VOICEGW_SECRET_KEY": SECRET_KEY,
    "WEBHOOK_SECRET": WEBHOOK_SECRET,
    "VOICEGW_DEBUG": "1",
}

GOOD = {"authorization": f"Bearer {KEYS['token']}"}

SEALED = {"openai": {"api_key": KEYS["managed"]}}

WRONG_BODIES = [
    {"project_id": "x", "providers": {"openai": KEYS["managed"]}},
    {"project_id": "x", "providers": {"openai": {"api_key": [KEYS["managed"]]}}},
    {"project_id": "x", "providers": {"openai": {"api_key": f"{KEYS['managed']}\n"}}},
    {"project_id": "x", "providers": {"openai": {"api_key": f"${{{KEYS['managed']}}}"}}},
    {"project_id": "x", "providers": {"openai": {"api_kee": KEYS["managed"]}}},
    {"project_id": "x", "providers": [KEYS["managed"]]},
    {"project_id": "x", "providers": {"no-such": {"api_key": KEYS["managed"]}}},
    {"project_id": "own", "providers": SEALED},
    {"project_id": "x", "daily_budget": "no", "providers": SEALED},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "voicegw.yaml").write_text(CONFIGURATION)
    return tmp_path


def get_paths(folder: Path) -> list[str]:
    """Everything that can be read from the server."""
    env = {**plain_environment(folder), **VARIABLES}
    app = create_app(load_config(folder / "voicegw.yaml", env=env))
    found_paths = set()
    for context in iter_route_contexts(app.routes):
        if "GET" in (context.methods or ()):
            parts = (context.path or "/").split("/")
            for name in ("night", "own"):
                found_paths.add("/".join(name if "{" in part else part for part in parts))
    assert {"/metrics", "/openapi.json", "/projects/own", "/v1/projects/night"} <= found_paths
    return sorted(found_paths - {"/v1/events"})


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for one in listed for child in one.read_text().split()]


def answered(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.headers!r} {answer.text}"


def tool(client: httpx.Client, name: str, **arguments: object) -> str:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }
    accept = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}
    return answered(client.post("/mcp", json=message, headers=accept))


def test_no_key_comes_out_of_the_server(folder: Path) -> None:
    outputs: dict[str, str | bytes] = {}
    with web_server(folder, env=VARIABLES) as server, server.client(headers=GOOD) as client:
        created = client.post("/v1/projects", json={"project_id": "night", "providers": SEALED})
        assert created.status_code == 201, created.text
        outputs["created"] = answered(created)
        outputs["changed"] = answered(
            client.patch("/v1/projects/night", json={"providers": SEALED})
        )
        for path in get_paths(folder):
            for accept in ("application/json", "text/html"):
                outputs[f"GET {path} {accept}"] = answered(
                    client.get(path, headers={"accept": accept})
                )
        for number, body in enumerate(WRONG_BODIES):
            wrong = client.post("/v1/projects", json=body)
            assert wrong.status_code in (409, 422), wrong.text
            outputs[f"POST {number}"] = answered(wrong)
            outputs[f"PATCH {number}"] = answered(client.patch("/v1/projects/night", json=body))
            outputs[f"MCP create {number}"] = tool(client, "create_project", **body)
        form = {"project_id": "!", "provider_1": "openai", "key_1": KEYS["managed"]}
        fields = client.get("/projects/~new").text
        names = re.findall(r'<(?:input|select)[^>]* name="([^"]+)"', fields)
        assert any("key" in name for name in names)
        form = {name: KEYS["managed"] if "key" in name else "!" for name in names}
        outputs["form"] = answered(client.post("/projects/~new", data=form))
        outputs["not JSON"] = answered(
            client.post(
                "/v1/projects",
                content=json.dumps(SEALED)[:-1],
                headers={"content-type": "application/json"},
            )
        )
        for name in ("list_projects", "get_costs", "get_logs", "check"):
            outputs[f"MCP {name}"] = tool(client, name)
        outputs["MCP get_project"] = tool(client, "get_project", project_id="night")
        outputs["MCP no such tool"] = tool(client, KEYS["managed"][:3], api_key=KEYS["managed"])
        outputs["no token"] = answered(client.get("/v1/costs", headers={"authorization": "x"}))
        login = client.post(
            "/login",
            data={"token": KEYS["token"]},
            headers={"origin": server.url, "authorization": ""},
        )
        outputs["login"] = answered(login)
        outputs |= files(folder)
        outputs["command line"] = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert server.stop() == 0
        outputs["log"] = server.log()
    assert '"result"' in outputs["MCP check"]
    assert "night" in str(outputs["GET /v1/projects/night application/json"])
    assert {"file voicegw.db"} <= outputs.keys()
    assert found(outputs) == {}


@pytest.mark.faults
def test_no_key_is_on_the_command_line_of_a_process_that_is_started(folder: Path) -> None:
    """``ps`` shows it to every user of the machine."""
    from concurrent.futures import ThreadPoolExecutor

    with (
        web_server(folder, env=VARIABLES) as server,
        server.client(headers=GOOD) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        checking = pool.submit(tool, client, "check")
        seen: set[bytes] = set()
        while not checking.done():
            for child in children(server.process.pid):
                try:
                    seen.add(Path(f"/proc/{child}/cmdline").read_bytes())
                except FileNotFoundError:
                    continue
    assert any(b"check" in line for line in seen)
    assert found({repr(line): line for line in seen}) == {}


SOME = [
    "check --json",
    "project show nobody",
    "export --what costs --output out.csv",
    "project create other --key openai:PROJECT_KEY --json",
]

ALL = [
    *SOME,
    "check",
    "projects",
    "project show night --json",
    "project changes night",
    "costs --json",
    "logs",
    "calls",
    "prices --json",
    "verify",
    "export --what requests --output requests.csv",
    "export --what costs --output out.jsonl",
    "export --what costs --output out.parquet",
    "serve --host 0.0.0.0 --port 99999",
    "price groq/llama-3.3-70b-versatile --project own --input-tokens 5",
]

DATABASE = f"postgresql://user:{KEYS['database']}@127.0.0.1:9/voicegw?password={KEYS['database']}"


def commanded(
    folder: Path, command: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *command.split()],
        cwd=folder,
        env={**plain_environment(folder), **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "commands", [SOME, pytest.param(ALL, marks=[pytest.mark.faults, pytest.mark.timeout(600)])]
)
def test_no_key_comes_out_of_a_command(folder: Path, commands: list[str]) -> None:
    outputs: dict[str, str | bytes] = {}
    made = commanded(folder, "project create night --key openai:PROJECT_KEY", VARIABLES)
    assert made.returncode == 0, made.stderr
    statuses = set()
    for command in commands:
        done = commanded(folder, command, VARIABLES)
        statuses.add(done.returncode)
        outputs[command] = done.stdout + done.stderr
    outputs |= files(folder)
    assert statuses >= {0, 1}
    assert "file out.csv" in outputs
    assert found(outputs) == {}


@pytest.mark.parametrize(
    "command",
    [
        "costs",
        *(
            pytest.param(long, marks=pytest.mark.faults)
            for long in ("check --json", "projects", "serve --port 0")
        ),
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        DATABASE,
        DATABASE.partition("?")[0],
        DATABASE.replace("user:", "user:a?b/c@d"),
        f"postgresql://127.0.0.1:9/voicegw?password=a@{KEYS['database']}",
        DATABASE.replace("postgresql", "mysql"),
    ],
    ids=["parameters", "password", "characters", "parameter", "mysql"],
)
def test_no_password_of_the_database_is_shown(folder: Path, command: str, url: str) -> None:
    done = commanded(folder, command, {**VARIABLES, "VOICEGW_DATABASE_URL": url})
    assert done.returncode != 0
    assert done.stdout + done.stderr
    assert found({"said": done.stdout + done.stderr}) == {}


JOB = """
import asyncio, faulthandler, logging, os, sys
from rich.traceback import install
if sys.argv[1] != "plain":
    install(show_locals=True, locals_max_string=None, locals_max_length=None)
faulthandler.enable()
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from voicegateway import inference

def entrypoint():
    inference.set_project("own")
    if sys.argv[2] == "unset":
        inference.LLM("groq/llama-3.3")
    if sys.argv[2] == "options":
        inference.STT("deepgram/nova-3", extra_kwargs={"keyterm": ["a"], "keywords": [("a", 1)]})
    model = inference.LLM("openai/gpt-4.1-mini")
    os.abort()

entrypoint()
"""


@pytest.mark.parametrize(
    "tracebacks", [pytest.param("plain", marks=pytest.mark.faults), "with variables"]
)
@pytest.mark.parametrize("how", ["unset", "options", "abort"])
def test_no_key_is_in_what_a_crashed_job_leaves(folder: Path, tracebacks: str, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", JOB, tracebacks, how],
        cwd=folder,
        env={**plain_environment(folder), **VARIABLES, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode != 0
    assert "entrypoint" in done.stderr
    assert found({"said": done.stdout + done.stderr, **files(folder)}) == {}
    assert MARK in (folder / "voicegw.yaml").read_text()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@db/x", "postgresql://db/x"),
        ("postgresql://u:p@db/x?password=p&sslmode=require", "postgresql://db/x"),
        ("postgresql://u:a?b@db/x", "postgresql://…"),
        ("postgresql://u:a/b@c@db/x", "postgresql://db/x"),
        ("postgresql://db/x?password=a@b", "postgresql://…"),
        ("https://:t0ken@voicegw.example", "https://voicegw.example"),
        ("sqlite:////srv/a@b?c.db", "sqlite:////srv/a@b?c.db"),
    ],
)
def test_of_a_databases_address_no_password_is_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
