"""The reckoning at the end of the demo: what each turn cost, and recorded against billed.

Costs come from the ledger. What the providers would bill comes from the sandbox's own record, which
knows nothing of the gateway.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..metering.usage import Modality, UsageRow
from ..sandbox import CompletionRecord, Record, Sandbox, SpeechRecord, TranscriptionRecord
from ..sandbox.record import RequestRecord
from .call import CallResult
from .script import Conversation
from .stage import key_of

__all__ = [
    "Comparison",
    "TurnCost",
    "add",
    "compare",
    "faults_of_call",
    "faults_of_spending",
    "turn_costs",
    "word_error_rate",
]

AUDIO_TOLERANCE = 0.01
ESTIMATE_TOLERANCE = 0.20
LOCAL_WORD_ERRORS = 0.34
"""Part of the words that a small local model may hear wrong: a third of a short sentence."""

R = TypeVar("R", bound=RequestRecord)


@dataclass(frozen=True, slots=True)
class TurnCost:
    """What one turn cost.

    Attributes:
        words: What the caller said; empty for the greeting.
        speech_id: LiveKit's name for the answer; None when there was none.
        nanos: Nano-dollars by modality, for those that were used; None where a price is unknown.
            An STT stream hears the whole call, so each turn has its share by time.
    """

    words: str
    speech_id: str | None
    nanos: dict[Modality, int | None]


def turn_costs(call: CallResult, rows: Sequence[UsageRow]) -> list[TurnCost]:
    """Give each request of a call to the turn in which it began.

    Args:
        call: The call.
        rows: All its requests.

    Returns:
        The greeting first, then the turns; together they cost what the rows cost.
    """
    begins = [0.0, *(turn.began_at for turn in call.turns)]
    ends = [*begins[1:], call.duration]
    names = [("", _speech_of_greeting(call)), *((t.turn.text, t.speech_id) for t in call.turns)]

    def share(row: UsageRow, turn: int) -> int | None:
        if row.cost_nanos is None:
            return None
        until_end = round(row.cost_nanos * ends[turn] / call.duration)
        return until_end - round(row.cost_nanos * begins[turn] / call.duration)

    def is_of(row: UsageRow, turn: int) -> bool:
        return max(0, bisect_right(begins, row.started_at - call.started_at) - 1) == turn

    costs = []
    for turn, (words, speech_id) in enumerate(names):
        amounts: dict[Modality, list[int | None]] = {}
        for row in rows:
            if row.modality == "stt":
                amounts.setdefault("stt", []).append(share(row, turn))
            elif is_of(row, turn):
                amounts.setdefault(row.modality, []).append(row.cost_nanos)
        nanos = {modality: add(each) for modality, each in amounts.items()}
        costs.append(TurnCost(words, speech_id, nanos))
    return costs


def add(amounts: Iterable[int | None]) -> int | None:
    """Add up nano-dollars; None when one of them is unknown."""
    amounts = list(amounts)
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the ledger says of a provider, and what the provider would bill.

    Attributes:
        provider: Name in the model string.
        quantity: What is counted.
        recorded: Sum over the ledger.
        billed: Sum over the sandbox's record.
        promise: How near they are to be, for people.
        allowed: How far they may be apart, in the unit of the quantity.
    """

    provider: str
    quantity: str
    recorded: float
    billed: float
    promise: str
    allowed: float

    @property
    def kept(self) -> bool:
        """Whether they are as near as promised."""
        return abs(self.recorded - self.billed) <= self.allowed

    @property
    def difference(self) -> float:
        """How much more was recorded than billed, as a part of what was billed."""
        if self.recorded == self.billed:
            return 0.0
        return (self.recorded - self.billed) / self.billed if self.billed else math.inf


def compare(
    rows: Sequence[UsageRow], sandbox: Sandbox, project: str | None = None
) -> list[Comparison]:
    """Compare the ledger with the sandbox's record, for every provider in either of them.

    Args:
        rows: All requests.
        sandbox: The providers.
        project: Only this project's rows, and the requests that were paid with its keys.
    """

    def recorded(provider: str) -> list[UsageRow]:
        own = [row for row in rows if project in (None, row.project)]
        return [row for row in own if row.provider == provider]

    def billed(provider: str, record: Record[R]) -> list[R]:
        if project is None:
            return record.requests
        return [each for each in record.requests if each.key == key_of(project, provider)]

    comparisons = [
        *_audio(recorded("deepgram"), billed("deepgram", sandbox.deepgram.record)),
        *_tokens(recorded("openai"), billed("openai", sandbox.openai.record)),
        *_characters(recorded("cartesia"), billed("cartesia", sandbox.cartesia.record)),
    ]
    return [each for each in comparisons if each.recorded or each.billed]


