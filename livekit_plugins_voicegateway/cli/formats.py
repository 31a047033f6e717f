"""Amounts, times and quantities in the words of a person.

Only tables use these; ``--json`` gives numbers as they are. What is not known says so: None is
``unknown`` for money, and never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

__all__ = [
    "UNKNOWN",
    "bar",
    "count",
    "dollars",
    "exact_dollars",
    "latency",
    "local_time",
    "name_of",
    "percent",
    "plural",
    "span",
    "summary",
    "used",
]

UNKNOWN: Final = "unknown"

_SHOWN_DIGITS: Final = 3
_SMALLEST_EXPONENT: Final = -9  # the ledger's unit is the nano-dollar


def dollars(amount: Decimal | float | None) -> str:
    """Return an amount with cents, and with three digits where it is smaller: ``$0.000412``.

    Args:
        amount: Dollars; None for an amount that nobody knows.
    """
    if amount is None:
        return UNKNOWN
    exact = Decimal(str(amount))
    places = 2
    if exact and abs(exact) < 1:
        places = min(-_SMALLEST_EXPONENT, max(2, _SHOWN_DIGITS - 1 - exact.adjusted()))
    rounded = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return _with_sign(f"{abs(rounded):,.{places}f}", rounded, shortest=2)


def exact_dollars(amount: float | None) -> str:
    """Return an amount to the nano-dollar, without needless zeros: ``$0.000111111``."""
    if amount is None:
        return UNKNOWN
    exact = Decimal(str(amount)).quantize(Decimal(1).scaleb(_SMALLEST_EXPONENT), ROUND_HALF_UP)
    return _with_sign(f"{abs(exact):,.9f}", exact, shortest=2)


def percent(part: float, whole: float) -> str:
    """Return how much of ``whole`` a part is: ``83 %``; ``<1 %`` for a little, not 0."""
    if not whole:
        return "–" if not part else "over"
    share = 100 * part / whole
    if 0 < share < 1:
        return "<1 %"
    if 99 < share < 100:
        return ">99 %"
    return f"{share:,.0f} %"


def bar(part: float, whole: float, width: int) -> str:
    """Return a bar of ``width`` characters, full only when the part is the whole or more."""
    if whole <= 0 or part >= whole:
        return "█" * width
    filled = min(width - 1, round(part / whole * width))
    return "█" * filled + "░" * (width - filled)


def count(number: int) -> str:
    """Return a count, shortened where single units say nothing: ``9,800``, ``18.0k``, ``1.23M``."""
    if number < 10_000:
        return f"{number:,}"
    for unit, scale in (("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)):
        if number < 999.5 * scale:
            places = 2 if number < 9.995 * scale else 1 if number < 99.95 * scale else 0
            return f"{number / scale:.{places}f}{unit}"
    return f"{number / 1_000_000_000:,.0f}G"


def plural(number: int, noun: str) -> str:
    """Return ``1 request``, ``2 requests``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """Return a length of time: ``4.2 s``, ``12 min 4 s``, ``3 h 20 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def latency(milliseconds: float | None) -> str:
    """Return how long somebody waited: ``412 ms``, ``1.24 s``, nothing when nobody knows."""
    if milliseconds is None:
        return ""
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.2f} s"
    return span(milliseconds / 1000)


def used(entry: Mapping[str, object], *, brief: bool = False) -> str:
    """Return what was used in one line: ``12 min 4 s audio``, ``18.0k in (12.0k cached), 900 out``.

    Args:
        entry: Has the quantities of the ledger by their names; those that are absent or 0 are left
            out.
        brief: Leave out what is a part of something else, or comes with it: cached tokens, and the
            audio that characters became.
    """

    def number(name: str) -> float:
        value = entry.get(name)
        return value if isinstance(value, int | float) else 0

    parts = []
    audio = number("audio_seconds")
    if audio and not (brief and number("characters")):
        parts.append(f"{span(audio)} audio")
    if prompt := number("input_tokens"):
        cached = 0 if brief else number("cached_input_tokens")
        parts.append(
            f"{count(int(prompt))} in" + (f" ({count(int(cached))} cached)" if cached else "")
        )
    if output := number("output_tokens"):
        parts.append(f"{count(int(output))} out")
    if characters := number("characters"):
        parts.append(f"{count(int(characters))} chars")
    return ", ".join(parts)


def summary(cost: float | None, totals: Mapping[str, Any]) -> str:
    """Say what some requests cost, what of it is estimated, and how many have no price.

    Args:
        cost: Dollars; None when no request has a known price.
        totals: Has ``requests``, ``unpriced_requests`` and ``estimated_cost``.
    """
    requests = plural(totals["requests"], "request")
    parts = [f"{dollars(cost)} for {requests}" if cost is not None else f"unknown for {requests}"]
    if totals["unpriced_requests"]:
        parts.append(f"{plural(totals['unpriced_requests'], 'request')} unpriced")
    if totals["estimated_cost"]:
        parts.append(f"{dollars(totals['estimated_cost'])} of it estimated")
    return " · ".join(parts)


def name_of(entry: Mapping[str, Any]) -> str:
    """Return ``provider/model`` of an entry that has both."""
    return f"{entry['provider']}/{entry['model']}" if entry["model"] else str(entry["provider"])


def local_time(moment: str | None, zone: tzinfo, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a moment on the clock of ``zone``: ``2026-11-23 09:30:00``.

    Args:
        moment: ISO 8601 with a zone of its own, as every answer has it; None for none.
        zone: Whose clock.
        form: How it is written, as for `datetime.strftime`.
    """
    if moment is None:
        return ""
    return datetime.fromisoformat(moment).astimezone(zone).strftime(form)


def _with_sign(digits: str, amount: Decimal, *, shortest: int) -> str:
    """Put ``$`` before, and take zeros at the end off as long as ``shortest`` places stay."""
    whole, _, places = digits.partition(".")
    kept = places[:shortest] + places[shortest:].rstrip("0")
    return f"{'-' if amount < 0 else ''}${whole}.{kept}"
