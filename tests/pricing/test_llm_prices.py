"""Rates read from genai-prices: the published figures, with tiers, and nothing made up."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR, Quantities
from livekit_plugins_voicegateway.pricing.cost import calculator
from livekit_plugins_voicegateway.pricing.llm_prices import ListedPrice, listed_price

DAY = dt.date(2026, 11, 10)
NOON = dt.datetime(2026, 11, 10, 12, tzinfo=dt.UTC)


def listed(model: str, modality: str = "llm", day: dt.date = DAY) -> ListedPrice:
    provider, _, name = model.partition("/")
    price = listed_price(modality, provider, name, day)  # type: ignore[arg-type]
    assert price is not None
    return price


@pytest.mark.parametrize(
    ("model", "input_rate", "cached", "written", "output"),
    [
        ("openai/gpt-4.1", "2", "0.5", None, "8"),
        ("openai/gpt-4.1-mini", "0.4", "0.1", None, "1.6"),
        ("openai/gpt-4o-mini", "0.15", "0.075", None, "0.6"),
        ("openai/gpt-5", "1.25", "0.125", None, "10"),
        ("openai/gpt-5-mini", "0.25", "0.025", None, "2"),
        ("openai/gpt-5-nano", "0.05", "0.005", None, "0.4"),
        ("anthropic/claude-haiku-4-5", "1", "0.1", "1.25", "5"),
        ("google/gemini-2.5-flash", "0.30", "0.03", None, "2.5"),
        ("groq/llama-3.3-70b-versatile", "0.59", None, None, "0.79"),
        ("openai/gpt-realtime", "4", "0.4", None, "16"),
    ],
)
def test_an_llm_costs_what_its_provider_publishes(
    model: str, input_rate: str, cached: str | None, written: str | None, output: str
) -> None:
    spec = listed(model).spec
    assert (spec.basis, spec.units_per_rate) == ("tokens", 1_000_000)
    assert spec.input == Decimal(input_rate)
    assert spec.cached_input == (None if cached is None else Decimal(cached))
    assert spec.cache_write == (None if written is None else Decimal(written))
    assert spec.output == Decimal(output)


@pytest.mark.parametrize(
    ("model", "input_tokens"),
    [
        ("openai/gpt-4.1-mini", 1_234),
        ("anthropic/claude-sonnet-4-5", 200_000),
        ("anthropic/claude-sonnet-4-5", 200_001),
        ("google/gemini-2.5-pro", 200_000),
        ("google/gemini-2.5-pro", 200_001),
        ("openai/gpt-5.4", 300_000),
        ("perplexity/sonar", 50),
    ],
)
def test_a_request_costs_what_genai_prices_calculates_whatever_its_length(
    model: str, input_tokens: int
) -> None:
    provider, _, name = model.partition("/")
    price = listed(model)
    ours = calculator(
        price.spec, add_ons={}, tiers=price.tiers, per_request=price.per_request
    ).nanos(Quantities(input_tokens=input_tokens, cached_input_tokens=50, output_tokens=321))
    theirs = calc_price(
        Usage(input_tokens=input_tokens, cache_read_tokens=50, output_tokens=321),
        name,
        provider_id=provider,
        genai_request_timestamp=NOON,
    ).total_price
    assert ours is not None
    assert Decimal(ours) / NANOS_PER_DOLLAR == round(theirs, 9)


@pytest.mark.parametrize(
    ("plugin", "model", "found"),
    [
        ("xai", "grok-4.7", "x-ai/grok-4.7"),
        ("mistralai", "mistral-large-latest", "mistral/"),
        ("fireworksai", "accounts/fireworks/models/deepseek-v3p2", "fireworks/"),
        ("azure", "gpt-4.1", "azure/gpt-4.1"),
        ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws/"),
        ("google", "gemini-2.5-flash", "google/gemini-2.5-flash"),
    ],
)
def test_the_names_of_livekit_plugins_lead_to_their_provider(
    plugin: str, model: str, found: str
) -> None:
    assert listed(f"{plugin}/{model}").model.startswith(found)


@pytest.mark.parametrize(
    ("modality", "model"),
    [
        ("llm", "openai/no-such-model"),
        ("llm", "openai/tts-1"),
        ("llm", "openai/whisper-1"),
        ("tts", "openai/whisper-1"),
        ("stt", "openai/tts-1"),
        ("stt", "mistralai/voxtral-small-latest"),  # by tokens and by the hour at once
        ("llm", "acme-openai/gpt-4.1"),  # genai-prices alone would take it for openai
        ("stt", "azure/"),
    ],
)
def test_what_is_not_priced_in_a_unit_of_its_kind_has_no_price(modality: str, model: str) -> None:
    provider, _, name = model.partition("/")
    assert listed_price(modality, provider, name, DAY) is None  # type: ignore[arg-type]


def test_speech_that_the_catalogue_lacks_is_read_in_its_own_unit() -> None:
    by_the_hour = listed("mistralai/voxtral-mini-latest", "stt").spec
    assert (by_the_hour.basis, by_the_hour.per, by_the_hour.audio) == (
        "audio",
        "hour",
        Decimal("0.18"),
    )
    by_character = listed("groq/canopylabs/orpheus-v1-english", "tts").spec
    assert (by_character.basis, by_character.characters) == ("characters", 22)
    heard = listed("openai/gpt-4o-mini-transcribe", "stt").spec
    assert (heard.input, heard.output) == (3, 5)
    spoken = listed("openai/gpt-audio", "tts").spec
    assert (spoken.input, spoken.output) == (Decimal("2.5"), 64)


def test_a_price_is_that_of_the_day_asked_for() -> None:
    assert listed("openai/o3", day=dt.date(2025, 6, 9)).spec.input == 10
    assert listed("openai/o3", day=dt.date(2025, 6, 10)).spec.input == 2


def test_a_price_that_changes_with_the_hour_counts_with_its_dearest_hour() -> None:
    spec = listed("deepseek/deepseek-v4-pro").spec
    by_the_hour = {
        hour: calc_price(
            Usage(input_tokens=1_000_000, output_tokens=1_000_000),
            "deepseek-v4-pro",
            provider_id="deepseek",
            genai_request_timestamp=NOON.replace(hour=hour),
        ).total_price
        for hour in range(24)
    }
    assert len(set(by_the_hour.values())) > 1
    assert spec.input is not None
    assert spec.output is not None
    assert spec.input + spec.output == max(by_the_hour.values())
