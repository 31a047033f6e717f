"""Text that is SQL to somebody: a value to us, wherever it comes in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fuzzing.examples import HOSTILE
from fuzzing.stage import Server, outcome_of, site
from fuzzing.statements import StatementWatch, known_statements, watched_statements
from fuzzing.target import Broken
from support.usage_rows import usage_row

from livekit_plugins_voicegateway.config import Config
from livekit_plugins_voicegateway.ledger import open_ledger

JSON = [(b"content-type", b"application/json")]
MCP = [*JSON, (b"accept", b"application/json, text/event-stream")]

TEXTS = [*HOSTILE, "\ud800'; DELETE FROM usage; --", "'" * 99, "a'b\"c`d[e]f;g--h/*i*/"]


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[StatementWatch, Config, Server]]:
    with watched_statements() as watch, site() as config, Server(config, token=False) as server:
        yield watch, config, server


def path_of(config: Config) -> Path:
    return Path(config.database_url.removeprefix("sqlite:///"))


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_hostile_text_is_only_ever_a_value(
    text: str, watched: tuple[StatementWatch, Config, Server]
) -> None:
    watch, config, server = watched
    seen = watch.traced
    part = quote(text.encode("utf-8", "surrogatepass"), safe="")[:2000]
    for target in (
        f"/v1/costs?project={part}&period={part}",
        f"/v1/costs?project={part}",
        f"/v1/logs?project={part}",
        f"/v1/logs?room={part}&model={part}&project=prod",
        f"/v1/logs?model=openai/{part}",
        f"/v1/logs?cursor={part}&status={part}&modality={part}",
        f"/v1/calls?project={part}",
        f"/v1/calls/{part}",
        f"/v1/projects/{part}",
        f"/v1/changes?project={part}",
        f"/v1/price?model=openai/{part}&input_tokens=3&project={part}",
        f"/requests?project={part}&room={part}&model={part}",
        f"/calls/{part}",
        f"/projects/{part}",
    ):
        outcome_of(server.ask("GET", target.encode()))
    for fields in (
        {"project_id": text},
        {"project_id": "sql", "name": text, "description": text, "tags": [text]},
        {"project_id": "sql", "pricing": {f"openai/{text}": {"free": True}}, "name": text},
    ):
        body = json.dumps(fields).encode()
        made = server.ask("POST", b"/v1/projects", headers=JSON, body=body)
        if made.status == 201:
            assert server.ask("DELETE", made.headers["location"].encode()).status == 200
    for name, arguments in (
        ("get_logs", {"room": text, "model": text, "project": text}),
        ("get_call", {"room": text}),
        ("get_costs", {"project": text}),
        ("get_project", {"project_id": text}),
        ("delete_project", {"project_id": text, "confirm": True}),
    ):
        call = {"name": name, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        server.ask("POST", b"/mcp", headers=MCP, body=json.dumps(message).encode())
    watch.check()
    assert watch.traced > seen

    async def record() -> None:
        async with await open_ledger(config.database_url) as ledger:
            # more than one: a statement has several rows
            same = {"project": text, "room": text, "model": text, "provider": text, "error": text}
            await ledger.write([usage_row(**same) for _ in range(9)])
            await ledger.call_lines([text])

    server.run(record())
    watch.check()


def test_everything_is_still_there(watched: tuple[StatementWatch, Config, Server]) -> None:
    _, config, server = watched
    with sqlite3.connect(path_of(config)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM usage").fetchall()
        ((tables,),) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
    assert count >= 3
    assert tables >= 7
    assert json.loads(server.ask("GET", b"/v1/verify").body)["ok"]


def test_a_statement_that_is_made_up_is_noticed() -> None:
    with watched_statements() as watch:
        connection = sqlite3.connect(":memory:")
        connection.execute("SELECT 1")
        connection.close()
    with pytest.raises(Broken, match="in no file"):
        watch.check()


def test_a_value_that_is_put_into_the_text_is_noticed() -> None:
    text = next(text for text in known_statements() if ":project" in text)
    with watched_statements() as watch:
        connection = sqlite3.connect(":memory:")
        with pytest.raises(sqlite3.OperationalError):
            connection.execute(text.replace(":project", "'prod'"))
        connection.close()
    with pytest.raises(Broken, match="in no file"):
        watch.check()
