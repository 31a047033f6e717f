"""Starts processes that hold calls at once, and reckons up what they used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .calls import Report

__all__ = ["Sums", "bill", "config_for", "hold", "ledger_sums", "percentile", "provider"]

REPLY = "The next train to Leeds leaves at nine minutes past noon, from platform two."

CONFIG = """
database: {{url: 'sqlite:///{folder}/voicegw.db', outbox: '{folder}'}}
default_project: prod
projects: {{prod: {{daily_budget: 1000000}}}}
providers:
  deepgram: {{api_key: any, stt: {{base_url: '{deepgram}'}}}}
  openai: {{api_key: any, llm: {{base_url: '{openai}'}}}}
  cartesia: {{api_key: any, tts: {{base_url: '{cartesia}'}}}}
"""


@dataclass(frozen=True, slots=True)
class Sums:
    """What was used: billed by the providers, or recorded in a ledger.

    Attributes:
        streams: STT streams.
        audio_seconds: Seconds that they heard.
        completions: Completions.
        input_tokens: Their prompts.
        output_tokens: Their answers.
        characters: Characters spoken.
    """

    streams: int
    audio_seconds: float
    completions: int
    input_tokens: int
    output_tokens: int
    characters: int


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[dict[str, str]]:
    """The sandbox; its addresses by name.

    It stands there twice, each in a process of its own, so that answers do not wait for hearing.
    """
    async with _sandbox() as hearing, _sandbox() as answering:
        yield {**answering, "deepgram": hearing["deepgram"], "heard": hearing["record"]}


@contextlib.asynccontextmanager
async def _sandbox() -> AsyncIterator[dict[str, str]]:
    sandbox = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livekit_plugins_voicegateway.sandbox", "--reply", REPLY),
        stdout=subprocess.PIPE,
    )
    assert sandbox.stdout is not None
    try:
        yield json.loads(await sandbox.stdout.readline())
    finally:
        sandbox.terminate()
        await sandbox.wait()


def config_for(folder: Path, urls: dict[str, str]) -> Path:
    """A voicegw.yaml that leads to the sandbox, with its ledger and its outbox beside it."""
    path = folder / "voicegw.yaml"
    path.write_text(CONFIG.format(folder=folder, **urls))
    return path


async def hold(
    urls: dict[str, str],
    *,
    processes: int,
    calls: int,
    seconds: float,
    every: float = 5.0,
    warm_up: float = 0.0,
    config: Path | None = None,
) -> list[Report]:
    """Hold calls in processes of their own.

    Args:
        urls: Where the sandbox is.
        processes: How many.
        calls: Calls at once in each.
        seconds: How long.
        every: Seconds between two turns of a call.
        warm_up: Seconds before that are not reported.
        config: A voicegw.yaml, to go through the gateway; None for the plugins used directly.

    Raises:
        RuntimeError: A process failed; with what it wrote.
    """
    command = [sys.executable, "-m", "crowd.calls", "--urls", json.dumps(urls)]
    command += ["--calls", str(calls), "--seconds", str(seconds), "--every", str(every)]
    command += ["--warm-up", str(warm_up)]
    command += ["--config", str(config)] if config is not None else []
    folder = Path(__file__).parents[1]

    async def one() -> Report:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(err.decode()[-4000:])
        return Report(**json.loads(out.decode().splitlines()[-1]))

    return list(await asyncio.gather(*(one() for _ in range(processes))))


def bill(urls: dict[str, str]) -> Sums:
    """What the providers would bill, errors left out."""
    heard = _record(urls["heard"])["deepgram"]
    record = _record(urls["record"])
    asked, spoken = record["openai"], record["cartesia"]
    return Sums(
        len(heard["requests"]),
        round(heard["totals"]["audio_seconds"], 3),
        len(asked["requests"]),
        asked["totals"]["input_tokens"],
        asked["totals"]["output_tokens"],
        spoken["totals"]["characters"],
    )


def _record(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url) as answer:
        record: dict[str, Any] = json.load(answer)
    return record


def ledger_sums(folder: Path) -> tuple[Sums, int]:
    """What the ledger has, and how many rows are still open."""
    with closing(sqlite3.connect(folder / "voicegw.db")) as connection:
        sums = connection.execute(
            "SELECT sum(modality = 'stt'), round(total(audio_seconds) FILTER "
            "(WHERE modality = 'stt'), 3), sum(modality = 'llm'), sum(input_tokens), "
            "sum(output_tokens), sum(characters) FROM usage"
        ).fetchone()
        ((still_open,),) = connection.execute("SELECT count(*) FROM usage WHERE status = 'open'")
    return Sums(*sums), still_open


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them are not above."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]
