"""docs/mcp.md names every tool and every argument, no others, and its configurations hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

from livekit_plugins_voicegateway.cli.mcp import mcp
from livekit_plugins_voicegateway.server.mcp.tools import FEW, TOOLS

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", PAGE, re.MULTILINE))


def test_every_tool_has_a_line() -> None:
    assert list(ROWS) == list(TOOLS)


def test_every_argument_is_named() -> None:
    for name, tool in TOOLS.items():
        if name != "update_project":
            assert re.findall(r"`(\w+)`", ROWS[name]) == list(tool.takes["properties"]), name
    made, changed = (
        TOOLS[name].takes["properties"] for name in ("create_project", "update_project")
    )
    assert list(made) == list(changed)
    assert f"`limit` ({FEW})" in ROWS["get_logs"]


def test_the_configurations_start_what_there_is() -> None:
    over_stdio, over_http = (
        json.loads(block)["mcpServers"]["voicegateway"]
        for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    )
    name, *arguments = over_stdio["args"]
    assert (over_stdio["command"], name) == ("voicegw", mcp.name)
    assert mcp.make_context("mcp", arguments).params["config"]
    assert over_http["url"].endswith("/mcp")
