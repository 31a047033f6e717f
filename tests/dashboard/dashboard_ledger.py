"""A ledger as some weeks of calls leave it, and the configuration that it belongs to."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.command_line import zone_of_noon
from support.usage_rows import usage_row

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.metering.usage import UsageRow

CONFIG = """\
default_project: prod
timezone: {zone}
database: {{url: "sqlite:///{folder}/voicegw.db"}}
projects:
  prod:
    name: Production
    description: Customer-facing voice agents
    daily_budget: 50.00
    budget_action: throttle
    tags: [production, customer-facing]
    providers:
      openai: {{}}
    pricing:
      openai/gpt-4.1-mini: {{input: 0.35, cached_input: 0.09, output: 1.40, per: 1000000}}
  staging:
    name: Staging
    daily_budget: 4
    tags: [staging]
  dev:
    daily_budget: 0.50
    budget_action: block
    tags: [development]
  lab: {{}}
"""

_HOSTILE_PROJECT = """\
  hostile:
    name: "<script>alert('name')</script>"
    description: "\\"'><img src=x onerror=alert('description')>"
    daily_budget: 1
    tags: ["<b>tag</b>"]
"""

SECRET_KEY = "L0H2mtbQ3WtUmGJqYOcMSwTxE2y7Lw3b0e4r9vXq9iM="
"""Seals provider keys."""

HOSTILE = """"'><img src=x onerror="alert('x')"><script>alert('x')</script>/..?&#"""
"""A text that would do harm in a page that does not escape it."""

_DAY = 86_400
_MODELS = {
    "prod": ("nova-3", "gpt-4.1-mini", "sonic-3", 1.0),
    "staging": ("nova-2", "gpt-4o-mini", "sonic-2", 0.4),
    "dev": ("nova-3", "gpt-4.1-mini", "sonic-3", 0.1),
    "lab": ("nova-3", "gpt-4.1", "sonic-3", 0.2),
}


def write_config(folder: Path, *, hostile: bool = True) -> Path:
    """Write a voicegw.yaml whose ledger lies beside it, in a zone in which it is about noon.

    Args:
        folder: Where.
        hostile: Whether there is a project with texts that would do harm.
    """
    path = folder / "voicegw.yaml"
    text = CONFIG.format(zone=zone_of_noon(), folder=folder)
    path.write_text(text + (_HOSTILE_PROJECT if hostile else ""))
    return path


def fill(path: Path, *, days: int = 16, hostile: bool = True) -> None:
    """Write the ledger of a configuration: calls of some days, and one that is under way."""
    config = load_config(path, env={})
    now = time.time()
    written = [*_of_days(config, now, days), *_under_way(config, now), *_unusual(config, now)]
    add(config, [*written, *_hostile(config, now)] if hostile else written)


def add(config: Config, written: list[UsageRow]) -> None:
    """Write rows to the ledger of a configuration."""
    # on a thread of its own: the browser's driver has an event loop in this one
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, write_rows(config, written)).result()


async def write_rows(config: Config, written: list[UsageRow]) -> None:
    """Write rows to the ledger of a configuration."""
    ledger = await open_ledger(config.database_url)
    try:
        await ledger.write(written)
    finally:
        await ledger.close()


def _of_days(config: Config, now: float, days: int) -> Iterator[UsageRow]:
    """Calls, the same each time but for when they were."""
    chance = random.Random(4)
    for ago in range(days - 1, -1, -1):
        for number in range(6):
            project = chance.choice(["prod", "prod", "prod", "staging", "dev", "lab"])
            if project == "dev" and ago % 3:
                project = "staging"
            began = now - ago * _DAY - 600 - number * 1_100
            room = f"{project}-{ago:02d}{number}"
            yield from _call(config, chance, project, room, began, turns=chance.randint(3, 8))


