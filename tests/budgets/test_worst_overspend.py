"""The printed bound: what all calls under way can spend beyond a budget."""

from __future__ import annotations

import datetime

from livekit_plugins_voicegateway.overspend import worst_overspend
from livekit_plugins_voicegateway.pricing.book import Price, PriceBook

DAY = datetime.date(2026, 11, 23)


def price(modality: str, provider: str, model: str) -> Price:
    found = PriceBook({}, {}).find(modality, provider, model, project=None, day=DAY)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_it_adds_up_two_seconds_an_answer_and_its_speech_for_each_call() -> None:
    prices = {
        "stt": price("stt", "deepgram", "nova-3"),
        "llm": price("llm", "openai", "gpt-4.1-mini"),
        "tts": price("tts", "cartesia", "sonic-3"),
    }
    # 2 s at $0.0048 a minute; 8000 tokens at $0.4 and 500 at $1.6 a million; 2250 characters at
    # $50 a million
    one_call = 160_000 + 3_200_000 + 800_000 + 112_500_000
    assert worst_overspend(prices, calls=1) == one_call  # type: ignore[arg-type]
    assert worst_overspend(prices, calls=50) == 50 * one_call  # type: ignore[arg-type]


def test_a_shorter_longest_answer_costs_less() -> None:
    prices = {"tts": price("tts", "cartesia", "sonic-3")}
    assert worst_overspend(prices, calls=1, answer_tokens=100) == 450 * 50_000  # type: ignore[arg-type]


def test_local_models_add_nothing() -> None:
    assert worst_overspend({}, calls=100) == 0


def test_a_price_that_does_not_cover_what_a_call_uses_gives_no_bound() -> None:
    # priced by seconds of connection and tokens, not by characters
    prices = {"tts": price("stt", "deepgram", "nova-3")}
    assert worst_overspend(prices, calls=1) is None  # type: ignore[arg-type]