def _audio(
    rows: Sequence[UsageRow], requests: Sequence[TranscriptionRecord]
) -> Iterator[Comparison]:
    billed = sum(request.audio_seconds for request in requests)
    recorded = sum(row.audio_seconds for row in rows)
    allowed = AUDIO_TOLERANCE * billed
    yield Comparison("deepgram", "seconds of audio", recorded, billed, "within 1 %", allowed)


def _tokens(rows: Sequence[UsageRow], requests: Sequence[CompletionRecord]) -> Iterator[Comparison]:
    known = [row for row in rows if not row.estimated]
    reported = [request for request in requests if request.usage_reported]
    yield Comparison(
        "openai",
        "tokens in, reported",
        sum(row.input_tokens for row in known),
        sum(request.input_tokens for request in reported),
        "equal",
        0,
    )
    yield Comparison(
        "openai",
        "tokens out, reported",
        sum(row.output_tokens for row in known),
        sum(request.output_tokens for request in reported),
        "equal",
        0,
    )
    estimated = sum(row.input_tokens + row.output_tokens for row in rows if row.estimated)
    unreported = sum(r.input_tokens + r.output_tokens for r in requests if not r.usage_reported)
    allowed = ESTIMATE_TOLERANCE * unreported
    yield Comparison("openai", "tokens, estimated", estimated, unreported, "within 20 %", allowed)


def _characters(rows: Sequence[UsageRow], requests: Sequence[SpeechRecord]) -> Iterator[Comparison]:
    sentences = [len(s) for request in requests for s in re.split(r"(?<=[.!?]) ", request.text)]
    yield Comparison(
        "cartesia",
        "characters",
        sum(row.characters for row in rows),
        sum(request.characters for request in requests),
        "within a sentence",
        max(sentences, default=0),
    )


def faults_of_call(conversation: Conversation, call: CallResult) -> list[str]:
    """Return what did not go as the script has it; nothing when the call was held."""
    faults = [f"the session reported: {error!r}" for error in call.errors]
    for number, result in enumerate(call.turns, start=1):
        name = f"{conversation.project}, turn {number}"
        is_local = conversation.is_local or number == conversation.spent_in
        allowed = LOCAL_WORD_ERRORS if is_local else 0.0
        if word_error_rate(result.turn.text, result.transcript) > allowed:
            faults.append(f"{name}: said {result.turn.text!r}, heard {result.transcript!r}")
        if not result.reply:
            faults.append(f"{name}: the agent did not answer")
        if result.turn.barge_in is not None and not call.turns[number - 2].interrupted:
            faults.append(f"{name}: the caller did not interrupt the agent")
    return faults


def faults_of_spending(conversation: Conversation, rows: Sequence[UsageRow]) -> list[str]:
    """Return what did not go as it should when the budget of a conversation was spent.

    Args:
        conversation: The conversation; nothing is wrong with one whose budget was not spent.
        rows: All its requests.
    """
    if conversation.spent_in is None:
        return []
    faults = []
    for modality, asked in zip(("stt", "llm", "tts"), conversation.models, strict=True):
        stood_in = [
            row
            for row in rows
            if row.modality == modality
            and row.requested_model == asked
            and f"{row.provider}/{row.model}" != asked
        ]
        if not stood_in:
            faults.append(f"{conversation.project}: no local model took over from {asked}")
        if any(row.cost_nanos != 0 for row in stood_in):
            faults.append(f"{conversation.project}: a local model is said to have cost something")
        if modality == "tts" and not any(row.audio_seconds for row in stood_in):
            faults.append(f"{conversation.project}: the local voice said nothing")
    return faults


def word_error_rate(said: str, heard: str) -> float:
    """Words to insert, drop or replace until ``heard`` is ``said``, as a part of the words said."""
    reference, found = _words(said), _words(heard)
    row = list(range(len(found) + 1))
    for i, word in enumerate(reference, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(found, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1] / max(1, len(reference))


def _words(text: str) -> list[str]:
    spelled = re.sub(r"\b10\b", "ten", text.lower()).replace("meters", "metres")
    return re.findall(r"[a-z']+", spelled)


def _speech_of_greeting(call: CallResult) -> str | None:
    first = call.turns[0].began_at if call.turns else call.duration
    created = [event for event in call.of("speech_created") if event.at < first]
    return created[0].event.speech_handle.id if created else None
