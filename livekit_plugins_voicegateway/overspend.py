"""The most that a project can spend beyond its budget: what ``voicegw check`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .metering.usage import Modality, Quantities

if TYPE_CHECKING:
    from .pricing.book import Price

__all__ = ["LONGEST_ANSWER", "exposure", "worst_overspend"]

STREAM_SECONDS = 2.0
"""Seconds that a stream may hear after the money is spent: the one under way, and the one that
passes while the ledger is asked."""

LONGEST_ANSWER = 500
"""Tokens of the longest answer that `worst_overspend` reckons with, unless it is told another:
about three minutes of speech."""

LONGEST_PROMPT = 8_000
"""Tokens of the longest prompt that it reckons with."""

CHARACTERS_PER_ANSWER_TOKEN = 4.5
"""Characters of an answer that are spoken for each of its tokens, in English."""


def exposure(answer_tokens: int = LONGEST_ANSWER) -> Mapping[Modality, Quantities]:
    """What one call may still use when the last of its project's money is being spent.

    Two seconds of transcription, one completion with the longest prompt and answer, and the
    synthesis of that answer: each was admitted while there was money, or let through while the
    ledger was asked. What they hold of the budget is left out, so this is more than the truth.
    """
    return {
        "stt": Quantities(audio_seconds=STREAM_SECONDS, connection_seconds=STREAM_SECONDS),
        "llm": Quantities(input_tokens=LONGEST_PROMPT, output_tokens=answer_tokens),
        "tts": Quantities(characters=round(answer_tokens * CHARACTERS_PER_ANSWER_TOKEN)),
    }


def worst_overspend(
    prices: Mapping[Modality, Price], *, calls: int, answer_tokens: int = LONGEST_ANSWER
) -> int | None:
    """The most that a project can spend beyond its budget on one day, in nano-dollars.

    ``calls * (stt(2 s) + llm(longest prompt, longest answer) + tts(its characters))``: every call
    under way when the money runs out may finish what was admitted. It does not grow with the
    number of processes or machines, because none spends what it has not leased.

    Args:
        prices: What the project's models cost; models that are free may be left out.
        calls: Calls under way at once.
        answer_tokens: Tokens of the longest answer.

    Returns:
        None when a price does not cover what a call uses.
    """
    total = 0
    for modality, quantities in exposure(answer_tokens).items():
        price = prices.get(modality)
        if price is None:
            continue
        cost = price.cost(quantities)
        if cost is None:
            return None
        total += cost
    return calls * total
