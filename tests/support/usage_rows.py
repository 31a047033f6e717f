"""Rows of usage for tests, and processes to write them from."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import UsageRow

from .machine import PATIENCE

NOON = 1_800_014_400.0
"""2027-01-15T12:00:00Z."""

DAY = "2027-01-15"

NOBODY = 65534


def usage_row(**changes: Any) -> UsageRow:
    """A completed, priced completion of production on `DAY` at `NOON`, with ``changes``.

    Another ``day`` moves it to the noon of that day.
    """
    noon = NOON
    if changes.get("day"):
        noon = datetime.fromisoformat(f"{changes['day']}T12:00:00Z").timestamp()
    values: dict[str, Any] = {
        "id": uuid7(),
        "request_id": uuid7(),
        "started_at": noon,
        "ended_at": noon + 1.5,
        "day": DAY,
        "project": "prod",
        "modality": "llm",
        "provider": "openai",
        "model": "gpt-4.1-mini",
        "requested_model": "openai/gpt-4.1-mini",
        "status": "completed",
        "input_tokens": 246,
        "cached_input_tokens": 40,
        "output_tokens": 49,
        "cost_nanos": 176_800,
        "price": "catalogue openai/gpt-4.1-mini",
        "ttfb_ms": 310.5,
        "duration_ms": 1500.0,
        **changes,
    }
    if values["status"] == "open" and "ended_at" not in changes:
        values["ended_at"] = None
    return UsageRow(**values)


def start_process(
    work: Callable[..., Awaitable[object]], *arguments: object, user: int | None = None
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """Run a coroutine function in a process of its own.

    Returns:
        The process, and where its result or its exception's text will come from.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def run() -> None:
        if user is not None and os.getuid() == 0:
            os.setgid(user)
            os.setuid(user)
        try:
            result = asyncio.run(work(*arguments))
        except Exception as e:
            result = f"{type(e).__name__}: {e}"
        there.send(result)

    process = context.Process(target=run)
    process.start()
    there.close()
    return process, here


def in_process(
    work: Callable[..., Awaitable[object]], *arguments: object, user: int | None = None
) -> object:
    """Run a coroutine function in a process of its own, and return what it returns."""
    process, results = start_process(work, *arguments, user=user)
    answered = results.poll(PATIENCE)
    if not answered:
        process.kill()
    process.join()
    assert answered, "the process never answered"
    return results.recv()
