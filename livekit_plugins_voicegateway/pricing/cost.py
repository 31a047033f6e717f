"""From quantities to nano-dollars: exact integer arithmetic, one small class for each way to bill.

`calculator` prepares a `PriceSpec`; `book.Price` keeps what it returns and asks it once for each
request. Rates become fractions of nano-dollars when they are prepared, so that a request is a few
multiplications of integers and is rounded once, half up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple, Protocol

from ..metering.usage import NANOS_PER_DOLLAR, Quantities
from .spec import PriceSpec

__all__ = ["Calculator", "Tier", "TokenBuckets", "calculator", "token_buckets"]


class Tier(NamedTuple):
    """Token rates that apply to a whole request once its prompt is long.

    Attributes:
        above: The rates apply when ``input_tokens`` is greater than this.
        spec: A price by tokens.
    """

    above: int
    spec: PriceSpec


class TokenBuckets(NamedTuple):
    """The tokens of a request in disjoint classes, each of which has a rate of its own."""

    uncached: int
    cached: int
    cache_write: int
    output: int


def token_buckets(quantities: Quantities) -> TokenBuckets:
    """Split gross token counts into what is priced apart. The only place where this is done.

    ``uncached = input - cached - cache_write``, and 0 where a provider reports more cached than
    input tokens.
    """
    cached = max(quantities.cached_input_tokens, 0)
    written = max(quantities.cache_write_tokens, 0)
    return TokenBuckets(
        uncached=max(quantities.input_tokens - cached - written, 0),
        cached=cached,
        cache_write=written,
        output=max(quantities.output_tokens, 0),
    )


class Calculator(Protocol):
    """Turns the quantities of one request into money."""

    def nanos(self, quantities: Quantities) -> int | None:
        """Return nano-dollars, or None when something was used that has no rate."""


def calculator(
    spec: PriceSpec,
    *,
    add_ons: Mapping[str, PriceSpec],
    tiers: Sequence[Tier] = (),
    per_request: Decimal = Decimal(0),
) -> Calculator:
    """Prepare a price.

    Args:
        spec: The base price.
        add_ons: Prices of options by name, by the second of audio or connection. They are billed
            for the seconds that the base price is billed for, and only with such a price.
        tiers: Further token rates for long prompts.
        per_request: Dollars for each request by tokens, beside the tokens.
    """
    match spec.basis:
        case "free":
            return _Free()
        case "characters":
            return _Characters(_nanos_per_unit(spec, spec.characters))
        case "tokens":
            return _Tokens([Tier(0, spec), *tiers], per_request)
        case "audio" | "connection":
            return _Seconds(spec, add_ons)


class _Free:
    def nanos(self, quantities: Quantities) -> int | None:
        return 0


class _Seconds:
    """Billed by the second, of audio in each channel or of open connection."""

    def __init__(self, spec: PriceSpec, add_ons: Mapping[str, PriceSpec]) -> None:
        self._by_audio = spec.basis == "audio"
        self._base = _nanos_per_unit(spec, spec.audio if self._by_audio else spec.connection)
        self._minimum = Fraction(spec.minimum_seconds)
        self._add_ons = {
            name: _nanos_per_unit(
                add_on, add_on.connection if add_on.audio is None else add_on.audio
            )
            for name, add_on in add_ons.items()
        }
        self._rates = {frozenset[str](): (self._base.numerator, self._base.denominator)}

    def nanos(self, quantities: Quantities) -> int | None:
        seconds = quantities.audio_seconds if self._by_audio else quantities.connection_seconds
        if not math.isfinite(seconds):
            return None
        if seconds <= 0:
            # A connection that carried no audio costs nothing by the second of audio; audio without
            # a measured connection has an unknown cost by the second of connection.
            unmeasured = not self._by_audio and quantities.audio_seconds > 0
            return None if unmeasured or _counted_in_text(quantities) else 0
        amount, parts = seconds.as_integer_ratio()
        minimum = self._minimum
        if minimum and amount * minimum.denominator < minimum.numerator * parts:
            amount, parts = minimum.numerator, minimum.denominator
        if self._by_audio and quantities.channels > 1:
            amount *= quantities.channels
        rate, per = self._rates.get(quantities.add_ons) or self._rate_with(quantities.add_ons)
        return _half_up(amount * rate, parts * per)

    def _rate_with(self, add_ons: frozenset[str]) -> tuple[int, int]:
        total = sum((self._add_ons.get(name, Fraction(0)) for name in add_ons), start=self._base)
        rate = self._rates[add_ons] = (total.numerator, total.denominator)
        return rate


class _Characters:
    def __init__(self, rate: Fraction) -> None:
        self._rate, self._per = rate.numerator, rate.denominator

    def nanos(self, quantities: Quantities) -> int | None:
        if quantities.characters <= 0:
            used = quantities.audio_seconds > 0 or _has_tokens(quantities)
            return None if used else 0
        return _half_up(quantities.characters * self._rate, self._per)


class _TokenRates(NamedTuple):
    """Nano-dollars for one token of each of the `TokenBuckets`, as ``amount / denominator``.

    An amount that is None is unknown.
    """

    above: int
    amounts: tuple[int | None, int | None, int | None, int | None]
    per_request: int
    denominator: int


class _Tokens:
    """Billed by tokens; the length of the prompt may choose among rates for the whole request."""

    def __init__(self, tiers: Sequence[Tier], per_request: Decimal) -> None:
        self._longest_first = sorted(
            (_token_rates(tier, Fraction(per_request) * NANOS_PER_DOLLAR) for tier in tiers),
            reverse=True,
            key=lambda rates: rates.above,
        )

    def nanos(self, quantities: Quantities) -> int | None:
        buckets = token_buckets(quantities)
        if not any(buckets):
            used = quantities.audio_seconds > 0 or quantities.characters > 0
            return None if used else 0
        rates = self._longest_first[-1]
        for longer in self._longest_first:
            if quantities.input_tokens > longer.above:
                rates = longer
                break
        total = rates.per_request
        for count, amount in zip(buckets, rates.amounts, strict=True):
            if count:
                if amount is None:
                    return None
                total += count * amount
        return _half_up(total, rates.denominator)


def _token_rates(tier: Tier, per_request: Fraction) -> _TokenRates:
    spec = tier.spec
    exact = (
        _nanos_per_token(spec, spec.input),
        # Without a rate of their own, cached and written tokens count as uncached: the upper bound.
        _nanos_per_token(spec, spec.input if spec.cached_input is None else spec.cached_input),
        _nanos_per_token(spec, spec.input if spec.cache_write is None else spec.cache_write),
        _nanos_per_token(spec, spec.output),
    )
    known = [per_request, *(rate for rate in exact if rate is not None)]
    denominator = math.lcm(*(rate.denominator for rate in known))
    uncached, cached, written, output = (
        None if rate is None else int(rate * denominator) for rate in exact
    )
    return _TokenRates(
        above=tier.above,
        amounts=(uncached, cached, written, output),
        per_request=int(per_request * denominator),
        denominator=denominator,
    )


def _nanos_per_token(spec: PriceSpec, rate: Decimal | None) -> Fraction | None:
    return None if rate is None else _nanos_per_unit(spec, rate)


def _nanos_per_unit(spec: PriceSpec, rate: Decimal | None) -> Fraction:
    assert rate is not None, "a price by this basis has its rate (spec.parse_prices)"
    return Fraction(rate) * NANOS_PER_DOLLAR / spec.units_per_rate


def _has_tokens(quantities: Quantities) -> bool:
    return quantities.input_tokens > 0 or quantities.output_tokens > 0


def _counted_in_text(quantities: Quantities) -> bool:
    return quantities.characters > 0 or _has_tokens(quantities)


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
