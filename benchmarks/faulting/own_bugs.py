"""Bugs of our own: an exception thrown by each function that meters, prices, asks a budget or
writes the ledger, one after the other, while a conversation is held.

Nothing of it may reach the conversation; it is logged with what to report; and what was used is
recorded right, or its row says that it is not.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from livekit.agents.utils import http_context

import livekit_plugins_voicegateway as package
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.bugs import FAULT
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

from .experiment import Experiment, Finding
from .injection import Injection, Target, When, calls, functions, injected
from .watched_calls import CLIP, Course, chat, gateway_on, recognize, speak, transcribe

__all__ = ["Outcome", "experiments", "held", "stage", "targets", "try_all"]

CONFIG = """
projects:
  prod: {daily_budget: 1000, budget_action: block}
cost_tracking: {on_ledger_failure: allow}
"""

OURS = ("metering", "pricing", "ledger", "budgets", "admission", "leases", "telemetry", "days")
"""Modules and packages all functions of which are tried."""

OF_THE_CALL = {
    "gateway": ("request", "track", "trace", "reject", "price", "_job", "_wake_"),
    "turns": ("speech_id",),
    "accounts": ("Delegate.cost", "_budgeted", "_served_by", "_plain"),
    "llm": ("attempt_", "_count", "_expected"),
    "stt": ("_Recognition._new_meter",),
    "stt_stream": (
        "_Connection.attempt",
        "_ask_for",
        "_count_tokens",
        "_forget",
        "_pay_for",
        "_pushed",
        "respecified",
        "uses_keyterms",
    ),
    "tts_stream": ("_Attempts.a", "_Attempts.push", "_Attempts.sent", "_Attempts.traced"),
    "recent_audio": ("RecentAudio.",),
}
"""What else is tried, of modules that serve requests too: names with one of these parts."""


GUARDS = {
    "ledger.sqlite_connection.SqliteConnection.__init__",  # of an open connection: takes it over
    "metering.attempts.may_be_billed",
    "metering.attempts.watch",
    "metering.meter.Meter.close",
    "metering.meter.begin_meter",
}
"""What keeps a bug in another function from the call, or from leaving something open, and does
nothing besides."""


@dataclass
class Outcome:
    """What a bug has done.

    Attributes:
        target: Where it was.
        when: Before or after the function's own work.
        strikes: How often it was thrown.
        differences: What the conversation has noticed of it.
        reported: Whether the log says so, with a traceback and what to do.
        recovered: Whether everything could be written as soon as the bug was gone.
        rows: Of the ledger, when the bug is gone again.
        waiting: Rows that are durable in the outbox, for whoever opens the ledger next.
        wrong: Rows that say less than was used, and do not say that they do.
        missing: Rows that are not there at all.
    """

    target: str
    when: When
    strikes: int = 0
    differences: list[str] = field(default_factory=list)
    reported: bool = False
    recovered: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    waiting: int = 0
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def modules() -> list[ModuleType]:
    """The modules of `OURS`."""
    found = []
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.split(".")[1] in OURS:
            found.append(importlib.import_module(module.name))
    return found


def targets() -> list[Target]:
    """Every function that a bug is put into."""
    found = functions(*modules())
    for name, parts in OF_THE_CALL.items():
        module = importlib.import_module(f"{package.__name__}.{name}")
        found += [t for t in functions(module) if any(part in t.name for part in parts)]
    return [target for target in found if target.name not in GUARDS]


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Sandbox, Path]]:
    """A sandbox, and a folder for the ledgers."""
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox() as sandbox, http_context.open():
            sandbox.deepgram.add_clip(CLIP, "He was not an ill-disposed young man.")
            sandbox.openai.replies = ["Indeed he was not. He was rather cold hearted."]
            yield sandbox, Path(folder)


async def conversation(sandbox: Sandbox) -> list[Course]:
    """A stream, a recognition, completions and syntheses, with failed attempts among them."""
    models: dict[str, Any] = {
        "stt": inference.STT("deepgram/nova-3", project="prod"),
        "llm": inference.LLM("openai/gpt-4.1-mini", project="prod"),
        "tts": inference.TTS("cartesia/sonic-3", project="prod"),
    }
    try:
        courses = [await transcribe(models["stt"]), await recognize(models["stt"])]
        sandbox.openai.faults.append(Fault.cut(4))
        courses += [await chat(models["llm"]), await chat(models["llm"], stop_after=3)]
        sandbox.openai.faults.append(Fault.status(500))
        courses.append(await chat(models["llm"]))
        sandbox.cartesia.faults.append(Fault.error(done=False))
        courses += [await speak(models["tts"]), await speak(models["tts"], whole=True)]
    finally:
        for model in models.values():
            await model.aclose()
        for provider in (sandbox.openai, sandbox.cartesia):
            provider.faults.clear()
    return courses


async def held(
    sandbox: Sandbox, folder: Path, target: Target | None = None, when: When = "before"
) -> tuple[list[Course], Outcome]:
    """Hold a conversation, with a bug or without, and read its rows."""
    outcome = Outcome(target.name if target is not None else "", when)
    folder = Path(tempfile.mkdtemp(dir=folder))
    with recorded_log() as log:
        async with gateway_on(sandbox, folder, CONFIG) as gateway:
            with _maybe(target, when) as injection:
                courses = await conversation(sandbox)
                await sandbox.settled()
                await gateway._flush_at_shutdown()  # as a job does at its end
            outcome.recovered = await gateway.flush(10)
        outcome.rows, outcome.waiting = _rows(folder), _waiting(folder)
    if injection is not None:
        outcome.strikes = injection.strikes
        outcome.reported = any(
            record.exc_info is not None
            and "report" in record.getMessage()
            and _is_behind(injection, record.exc_info[1])
            for record in log
        )
    return courses, outcome


async def try_all(
    sandbox: Sandbox, folder: Path, whens: Sequence[When], *, every: int = 1
) -> list[Outcome]:
    """Hold the conversation once with a bug in each function that takes part in it.

    Args:
        sandbox: The providers.
        folder: For ledgers.
        whens: Where in each function.
        every: Only each so-many-th function.
    """
    known = targets()
    with calls() as called:
        expected, undisturbed = await held(sandbox, folder)
    outcomes = []
    for target in [t for t in known if t.function.__code__ in called][::every]:
        for when in whens:
            courses, outcome = await held(sandbox, folder, target, when)
            outcome.differences = _differences(courses, expected)
            _compare_rows(outcome, undisturbed.rows)
            outcomes.append(outcome)
    return outcomes


@contextmanager
def recorded_log() -> Iterator[list[logging.LogRecord]]:
    """What the gateway logs meanwhile."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    from livekit_plugins_voicegateway.log import logger

    handler = Keep(logging.DEBUG)
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logger.addHandler(handler)
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.setLevel(level)
        logger.propagate = propagates
        logger.removeHandler(handler)
        logging.disable(disabled)


