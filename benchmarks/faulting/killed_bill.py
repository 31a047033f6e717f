"""What a killed job was billed for by the sandbox, beside what the ledger has of it.

`Meter` looks at the sandbox's record all the time, so that it is known afterwards since when the
provider had received or sent what the ledger does not have. `compare` puts the two side by side.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from livekit_plugins_voicegateway.metering.usage import Modality, UsageRow
from livekit_plugins_voicegateway.provider_options import MODALITIES
from livekit_plugins_voicegateway.sandbox import (
    CompletionRecord,
    Sandbox,
    SpeechRecord,
    TranscriptionRecord,
)

from .killed_call import CALLERS, key_of

__all__ = ["Bill", "Billed", "Stream", "compare"]

Billed = TranscriptionRecord | CompletionRecord | SpeechRecord

_LOOK = 0.01
"""Seconds between two looks at the record."""


def billed_quantity(request: Billed) -> float:
    """What a request would be billed for: seconds heard, tokens in and out, characters."""
    if isinstance(request, TranscriptionRecord):
        return request.audio_seconds
    if isinstance(request, CompletionRecord):
        return request.input_tokens + request.output_tokens
    return request.characters


def recorded_quantity(row: UsageRow) -> float:
    """What a row says was used, in the same units."""
    if row.modality == "stt":
        return row.audio_seconds
    if row.modality == "llm":
        return row.input_tokens + row.output_tokens
    return row.characters


@dataclass(frozen=True, slots=True)
class Stream:
    """A request of a job that ended, as the provider and as the ledger have it.

    Attributes:
        modality: What it was.
        billed: See `billed_quantity`; 0 when the provider never saw the request.
        recorded: See `recorded_quantity`; 0 when the ledger never saw it.
        lost_since: Unix time since which the provider had what the ledger does not have; None when
            the ledger has all.
        ended_at: Unix time at which it ended, or the process.
        under_way: Whether it ended because the process did, and not by itself.
        answering: Whether it was under way, and had been answered in part.
    """

    modality: Modality
    billed: float
    recorded: float
    lost_since: float | None
    ended_at: float
    under_way: bool
    answering: bool

    @property
    def lost(self) -> float:
        """What was billed and is not recorded."""
        return max(0.0, self.billed - self.recorded)

    @property
    def ahead(self) -> float:
        """What is recorded and was not billed: it had left the gateway, and was on its way."""
        return max(0.0, self.recorded - self.billed)

    @property
    def seconds_lost(self) -> float:
        """For how long before the end nothing of it was recorded that lasted."""
        return 0.0 if self.lost_since is None else max(0.0, self.ended_at - self.lost_since)


@dataclass(slots=True)
class _History:
    request: Billed
    steps: list[tuple[float, float]] = field(default_factory=list)


class Bill:
    """Watches the sandbox's record from beginning to end of the ``async with`` block.

    Args:
        sandbox: The providers.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known = [0, 0, 0]
        self._running: list[_History] = []
        self._histories: dict[str, list[_History]] = defaultdict(list)
        self._looked_at: list[float] = []
        self._new_key = asyncio.Event()
        self._look_again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bill:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def begun(self, room: str) -> None:
        """Wait until a provider has seen something of the job in ``room``."""
        keys = {key_of(room, caller) for caller in CALLERS}
        while not keys & self._histories.keys():
            await self._new_key.wait()

    async def looked(self) -> None:
        """Wait until the record has been looked at once more."""
        self._look_again = asyncio.Event()
        await self._look_again.wait()

    def stood_still(self, until: float, *, during: float = 2.0) -> float:
        """For how long this process got no turn in the seconds before, which no promise covers.

        Args:
            until: Unix time.
            during: Seconds before it.
        """
        looks = [at for at in self._looked_at if until - during <= at <= until + 0.1]
        pauses = [after - before for before, after in itertools.pairwise(looks)]
        return max(0.0, max(pauses, default=0.0) - 2 * _LOOK)

    def of(self, room: str, caller: str, modality: Modality) -> list[_History]:
        """The requests of a caller, in the order in which they began."""
        wanted = {"stt": TranscriptionRecord, "llm": CompletionRecord, "tts": SpeechRecord}
        return sorted(
            (
                history
                for history in self._histories[key_of(room, caller)]
                if isinstance(history.request, wanted[modality])
            ),
            key=lambda history: history.request.started_at,
        )

    def forget(self, room: str) -> None:
        """Its job has been reckoned up."""
        for caller in CALLERS:
            self._histories.pop(key_of(room, caller), None)

    async def _watch(self) -> None:
        before = time.time()
        while True:
            self._look(before)
            self._look_again.set()
            before = time.time()
            self._looked_at.append(before)
            if len(self._looked_at) > 100_000:
                del self._looked_at[:50_000]
            await asyncio.sleep(_LOOK)

    def _look(self, before: float) -> None:
        records: tuple[Sequence[Billed], ...] = (
            self._sandbox.deepgram.record.requests,
            self._sandbox.openai.record.requests,
            self._sandbox.cartesia.record.requests,
        )
        for index, requests in enumerate(records):
            for request in requests[self._known[index] :]:
                history = _History(request)
                self._running.append(history)
                self._histories[request.key].append(history)
                self._new_key.set()
                self._new_key = asyncio.Event()
            self._known[index] = len(requests)
        still = []
        for history in self._running:
            ended = history.request.ended_at is not None
            quantity = billed_quantity(history.request)
            if not history.steps or history.steps[-1][1] != quantity:
                history.steps.append((max(before, history.request.started_at), quantity))
            if not ended:
                still.append(history)
        self._running = still


def compare(bill: Bill, room: str, rows: Iterable[UsageRow], *, at: float) -> list[Stream]:
    """Put what was billed and what is recorded of a job side by side.

    Args:
        bill: What the providers saw.
        room: The job's.
        rows: The ledger's rows of that room.
        at: When the process ended, Unix time.
    """
    streams = []
    kept: dict[tuple[str, Modality], list[UsageRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.started_at):
        kept[row.project, row.modality].append(row)
    for caller in CALLERS:
        for modality in MODALITIES:
            histories = bill.of(room, caller, modality)
            mine = kept[caller, modality]
            for number in range(max(len(histories), len(mine))):
                history = histories[number] if number < len(histories) else None
                recorded = recorded_quantity(mine[number]) if number < len(mine) else 0.0
                streams.append(_stream(modality, history, recorded, at))
    return streams


def _stream(modality: Modality, history: _History | None, recorded: float, at: float) -> Stream:
    if history is None:
        return Stream(modality, 0.0, recorded, None, at, under_way=True, answering=False)
    request = history.request
    billed = billed_quantity(request)
    under_way = request.ending != "completed" or request.ended_at is None or request.ended_at >= at
    if isinstance(request, CompletionRecord):
        answered = request.output_tokens > 0
    else:
        answered = request.audio_seconds > 0
    return Stream(
        modality,
        billed,
        recorded,
        next((when for when, quantity in history.steps if quantity > recorded + 1e-6), None),
        min(at, request.ended_at or at),
        under_way,
        under_way and answered,
    )
