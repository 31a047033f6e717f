"""Rates of genai-prices, the maintained list of LLM prices, as `PriceSpec` values.

genai-prices takes 0.3 s to import and 0.15 ms to calculate, and answers 0 for a unit that a model
is not priced in. So it is imported when the first such price is asked for, its rates are read once
for each model and day instead of being asked for each request, and a rate that is not there stays
None. `book` is the only caller.

Not counted, because no meter of ours sees them: web searches, stored files, images and video in a
prompt, reasoning and citations apart from other output. Prices are the standard ones, not those of
a batch, priority or flex tier.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from .cost import Tier
from .spec import PriceSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

    from ..metering.usage import Modality

__all__ = ["ListedPrice", "listed_price", "preload"]

_PROVIDERS: Final[Mapping[str, str]] = {
    "fireworksai": "fireworks",
    "mistralai": "mistral",
    "togetherai": "together",
    "xai": "x-ai",
}
"""LiveKit's plugin name to genai-prices' provider, where they differ."""

_PER_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """What genai-prices says of one model on one day.

    Attributes:
        model: ``provider/model`` by the names of genai-prices.
        spec: The price; by tokens: that of prompts of ordinary length.
        tiers: Token rates of longer prompts.
        per_request: Dollars for each request, beside its tokens.
        version: Version of genai-prices.
        url: The provider's page, where genai-prices names one.
    """

    model: str
    spec: PriceSpec
    tiers: tuple[Tier, ...]
    per_request: Decimal
    version: str
    url: str | None


def preload() -> None:
    """Import genai-prices now (0.3 s), so that no later lookup has to; any thread may call this."""
    import genai_prices.data  # noqa: F401


@lru_cache(maxsize=4096)
def listed_price(modality: Modality, provider: str, model: str, day: dt.date) -> ListedPrice | None:
    """Look up a model.

    Args:
        modality: For ``stt`` input tokens are audio, for ``tts`` output tokens are audio; an
            ``llm`` is priced as text.
        provider: Name of the LiveKit plugin.
        model: Name of the model, as given to the provider.
        day: The day whose price is wanted. A price that changes in the course of a day counts with
            its dearest hour: the safe upper bound.

    Returns:
        The price, or None when genai-prices does not know the model, or not in a unit that a meter
        of this modality counts.
    """
    from genai_prices import Usage, __version__, calc_price

    provider_id = _PROVIDERS.get(provider, provider)
    if provider_id not in _provider_ids():
        # genai-prices would go on and look for a provider whose name is contained in this one.
        return None
    try:
        # An empty usage: only the model that was found is of interest.
        found = calc_price(
            Usage(), model, provider_id=provider_id, genai_request_timestamp=_noon(day)
        )
    except LookupError:
        return None
    prices = max(
        (found.model.get_prices(moment) for moment in _moments(found.model, day)), key=_dearness
    )
    read = _read(modality, prices)
    if read is None:
        return None
    spec, tiers = read
    urls = found.provider.pricing_urls
    return ListedPrice(
        model=f"{found.provider.id}/{found.model.id}",
        spec=spec,
        tiers=tiers,
        per_request=_per_request(prices) if spec.basis == "tokens" else Decimal(0),
        version=__version__,
        url=urls[0] if urls else None,
    )


@cache
def _provider_ids() -> frozenset[str]:
    from genai_prices.data import providers

    return frozenset(provider.id for provider in providers)


def _read(modality: Modality, prices: ModelPrice) -> tuple[PriceSpec, tuple[Tier, ...]] | None:
    """Choose the one basis that a model of this modality is billed by."""
    hourly = _base(_rate(prices, "input_audio_hours"))
    if hourly is None:
        hourly = _base(_rate(prices, "audio_hours"))
    if _rate(prices, "input_mtok") is not None or _rate(prices, "output_mtok") is not None:
        if modality != "llm" and hourly is not None:
            return None  # by tokens and by the hour: which of them bills speech is not known
        base, *longer = _token_tiers(modality, prices)
        return base.spec, tuple(longer)
    if modality == "stt" and hourly is not None:
        return PriceSpec("audio", per="hour", audio=hourly), ()
    characters = _base(_rate(prices, "input_mchars"))
    if modality == "tts" and characters is not None:
        return PriceSpec("characters", per=_PER_MILLION, characters=characters), ()
    return None


def _token_tiers(modality: Modality, prices: ModelPrice) -> Iterable[Tier]:
    """Give the rates of each prompt length, the ordinary one first."""
    fresh, cached, output = "input_mtok", "cache_read_mtok", "output_mtok"
    if modality == "stt" and _rate(prices, "input_audio_mtok") is not None:
        fresh, cached = "input_audio_mtok", "cache_audio_read_mtok"
    if modality == "tts" and _rate(prices, "output_audio_mtok") is not None:
        output = "output_audio_mtok"
    rates = [_rate(prices, key) for key in (fresh, cached, "cache_write_mtok", output)]
    starts = {
        tier.start
        for rate in rates
        if rate is not None and not isinstance(rate, Decimal)
        for tier in rate.tiers
    }
    for above in sorted({0} | starts):
        input_rate, cached_rate, write_rate, output_rate = (_above(rate, above) for rate in rates)
        spec = PriceSpec(
            "tokens",
            per=_PER_MILLION,
            input=input_rate,
            cached_input=cached_rate,
            cache_write=write_rate,
            output=output_rate,
        )
        yield Tier(above, spec)


def _rate(prices: ModelPrice, key: str) -> Decimal | TieredPrices | None:
    # With a default: a later genai-prices may no longer have the key.
    rate: Decimal | TieredPrices | None = getattr(prices, key, None)
    return rate


def _base(rate: Decimal | TieredPrices | None) -> Decimal | None:
    return rate if rate is None or isinstance(rate, Decimal) else rate.base


def _above(rate: Decimal | TieredPrices | None, start: int) -> Decimal | None:
    """Return the rate of prompts just longer than ``start`` tokens."""
    amount = _base(rate)
    if rate is not None and not isinstance(rate, Decimal):
        for tier in rate.tiers:
            if tier.start <= start:
                amount = tier.price
    return amount


def _per_request(prices: ModelPrice) -> Decimal:
    return (_base(_rate(prices, "requests_kcount")) or Decimal(0)) / 1000


def _dearness(prices: ModelPrice) -> Decimal:
    rates = (_base(_rate(prices, key)) for key in ("input_mtok", "output_mtok"))
    return sum((rate for rate in rates if rate is not None), start=Decimal(0))


def _moments(model: ModelInfo, day: dt.date) -> Iterable[dt.datetime]:
    """Return noon, and each time of the day at which the price of the model may change."""
    from genai_prices.types import ModelPrice, TimeOfDateConstraint

    moments = [_noon(day)]
    if not isinstance(model.prices, ModelPrice):
        for conditional in model.prices:
            if isinstance(conditional.constraint, TimeOfDateConstraint):
                for time in (conditional.constraint.start_time, conditional.constraint.end_time):
                    moments.append(dt.datetime.combine(day, time.replace(tzinfo=dt.UTC)))
    return moments


def _noon(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(12), tzinfo=dt.UTC)
