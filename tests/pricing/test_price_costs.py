"""From quantities to money: exact, rounded once, and None instead of a silent zero."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from livekit_plugins_voicegateway.metering.usage import Quantities
from livekit_plugins_voicegateway.pricing.cost import Tier, calculator, token_buckets
from livekit_plugins_voicegateway.pricing.spec import PriceSpec

rates = st.decimals(min_value=0, max_value=1000, places=6)
optional_rates = st.none() | rates
seconds = st.floats(min_value=0, max_value=1e6, allow_nan=False)
counts = st.integers(min_value=0, max_value=10_000_000)
units = st.sampled_from(["second", "minute", "hour"])

UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
MILLION = 1_000_000


def half_up(dollars: Fraction) -> int:
    return math.floor(dollars * 10**9 + Fraction(1, 2))


def cost(spec: PriceSpec, quantities: Quantities, **more: object) -> int | None:
    return calculator(spec, **{"add_ons": {}, **more}).nanos(quantities)  # type: ignore[arg-type]


@given(rates, units, seconds, st.integers(1, 8), st.integers(0, 60), rates)
def test_audio_costs_what_exact_fractions_say(
    rate: Decimal, per: str, used: float, channels: int, minimum: int, add_on: Decimal
) -> None:
    spec = PriceSpec("audio", per=per, audio=rate, minimum_seconds=Decimal(minimum))  # type: ignore[arg-type]
    keyterm = PriceSpec("audio", per="minute", audio=add_on)
    quantities = Quantities(
        audio_seconds=used, channels=channels, add_ons=frozenset({"keyterm", "not-billed"})
    )
    billed = max(Fraction(used), minimum) if used else Fraction(0)
    dollars = billed * channels * (Fraction(rate) / UNIT_SECONDS[per] + Fraction(add_on) / 60)
    assert cost(spec, quantities, add_ons={"keyterm": keyterm}) == half_up(dollars)


@given(rates, units, seconds)
def test_a_connection_costs_what_exact_fractions_say(rate: Decimal, per: str, used: float) -> None:
    spec = PriceSpec("connection", per=per, connection=rate)  # type: ignore[arg-type]
    quantities = Quantities(connection_seconds=used, channels=2)
    assert cost(spec, quantities) == half_up(Fraction(used) * Fraction(rate) / UNIT_SECONDS[per])


@given(rates, st.integers(1, MILLION), counts)
def test_characters_cost_what_exact_fractions_say(rate: Decimal, per: int, used: int) -> None:
    spec = PriceSpec("characters", per=per, characters=rate)
    assert cost(spec, Quantities(characters=used)) == half_up(used * Fraction(rate) / per)


@given(
    optional_rates,
    optional_rates,
    optional_rates,
    optional_rates,
    counts,
    counts,
    counts,
    counts,
    rates,
)
def test_tokens_cost_what_exact_fractions_say(
    input_rate: Decimal | None,
    cached_rate: Decimal | None,
    write_rate: Decimal | None,
    output_rate: Decimal | None,
    uncached: int,
    cached: int,
    written: int,
    output: int,
    per_request: Decimal,
) -> None:
    spec = PriceSpec(
        "tokens",
        per=MILLION,
        input=input_rate,
        cached_input=cached_rate,
        cache_write=write_rate,
        output=output_rate,
    )
    quantities = Quantities(
        input_tokens=uncached + cached + written,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output,
    )
    charges = [
        (uncached, input_rate),
        (cached, input_rate if cached_rate is None else cached_rate),
        (written, input_rate if write_rate is None else write_rate),
        (output, output_rate),
    ]
    expected: int | None = 0
    if any(count for count, _ in charges):
        expected = None
        if all(rate is not None for count, rate in charges if count):
            dollars = sum(Fraction(count * rate) for count, rate in charges if count and rate)
            expected = half_up(dollars / MILLION + Fraction(per_request))
    assert cost(spec, quantities, per_request=per_request) == expected


def test_half_a_nano_dollar_is_rounded_up_once_for_the_whole_request() -> None:
    spec = PriceSpec("tokens", per=MILLION, input=Decimal("0.0005"), output=Decimal("0.0005"))
    assert cost(spec, Quantities(input_tokens=1)) == 1
    assert cost(spec, Quantities(input_tokens=1, output_tokens=1)) == 1


def test_token_buckets_are_disjoint_and_add_up_to_the_gross_counts() -> None:
    quantities = Quantities(
        input_tokens=100, cached_input_tokens=60, cache_write_tokens=30, output_tokens=7
    )
    assert token_buckets(quantities) == (10, 60, 30, 7)


def test_more_cached_than_input_tokens_leave_no_negative_rest() -> None:
    assert token_buckets(Quantities(input_tokens=10, cached_input_tokens=15)) == (0, 15, 0, 0)


@pytest.mark.parametrize(
    ("input_tokens", "rate"),
    [(200_000, 1), (200_001, 2), (500_000, 2), (500_001, 3)],
)
def test_a_long_prompt_moves_all_tokens_of_the_request_to_the_dearer_rate(
    input_tokens: int, rate: int
) -> None:
    def per_million(dollars: int) -> PriceSpec:
        return PriceSpec("tokens", per=MILLION, input=Decimal(dollars), output=Decimal(dollars))

    tiers = (Tier(200_000, per_million(2)), Tier(500_000, per_million(3)))
    used = Quantities(input_tokens=input_tokens, output_tokens=1000)
    assert cost(per_million(1), used, tiers=tiers) == (input_tokens + 1000) * rate * 1000


FREE = PriceSpec("free")
AUDIO = PriceSpec("audio", per="minute", audio=Decimal("0.006"), minimum_seconds=Decimal(10))
CONNECTION = PriceSpec("connection", per="hour", connection=Decimal("0.15"))
CHARACTERS = PriceSpec("characters", per=MILLION, characters=Decimal(50))
TOKENS = PriceSpec("tokens", per=MILLION, input=Decimal(6), output=Decimal(10))


@pytest.mark.parametrize("spec", [FREE, AUDIO, CONNECTION, CHARACTERS, TOKENS])
def test_a_request_that_used_nothing_costs_nothing_minimum_or_not(spec: PriceSpec) -> None:
    assert cost(spec, Quantities(), per_request=Decimal(1)) == 0


@pytest.mark.parametrize(
    ("spec", "quantities"),
    [
        (AUDIO, Quantities(characters=100)),
        (AUDIO, Quantities(output_tokens=5)),
        (AUDIO, Quantities(audio_seconds=math.inf)),
        (AUDIO, Quantities(audio_seconds=math.nan)),
        (CONNECTION, Quantities(audio_seconds=60)),
        (CHARACTERS, Quantities(input_tokens=100)),
        (CHARACTERS, Quantities(audio_seconds=3)),
        (TOKENS, Quantities(audio_seconds=60)),
        (TOKENS, Quantities(characters=100)),
    ],
)
def test_what_was_not_measured_in_the_unit_of_the_price_has_an_unknown_cost(
    spec: PriceSpec, quantities: Quantities
) -> None:
    assert cost(spec, quantities) is None


def test_an_open_connection_without_audio_costs_nothing_by_the_second_of_audio() -> None:
    assert cost(AUDIO, Quantities(connection_seconds=3600)) == 0


def test_a_session_is_billed_while_it_is_idle() -> None:
    used = Quantities(audio_seconds=60, connection_seconds=3600)
    assert cost(CONNECTION, used) == 150_000_000


def test_seconds_and_tokens_are_never_charged_both() -> None:
    both = Quantities(audio_seconds=60, input_tokens=1000)
    assert cost(AUDIO, both) == 6_000_000
    assert cost(TOKENS, both) == 6_000_000


def test_a_short_request_is_billed_for_the_minimum() -> None:
    assert cost(AUDIO, Quantities(audio_seconds=2)) == cost(AUDIO, Quantities(audio_seconds=10))


def test_a_free_model_costs_nothing_whatever_it_used() -> None:
    assert cost(FREE, Quantities(audio_seconds=9, characters=9, input_tokens=9)) == 0
