"""Receipts of calls: what one call used, what it cost, how fast it was, and its turns.

`Reports.calls` and `Reports.call` hand in what the ledger knows of some rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from .answers import (
    CallLatencyEntry,
    CallReceipt,
    TotalsEntry,
    TurnEntry,
    dollars,
    totals_entry,
)
from .ledger.base import CallLatency, CallLine, Totals, TurnLine
from .times import to_iso

__all__ = ["call_receipts", "turn_entries"]

K = TypeVar("K")


def call_receipts(
    rooms: Sequence[str], lines: Iterable[CallLine], latencies: Iterable[CallLatency]
) -> list[CallReceipt]:
    """Make the receipts of some calls.

    Args:
        rooms: The calls, in the order wanted; one without a request is left out.
        lines: What was used in them.
        latencies: How long they waited for first results.
    """
    lines_of: dict[str, list[CallLine]] = {room: [] for room in rooms}
    for line in lines:
        lines_of.setdefault(line.room, []).append(line)
    latencies_of: dict[str, list[CallLatency]] = {room: [] for room in rooms}
    for latency in latencies:
        latencies_of.setdefault(latency.room, []).append(latency)
    return [_receipt(room, lines_of[room], latencies_of[room]) for room in rooms if lines_of[room]]


def turn_entries(lines: Iterable[TurnLine]) -> list[TurnEntry]:
    """Put the modalities of each turn together, in the order in which the turns began."""
    turns: dict[str, list[TurnLine]] = {}
    for line in lines:
        turns.setdefault(line.speech_id, []).append(line)
    return [_turn(speech_id, parts) for speech_id, parts in turns.items()]


def _receipt(room: str, lines: list[CallLine], latencies: list[CallLatency]) -> CallReceipt:
    by_modality = _added_up(lines, lambda line: line.modality)
    by_model = _added_up(lines, lambda line: (line.modality, line.provider, line.model))
    return {
        "room": room,
        "projects": sorted({line.project for line in lines}),
        "started_at": to_iso(min(line.started_at for line in lines)),
        "ended_at": _latest(line.ended_at for line in lines),
        **_shown(lines),
        "by_modality": [
            {"modality": modality, **totals_entry(totals)} for modality, totals in by_modality
        ],
        "by_model": [
            {"modality": modality, "provider": provider, "model": model, **totals_entry(totals)}
            for (modality, provider, model), totals in by_model
        ],
        "latency": [_latency(latency) for latency in latencies],
    }


def _added_up(lines: Iterable[CallLine], key: Callable[[CallLine], K]) -> list[tuple[K, Totals]]:
    groups: dict[K, Totals] = {}
    for line in lines:
        name = key(line)
        groups[name] = groups.get(name, Totals()) + line.totals
    return sorted(groups.items(), key=lambda group: (-(group[1].cost_nanos or 0), str(group[0])))


def _shown(lines: Iterable[CallLine]) -> TotalsEntry:
    return totals_entry(sum((line.totals for line in lines), Totals()))


def _latency(latency: CallLatency) -> CallLatencyEntry:
    return {
        "modality": latency.modality,
        "requests": latency.requests,
        "median_ttfb_ms": round(latency.median_ms, 3),
        "max_ttfb_ms": latency.max_ms,
    }


def _turn(speech_id: str, parts: list[TurnLine]) -> TurnEntry:
    costs = [part.cost_nanos for part in parts if part.cost_nanos is not None]
    ttfb = {part.modality: part.ttfb_ms for part in parts}
    return {
        "speech_id": speech_id,
        "started_at": to_iso(min(part.started_at for part in parts)),
        "ended_at": _latest(part.ended_at for part in parts),
        "requests": sum(part.requests for part in parts),
        "cancelled": sum(part.cancelled for part in parts),
        "cost": dollars(sum(costs)) if costs else None,
        "unpriced_requests": sum(part.unpriced_requests for part in parts),
        "input_tokens": sum(part.input_tokens for part in parts),
        "output_tokens": sum(part.output_tokens for part in parts),
        "characters": sum(part.characters for part in parts),
        "llm_ttfb_ms": ttfb.get("llm"),
        "tts_ttfb_ms": ttfb.get("tts"),
    }


def _latest(moments: Iterable[float | None]) -> str | None:
    """The last of the moments, or None when one of them has not come yet."""
    known = []
    for moment in moments:
        if moment is None:
            return None
        known.append(moment)
    return to_iso(max(known))
