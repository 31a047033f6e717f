"""`voicegw mcp` as a process: what it writes, how it ends, and what it finds from call to call."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from support.command_line import COMMAND
from support.machine import PATIENCE
from support.mcp_clients import answer, over_stdio, said
from support.web_server import plain_environment, write_config

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, "mcp"],
        cwd=folder,
        env=plain_environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_writes_messages_and_nothing_else_and_ends_with_its_input(tmp_path: Path) -> None:
    write_config(tmp_path)
    messages = [HELLO, READY, call(2, "list_projects"), call(3, "get_project", project_id="x")]
    with start(tmp_path) as process:
        out, err = process.communicate("".join(f"{json.dumps(each)}\n" for each in messages))
    assert process.returncode == 0
    assert err == ""
    answers = {each["id"]: each["result"] for each in map(json.loads, out.splitlines())}
    assert sorted(answers) == [1, 2, 3]
    assert answers[1]["serverInfo"]["name"] == "voicegateway"
    assert "data" in answers[1]["instructions"]
    assert len(answers[2]["structuredContent"]["projects"]) == 4
    assert answers[3]["isError"] is True


def test_an_agent_that_says_nothing_is_no_fault(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.communicate("") == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("line", ["not json\n", "[]\n", '{"jsonrpc": "2.0"}\n', "\n", "\x00\n"])
def test_what_is_no_message_does_not_end_it(tmp_path: Path, line: str) -> None:
    with start(tmp_path) as process:
        out, err = process.communicate(line + json.dumps(HELLO) + "\n")
    assert process.returncode == 0
    assert "Traceback" not in err
    assert [each["id"] for each in map(json.loads, out.splitlines()) if "result" in each] == [1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_when_it_is_told_to_although_its_input_is_open(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with start(tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(HELLO) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(number)
        assert process.wait(PATIENCE) == status
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_agent_that_has_gone_is_no_fault(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(json.dumps(HELLO) + "\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0


async def test_reading_makes_no_ledger(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    async with Client(over_stdio(tmp_path)) as client:
        assert answer(await client.call_tool("get_costs", {}))["requests"] == 0
        assert answer(await client.call_tool("get_logs", {}))["logs"] == []
    assert [path.name for path in tmp_path.iterdir()] == [config.name]


async def test_an_edited_file_holds_from_the_next_call_on(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    right = config.read_text()
    async with Client(over_stdio(tmp_path)) as client:
        assert answer(await client.call_tool("get_project", {"project_id": "dev"}))
        config.write_text(right.replace("daily_budget: 2\n", "daily_budgt: 2\n"))
        result = await client.call_tool("get_project", {"project_id": "dev"})
        assert result.is_error
        assert "did you mean 'daily_budget'" in said(result)
        found = answer(await client.call_tool("check", {}))
        assert found["ok"] is False
        (problem,) = found["problems"]
        assert problem["key_path"] == "projects.dev.daily_budgt"
        config.write_text(right.replace("daily_budget: 2\n", "daily_budget: 3\n"))
        now = answer(await client.call_tool("get_project", {"project_id": "dev"}))
        assert now["daily_budget"] == 3


async def test_the_configuration_may_be_named(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    config = write_config(folder)
    async with Client(over_stdio(tmp_path, "--config", str(config))) as client:
        projects = answer(await client.call_tool("list_projects", {}))["projects"]
        checked = answer(await client.call_tool("check", {}))
    assert len(projects) == 4
    assert checked["file"] == str(config)


async def test_a_ledger_that_fails_is_an_error_of_the_tool(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "voicegw.db").write_bytes(b"no ledger at all" * 64)
    async with Client(over_stdio(tmp_path)) as client:
        result = await client.call_tool("get_costs", {})
        assert result.is_error
        assert "not a SQLite database" in said(result)
        checked = answer(await client.call_tool("check", {}))
    assert checked["database"]["state"] == "failed"


async def test_the_audit_log_knows_which_agent_it_was(tmp_path: Path) -> None:
    write_config(tmp_path)
    async with Client(over_stdio(tmp_path)) as client:
        answer(await client.call_tool("create_project", {"project_id": "acme"}))
    config = load_config(tmp_path / "voicegw.yaml", env={})
    async with make_ledger(config.database_url, read_only=True) as ledger:
        (change,) = await ProjectAdmin(ProjectCatalogue(config, ledger), ledger).changes()
    assert (change["front"], change["project_id"]) == ("mcp", "acme")
    assert change["who"] is not None
    assert change["who"].startswith("mcp ")


def test_neither_server_nor_tools_import_livekit_agents(tmp_path: Path) -> None:
    write_config(tmp_path)
    program = """
import asyncio, sys
from mcp import Client
from livekit_plugins_voicegateway.server.mcp import http, stdio
from livekit_plugins_voicegateway.server.mcp.desk import DeskPerCall
from livekit_plugins_voicegateway.server.mcp.service import make_server

async def ask():
    async with Client(make_server(DeskPerCall(None))) as client:
        for tool, arguments in [
            ("list_projects", {}), ("get_costs", {}), ("get_logs", {}), ("check", {}),
            ("create_project", {"project_id": "acme"}), ("delete_project", {"project_id": "acme"}),
        ]:
            assert not (await client.call_tool(tool, arguments)).is_error, tool

asyncio.run(ask())
print([name for name in ("livekit.agents", "rich", "genai_prices") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**plain_environment(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
