"""MCP in the HTTP server: the same door as for all else, and nothing to remember."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from support.mcp_clients import answer
from support.web_server import TOKEN, WebServer, web_server, write_config

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def test_a_call_needs_no_session(server: WebServer) -> None:
    with server.client(headers=ACCEPT) as client:
        found = client.post("/mcp", json=LIST)
    assert found.status_code == 200
    assert "mcp-session-id" not in found.headers
    assert len(found.json()["result"]["tools"]) == 9


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_only_messages_are_taken(server: WebServer, method: str) -> None:
    with server.client(headers=ACCEPT) as client:
        found = client.request(method, "/mcp")
    assert found.status_code == 405
    assert found.headers["allow"] == "POST"
    assert found.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example"},
        {"origin": "https://attacker.example"},
        {"host": "attacker.example:8080", "origin": "http://attacker.example:8080"},
    ],
)
def test_a_page_of_another_site_is_refused(server: WebServer, headers: dict[str, str]) -> None:
    with server.client(headers={**ACCEPT, **headers}) as client:
        assert client.post("/mcp", json=LIST).status_code == 403


def test_a_message_may_not_be_larger_than_any_need_be(server: WebServer) -> None:
    large = {**LIST, "params": {"_meta": {"filler": "x" * (1 << 20)}}}
    with server.client(headers=ACCEPT) as client:
        assert client.post("/mcp", json=large).status_code == 413


async def test_with_a_token_only_who_shows_it_is_answered(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path, env={"VOICEGW_TOKEN": TOKEN}) as server:
        with server.client(headers=ACCEPT) as plain:
            assert plain.post("/mcp", json=LIST).status_code == 401
            wrong = {"authorization": f"Bearer {TOKEN}x"}
            assert plain.post("/mcp", json=LIST, headers=wrong).status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(headers=bearer, trust_env=False) as http:
            transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
            async with Client(transport) as client:
                assert answer(await client.call_tool("list_projects", {}))["projects"]
        assert server.stop() == 0
        assert "Traceback" not in server.log()


async def test_a_client_does_not_notice_that_the_server_was_started_anew(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        async with Client(f"{first.url}/mcp") as client:
            before = answer(await client.call_tool("list_projects", {}))
            first.stop()
            with web_server(tmp_path, port=port):
                assert answer(await client.call_tool("list_projects", {})) == before
