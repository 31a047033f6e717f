"""``voicegw mcp``: the MCP server over standard input and output, for one coding agent."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

import anyio
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, RequestId

from .checking import LONGEST
from .desk import DeskPerCall
from .service import make_server

__all__ = ["run"]

_GRACE: Final = LONGEST + 10
"""Seconds that questions have to be answered after the input has ended."""


def run(config_path: Path | None) -> None:
    """Serve until the input ends and all that was asked is answered, or the process is told to.

    Nothing but messages of the protocol is written to standard output; logs go to standard error.

    Args:
        config_path: The configuration that was named; None for the one that is found.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        asyncio.run(_serve(config_path))
    except* BrokenPipeError:
        # the agent has gone without closing our input first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _serve(config_path: Path | None) -> None:
    server = make_server(DeskPerCall(config_path))
    pending = _Pending()
    to_server, messages = anyio.create_memory_object_stream[SessionMessage | Exception]()
    answers, from_server = anyio.create_memory_object_stream[SessionMessage]()

    async with stdio_server() as (standard_input, standard_output):

        async def hear() -> None:
            async with to_server:
                async for message in standard_input:
                    pending.note(message)
                    await to_server.send(message)
                # what the server does not know the answer of when its input ends it gives up
                with anyio.move_on_after(_GRACE):
                    await pending.all_answered()

        async def speak() -> None:
            async with standard_output:
                async for message in from_server:
                    await standard_output.send(message)
                    pending.note(message)

        async with anyio.create_task_group() as group:
            group.start_soon(hear)
            group.start_soon(speak)
            await server.run(messages, answers, server.create_initialization_options())


class _Pending:
    """What was asked and is not answered yet."""

    def __init__(self) -> None:
        self._asked: set[RequestId] = set()
        self._changed = anyio.Event()

    def note(self, message: SessionMessage | Exception) -> None:
        """Take note of a message, from either side."""
        said = None if isinstance(message, Exception) else message.message
        if isinstance(said, JSONRPCRequest):
            self._asked.add(said.id)
        elif isinstance(said, JSONRPCResponse | JSONRPCError) and said.id is not None:
            self._asked.discard(said.id)
        elif isinstance(said, JSONRPCNotification) and said.method == "notifications/cancelled":
            # what nobody waits for is not answered
            self._asked.discard((said.params or {}).get("requestId", ""))
        self._changed.set()

    async def all_answered(self) -> None:
        """Return when nothing waits for an answer."""
        while self._asked:
            self._changed = anyio.Event()
            await self._changed.wait()


def _leave(number: int, frame: object) -> None:
    # a thread of the SDK waits for the next line of standard input, and Python would wait for it;
    # no call leaves anything half done: what it writes, it writes in one transaction
    os._exit(128 + number)
