"""Faults of the database: locked, full, read-only, deleted, replaced, damaged, of another version.

Each is done to the ledger of a gateway while calls go on, and ends again. Afterwards the ledger is
compared with what the providers would bill. How each is made stands in `faulting.database_faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.outbox import Outbox, outbox_file
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger

from .database_faults import FAULTS, OTHER, CannotBeMade, Fault
from .experiment import Experiment, Finding
from .opened_at_once import open_at_once
from .power_cut import cut_power
from .steady_calls import (
    PATIENCE,
    Bill,
    Pulse,
    SteadyCalls,
    bill_of,
    emptied,
    gateway_in,
    providers,
)
from .survivors import leave_usage

__all__ = ["QUICK_SECONDS", "Outcome", "experiments", "finding", "strike"]

SECONDS: Final = 10.0
"""Seconds that a fault lasts when it says nothing else, and that the loop is measured before."""

QUICK_SECONDS: Final = 2.0
"""The same in the short form."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the calls, and of their usage.

    Attributes:
        fault: What was done.
        during: Requests that ended while it lasted.
        failures: What calls raised.
        billed: What the providers would bill.
        recorded: What is in the ledger, or was in it when it was taken away.
        mismatches: Lines of totals that are not the sum of their requests.
        waiting: Rows that were in the outbox when the fault ended.
        calm_ms: Longest turn of the event loop without the fault.
        longest_ms: Longest turn of the event loop during it.
        files: Names of the files in the ledger's folder afterwards.
    """

    fault: Fault
    during: int
    failures: Sequence[BaseException]
    billed: Bill
    recorded: Bill
    mismatches: int
    waiting: int
    calm_ms: float
    longest_ms: float
    files: Sequence[str]


async def strike(fault: Fault, seconds: float) -> Outcome:
    """Do something to the ledger of calls that go on.

    Args:
        fault: What.
        seconds: How long it lasts.

    Raises:
        CannotBeMade: It cannot be done here.
    """
    calm, troubled = Pulse(), Pulse()
    with (
        tempfile.TemporaryDirectory() as name,
        _place(Path(name, "ledger"), on_small_disk=fault.on_small_disk) as place,
    ):
        folder, path = Path(name), place / "voicegw.db"
        with contextlib.ExitStack() as stack:
            if fault.at_first:
                gone = await asyncio.to_thread(stack.enter_context, fault.make(path))
            async with (
                providers() as sandbox,
                gateway_in(folder, sandbox.urls, path) as gateway,
            ):
                box = Outbox(outbox_file(folder / "outbox", gateway.config.database_url))
                async with SteadyCalls() as calls:
                    if not fault.at_first:
                        await calls.more(2)
                        async with calm:
                            await asyncio.sleep(min(seconds, SECONDS))
                        gone = await asyncio.to_thread(stack.enter_context, fault.make(path))
                    before = calls.ended.total()
                    async with troubled:
                        await asyncio.sleep(seconds)
                        await calls.more()
                    during, waiting = calls.ended.total() - before, box.count()
                    await asyncio.to_thread(stack.close)
                    await calls.more(2)
                    if fault.at_first:
                        async with calm:
                            await asyncio.sleep(min(seconds, SECONDS))
                assert await gateway.flush(PATIENCE), "usage is not durable"
                await emptied(box)
                billed = await sandbox.bill()
        async with SqliteLedger(path, read_only=True) as reader:
            rows = await reader.rows(RowFilter(), limit=1_000_000)
            check = await reader.check_totals()
        known = {row.id for row in rows}
        rows += [row for row in gone if row.id not in known]
        return Outcome(
            fault=fault,
            during=during,
            failures=calls.failures,
            billed=replace(billed, requests=dict(sorted(calls.ended.items()))),
            recorded=bill_of([row for row in rows if row.project != OTHER]),
            mismatches=len(check.mismatches),
            waiting=waiting,
            calm_ms=calm.longest_ms,
            longest_ms=troubled.longest_ms,
            files=sorted(file.name for file in place.iterdir()),
        )


@contextlib.contextmanager
def _place(folder: Path, *, on_small_disk: bool) -> Iterator[Path]:
    """A folder for the ledger; if it is wanted, on a disk of its own with few megabytes."""
    folder.mkdir()
    if not on_small_disk:
        yield folder
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise CannotBeMade(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def finding(outcomes: Sequence[Outcome]) -> Finding:
    """The line of the table for a fault that was made once or more."""
    lost = sum(_missing(outcome.billed, outcome.recorded) for outcome in outcomes)
    twice = sum(_missing(outcome.recorded, outcome.billed) for outcome in outcomes)
    failures = sum(len(outcome.failures) for outcome in outcomes)
    mismatches = sum(outcome.mismatches for outcome in outcomes)
    requests = sum(outcome.during for outcome in outcomes)
    notes = [f"{requests} requests meanwhile, {failures} failed"]
    if any(outcome.waiting for outcome in outcomes):
        notes.append(f"up to {max(outcome.waiting for outcome in outcomes)} rows in the outbox")
    if lost or twice:
        notes += [f"billed {outcome.billed}, recorded {outcome.recorded}" for outcome in outcomes]
    if mismatches:
        notes.append(f"{mismatches} totals differ from their requests")
    return Finding(
        outcomes[0].fault.words,
        len(outcomes),
        f"{lost} requests" if lost else "nothing",
        f"{twice} requests" if twice else "nothing",
        max(outcome.longest_ms - outcome.calm_ms for outcome in outcomes),
        "; ".join(notes),
    )


def _missing(whole: Bill, part: Bill) -> int:
    """How many requests, at least one if anything else, are in the one and not in the other."""
    requests = sum(
        max(0, count - part.requests.get(modality, 0)) for modality, count in whole.requests.items()
    )
    more = (
        whole.audio_seconds > part.audio_seconds + 0.005
        or whole.tokens > part.tokens
        or whole.characters > part.characters
    )
    return max(requests, int(more))


def experiments() -> list[Experiment]:
    """Every fault of the database."""
    names = list(dict.fromkeys(fault.name for fault in FAULTS))
    return [
        *(Experiment(name, partial(_run, name)) for name in names),
        Experiment("database-power-cut", _cut_power),
        Experiment("database-opened-at-once", _open_at_once),
        Experiment("database-outbox-survives", _survive),
    ]


async def _run(name: str, quick: bool) -> list[Finding]:
    outcomes: dict[str, list[Outcome]] = {}
    skipped = []
    for fault in FAULTS:
        if fault.name == name:
            try:
                outcome = await strike(fault, QUICK_SECONDS if quick else fault.seconds)
                outcomes.setdefault(fault.words, []).append(outcome)
            except CannotBeMade as e:
                skipped.append(Finding(fault.words, 0, "–", "–", note=f"not made: {e}"))
    return [finding(of_one) for of_one in outcomes.values()] + skipped


async def _cut_power(quick: bool) -> list[Finding]:
    tries = 10 if quick else 300
    lost = await asyncio.to_thread(cut_power, tries)
    return [
        Finding(
            "power cut while rows are written: what had not been synced is torn",
            tries,
            f"{lost} rows" if lost else "nothing that was reported as written",
        )
    ]


async def _open_at_once(quick: bool) -> list[Finding]:
    count = 16 if quick else 64
    missing = await open_at_once(count)
    return [
        Finding(
            f"{count} processes open a new file at once, and write",
            count,
            f"{missing} rows" if missing else "nothing",
        )
    ]


async def _survive(quick: bool) -> list[Finding]:
    tries = 1 if quick else 10
    lost = twice = 0
    for _ in range(tries):
        billed, recorded = await leave_usage()
        lost += _missing(billed, recorded)
        twice += _missing(recorded, billed)
    return [
        Finding(
            "a process is killed while its usage waits in the outbox for a locked file",
            tries,
            f"{lost} requests" if lost else "nothing",
            f"{twice} requests" if twice else "nothing",
        )
    ]