def _call(
    config: Config, chance: random.Random, project: str, room: str, began: float, *, turns: int
) -> Iterator[UsageRow]:
    stt, llm, tts, part = _MODELS[project]
    at = began
    for turn in range(turns):
        at += chance.uniform(2, 6)
        speech = f"speech_{room}_{turn}"
        interrupted = chance.random() < 0.15
        status = "cancelled" if interrupted else "completed"
        lasts = chance.uniform(0.6, 1.6)
        yield _row(
            config,
            at,
            lasts,
            project=project,
            model=llm,
            requested_model=f"openai/{llm}",
            room=room,
            speech_id=speech,
            status=status,
            estimated=interrupted,
            input_tokens=300 + 90 * turn,
            cached_input_tokens=128 if turn else 0,
            output_tokens=chance.randint(20, 90),
            cost_nanos=int(chance.uniform(1.5e8, 4.5e8) * part),
            price=f"genai-prices openai/{llm} 0.4 in, 0.1 cached, 1.6 out/1M tokens (0.2.3)",
            ttfb_ms=chance.uniform(220, 640),
        )
        speaks = chance.uniform(1.5, 4.5)
        yield _row(
            config,
            at + lasts * 0.6,
            speaks,
            project=project,
            modality="tts",
            provider="cartesia",
            model=tts,
            requested_model=f"cartesia/{tts}",
            room=room,
            speech_id=speech,
            status=status,
            input_tokens=0,
            cached_input_tokens=0,
            output_tokens=0,
            characters=chance.randint(40, 220),
            audio_seconds=round(speaks, 3),
            cost_nanos=int(chance.uniform(2e8, 7e8) * part),
            price=f"catalogue cartesia/{tts} 50/1M characters (2026-08-21)",
            ttfb_ms=chance.uniform(90, 260),
        )
        at += lasts + speaks
    yield _row(
        config,
        began,
        at - began,
        project=project,
        modality="stt",
        provider="deepgram",
        model=stt,
        requested_model=f"deepgram/{stt}",
        room=room,
        input_tokens=0,
        cached_input_tokens=0,
        output_tokens=0,
        audio_seconds=round(at - began, 3),
        connection_seconds=round(at - began, 3),
        cost_nanos=int((at - began) * 8e6 * part),
        price=f"catalogue deepgram/{stt} 0.0048/minute (2026-08)",
        ttfb_ms=1200.0,
    )


def _under_way(config: Config, now: float) -> Iterator[UsageRow]:
    yield _row(
        config,
        now - 42,
        None,
        modality="stt",
        provider="deepgram",
        model="nova-3",
        requested_model="deepgram/nova-3",
        room="prod-live",
        status="open",
        input_tokens=0,
        cached_input_tokens=0,
        output_tokens=0,
        audio_seconds=42.0,
        cost_nanos=3_360_000,
        price="catalogue deepgram/nova-3 0.0048/minute (2026-08)",
        ttfb_ms=None,
    )
    for turn in (1, 2):
        yield _row(config, now - 42 + 8 * turn, 1.2, room="prod-live", speech_id=f"speech_l{turn}")


def _unusual(config: Config, now: float) -> Iterator[UsageRow]:
    unknown = {"provider": "acme", "model": "talker-9", "cost_nanos": None, "price": None}
    for number in range(3):
        yield _row(
            config,
            now - 400 - number,
            0.8,
            project="lab",
            requested_model="acme/talker-9",
            room="lab-unpriced",
            speech_id=f"speech_u{number}",
            **unknown,
        )
    yield _row(
        config,
        now - 300,
        0.2,
        project="dev",
        status="rejected",
        cost_nanos=0,
        price=None,
        ttfb_ms=None,
    )
    yield _row(
        config,
        now - 200,
        10.0,
        project="staging",
        status="failed",
        error="APITimeoutError: Request timed out.",
        output_tokens=0,
        ttfb_ms=None,
    )


def _hostile(config: Config, now: float) -> Iterator[UsageRow]:
    yield _row(
        config,
        now - 100,
        1.0,
        project="hostile",
        provider="acme",
        model=HOSTILE,
        requested_model=f"acme/{HOSTILE}",
        room=HOSTILE,
        speech_id=HOSTILE,
        job_id=HOSTILE,
        error=HOSTILE,
        status="failed",
        cost_nanos=930_000_000,
        price=f"config {HOSTILE}",
    )
    yield _row(config, now - 90, 1.0, project=HOSTILE, room="gone", cost_nanos=20_000_000)
    yield _row(config, now - 80, 1.0, project="former", room="..", cost_nanos=20_000_000)


def _row(config: Config, began: float, lasted: float | None, **changes: Any) -> UsageRow:
    ended = None if lasted is None else began + lasted
    return usage_row(
        started_at=began,
        ended_at=ended,
        day=config.days.day_of(began),
        duration_ms=None if lasted is None else lasted * 1000,
        **changes,
    )
