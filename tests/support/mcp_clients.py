"""The MCP server for tests: how a coding agent starts it, and what it answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult

from .command_line import COMMAND
from .web_server import plain_environment

Connect = Callable[[], AbstractAsyncContextManager[Client]]


def over_stdio(folder: Path, *arguments: str, **env: str) -> StdioServerParameters:
    """How a coding agent starts the command in a folder."""
    environment = {**plain_environment(folder), "PYTHONPATH": ":".join(filter(None, sys.path))}
    return StdioServerParameters(
        command=str(COMMAND), args=["mcp", *arguments], env={**environment, **env}, cwd=folder
    )


def said(result: CallToolResult) -> str:
    """The text of a result."""
    (part,) = result.content
    assert part.type == "text"
    return part.text


def answer(result: CallToolResult) -> Any:
    """The answer of a call that must have succeeded; its text has to say the same."""
    assert not result.is_error, said(result)
    assert json.loads(said(result)) == result.structured_content
    return result.structured_content
