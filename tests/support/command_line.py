"""The command line for tests: a configuration, a ledger with known rows, and what a command did."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.ledger import make_ledger, open_ledger
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.reports import Reports

from .usage_rows import usage_row

COMMAND = Path(sys.executable).with_name("voicegw")

CONFIG = """\
default_project: prod
timezone: {zone}
database: {{url: "sqlite:///voicegw.db"}}
projects:
  prod:
    name: Production
    description: Customer-facing voice agents
    daily_budget: 50.00
    budget_action: throttle
    tags: [production]
    providers:
      openai: {{}}
    pricing:
      openai/gpt-4.1-mini: {{input: 0.35, cached_input: 0.09, output: 1.40, per: 1000000}}
  staging:
    name: Staging
    daily_budget: 10
    tags: [staging]
  dev:
    daily_budget: 2
    budget_action: block
    tags: [development]
  lab: {{}}
"""


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines of the output, runs of spaces as one."""
        return [" ".join(line.split()) for line in self.out.splitlines()]

    def line(self, text: str) -> str:
        """The one line of the output that has ``text`` in it, runs of spaces as one."""
        (line,) = (line for line in self.lines if text in line)
        return line


Run = Callable[..., Result]


def zone_of_noon() -> str:
    """A time zone in which it is about noon, so that no midnight falls into a test."""
    offset = 12 - datetime.now(UTC).hour
    return "Etc/GMT" if offset == 0 else f"Etc/GMT{-offset:+d}"


class Book:
    """Writes rows to a ledger: that of the configuration in the working directory, by default."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or load_config()
        self.now = time.time()

    def row(self, *, ago: float = 60.0, **changes: Any) -> UsageRow:
        """Make a row of a request that began some seconds ago."""
        began = self.now - ago
        changes = {"ended_at": began + 1.5, **changes}
        if changes.get("status") == "open":
            changes["ended_at"] = None
        return usage_row(started_at=began, day=self.config.days.day_of(began), **changes)

    def stt(self, **changes: Any) -> UsageRow:
        """Make a row of 90 seconds of transcription for $0.0072."""
        values: dict[str, Any] = {
            "modality": "stt",
            "provider": "deepgram",
            "model": "nova-3",
            "requested_model": "deepgram/nova-3",
            "audio_seconds": 90.0,
            "connection_seconds": 90.0,
            "input_tokens": 0,
            "cached_input_tokens": 0,
            "output_tokens": 0,
            "cost_nanos": 7_200_000,
            "price": "catalogue deepgram/nova-3 0.0048/minute",
        }
        return self.row(**{**values, **changes})

    def tts(self, **changes: Any) -> UsageRow:
        """Make a row of 180 characters spoken for $0.0081."""
        values: dict[str, Any] = {
            "modality": "tts",
            "provider": "cartesia",
            "model": "sonic-3",
            "requested_model": "cartesia/sonic-3",
            "audio_seconds": 11.2,
            "characters": 180,
            "input_tokens": 0,
            "cached_input_tokens": 0,
            "output_tokens": 0,
            "cost_nanos": 8_100_000,
            "price": "catalogue cartesia/sonic-3",
        }
        return self.row(**{**values, **changes})

    def write(self, *rows: UsageRow) -> None:
        async def write() -> None:
            ledger = await open_ledger(self.config.database_url)
            try:
                await ledger.write(rows)
            finally:
                await ledger.close()

        asyncio.run(write())


def reported(book: Book, question: str, *arguments: Any) -> Any:
    """What `Reports` itself answers."""

    async def ask() -> Any:
        async with make_ledger(book.config.database_url, read_only=True) as ledger:
            return await getattr(Reports(book.config, ledger), question)(*arguments)

    return asyncio.run(ask())