@contextmanager
def _maybe(target: Target | None, when: When) -> Iterator[Injection | None]:
    if target is None:
        yield None
    else:
        with injected(target, when) as injection:
            yield injection


def _is_behind(injection: Injection, error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, injection.error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _rows(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{folder}/voicegw.db?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM usage ORDER BY started_at")]


def _waiting(folder: Path) -> int:
    found = 0
    for path in (folder / "outbox").glob("*.db"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found += connection.execute("SELECT count(*) FROM waiting").fetchone()[0]
    return found


def _differences(courses: list[Course], expected: list[Course]) -> list[str]:
    found = []
    for number, (seen, wanted) in enumerate(zip(courses, expected, strict=True)):
        for name in ("results", "errors", "metrics"):
            if getattr(seen, name) != getattr(wanted, name):
                found.append(f"{name} of request {number}: {getattr(seen, name)!r:.300}")
    return found


COUNTED = ("audio_seconds", "input_tokens", "output_tokens", "characters", "cost_nanos", "status")


def _compare_rows(outcome: Outcome, undisturbed: list[dict[str, Any]]) -> None:
    """Rows come in the order of the requests; each is right, marked or missing."""
    left, others = list(undisturbed), []
    for row in outcome.rows:
        same = next((r for r in left if _same(row, r)), None)
        if same is not None:
            left.remove(same)
        else:
            others.append(row)
    for row in others:
        likest = next((r for r in left if r["modality"] == row["modality"]), None)
        if likest is not None:
            left.remove(likest)
        marked = (row["error"] or "").startswith(FAULT) and row["estimated"]
        if not marked or row["status"] == "open":
            values = {name: row[name] for name in (*COUNTED, "error", "estimated")}
            outcome.wrong.append(f"{row['modality']} {values}")
    outcome.missing = [f"{r['modality']} {r['status']}" for r in left][outcome.waiting :]


def _same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    if row["modality"] != other["modality"]:
        return False
    for name in COUNTED:
        if name == "cost_nanos" and row["estimated"]:
            continue
        if row["modality"] == "stt" and name in ("audio_seconds", "cost_nanos"):
            continue  # how much was sent when it hung up is never twice the same
        if row["estimated"] and name in ("input_tokens", "output_tokens"):
            continue
        if row[name] != other[name]:
            return False
    return (row["cost_nanos"] is None) == (other["cost_nanos"] is None)


async def _run(quick: bool) -> list[Finding]:
    async with stage() as (sandbox, folder):
        outcomes = await try_all(
            sandbox, folder, ("before",) if quick else ("before", "after"), every=12 if quick else 1
        )
    struck = [outcome for outcome in outcomes if outcome.strikes]
    noticed = sum(bool(outcome.differences) for outcome in struck)
    missing = sum(len(outcome.missing) for outcome in struck)
    wrong = sum(len(outcome.wrong) for outcome in struck)
    marked = sum(
        (row["error"] or "").startswith(FAULT) for outcome in struck for row in outcome.rows
    )
    return [
        Finding(
            fault="an exception thrown by each function that meters, prices, asks a budget or "
            "writes the ledger, one after the other, at every call of it",
            tries=len(struck),
            lost=f"{missing} rows of {sum(len(o.rows) for o in struck) + missing}",
            twice="nothing",
            note=f"noticed by {noticed} of {len(struck)} conversations; in the log of "
            f"{sum(outcome.reported for outcome in struck)}; {marked} rows marked, {wrong} wrong "
            "and not marked",
        )
    ]


def experiments() -> list[Experiment]:
    """What this module tries."""
    return [Experiment("own-bugs", _run)]
