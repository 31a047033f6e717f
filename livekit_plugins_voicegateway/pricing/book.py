"""The price book: which price holds for a model, a project and a day, and what a request costs.

First found wins: the project's ``pricing``, the top-level ``pricing``, our catalogue, genai-prices.
What none of them knows has no price: `PriceBook.find` and `Price.cost` then answer None, never 0.
Metering, budgets and reports ask here; nobody else reads prices.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import UnknownModelError
from ..metering.usage import Modality, Quantities
from .catalogue import LOCAL_PROVIDERS, CatalogueEntry, load_catalogue, split_variant
from .cost import Calculator, Tier, calculator
from .spec import Basis, PriceSource, PriceSpec

if TYPE_CHECKING:
    from .llm_prices import ListedPrice

__all__ = ["Price", "PriceBook", "PriceListing", "Quote"]

Pricing = Mapping[str, tuple[PriceSpec, ...]]

_CACHE_SIZE: Final = 16_384
_FREE: Final = PriceSpec("free")


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model for one project and day.

    Attributes:
        model: The entry that was found, ``deepgram/nova-3:multi``.
        source: Who says so.
        basis: What is counted; see `spec.Basis`.
        rate: The rate as a person would say it, ``0.0048/minute``.
        label: Source, model and rate in one line: what the ledger keeps with each row.
        as_of: When the price was read where it is published, or the version of genai-prices; None
            for a price of the user's own.
        url: The page that it is published on, if any.
        note: What should be known of it; empty when nothing.
        valid_from: First day that it holds; None for since ever.
        valid_until: Last day that it holds; None for no end.
    """

    model: str
    source: PriceSource
    basis: Basis
    rate: str
    label: str
    as_of: str | None
    url: str | None
    note: str
    valid_from: dt.date | None
    valid_until: dt.date | None
    _calculator: Calculator = field(repr=False, compare=False)

    @property
    def needs_tokens(self) -> bool:
        """Whether a cost needs token counts, be they reported or estimated."""
        return self.basis == "tokens"

    def cost(self, quantities: Quantities) -> int | None:
        """Return what a request costs.

        Args:
            quantities: What the request has used, as a whole: minimum and rounding are applied once
                for each call of this method.

        Returns:
            Nano-dollars, rounded half up; None when something was used that this price has no rate
            for. A request that used nothing costs 0.
        """
        return self._calculator.nanos(quantities)


class PriceListing(NamedTuple):
    """One line of ``voicegw prices``.

    Attributes:
        model: ``provider/model[:variant]``; ``ollama/*`` for any model.
        modality: Kind of model; None for a user's own price, which does not say.
        option: ``batch``, ``add-on keyterm``, or empty for the price itself.
        project: Whose price it is; None when everybody's.
        source: Who says so.
        basis: What is counted.
        rate: The rate as a person would say it.
        as_of: See `Price`.
        url: See `Price`.
        note: See `Price`.
        valid_from: See `Price`.
        valid_until: See `Price`.
    """

    model: str
    modality: Modality | None
    option: str
    project: str | None
    source: PriceSource
    basis: Basis
    rate: str
    as_of: str | None
    url: str | None
    note: str
    valid_from: dt.date | None
    valid_until: dt.date | None


class Quote(NamedTuple):
    """The answer to "what would this cost?" for a model string.

    Attributes:
        modality: What kind of model it was taken for.
        provider: ``deepgram``.
        model: ``nova-3``.
        variant: Language or voice, or None.
        price: The price, or None when nobody knows one.
        cost_nanos: Nano-dollars, or None when unknown.
    """

    modality: Modality
    provider: str
    model: str
    variant: str | None
    price: Price | None
    cost_nanos: int | None


class PriceBook:
    """Finds prices. Safe to ask from any thread.

    Args:
        config_pricing: The top-level ``pricing`` of voicegw.yaml, by ``provider/model[:variant]``.
        project_pricing: The ``pricing`` of each project that has one, by project id.
    """

    def __init__(self, config_pricing: Pricing, project_pricing: Mapping[str, Pricing]) -> None:
        self._config = config_pricing
        self._projects = project_pricing
        self._found: dict[tuple[object, ...], Price | None] = {}

    def find(
        self,
        modality: Modality,
        provider: str,
        model: str,
        *,
        project: str | None,
        variant: str | None = None,
        day: dt.date,
        streaming: bool = True,
    ) -> Price | None:
        """Return the price of a model, or None when nobody knows it.

        The first question about a catalogue or genai-prices model reads those lists (milliseconds,
        and 0.3 s); `preload` does it ahead. The same question again is a dictionary look-up.

        Args:
            modality: What kind of model it is.
            provider: Provider of the model string, ``deepgram``.
            model: Model of the model string without suffix, ``nova-3``; of an LLM all of it.
            project: Id of the project that pays; None asks without any project's own prices.
            variant: Language of an STT, voice of a TTS. Within each source its own price comes
                first, then that of the plain model.
            day: The day of the request, in the configured time zone.
            streaming: False asks for the price of pre-recorded audio, where there is one.
        """
        key = (modality, provider, model, project, variant, day, streaming)
        known = self._found  # another one, once a project has other prices
        try:
            return known[key]
        except KeyError:
            price = self._look_up(modality, provider, model, project, variant, day, streaming)
            if len(known) >= _CACHE_SIZE:
                known.clear()
            known[key] = price
            return price

    def change_projects(self, project_pricing: Mapping[str, Pricing]) -> None:
        """Use other prices of projects from now on.

        Args:
            project_pricing: The ``pricing`` of each project that has one, by project id.
        """
        if project_pricing != self._projects:
            self._projects = project_pricing
            self._found = {}

    def find_any(
        self,
        model_string: str,
        quantities: Quantities,
        *,
        project: str | None,
        language: str | None = None,
        day: dt.date,
        streaming: bool = True,
    ) -> Quote:
        """Price a model string whose kind the caller does not know, as ``voicegw price`` does.

        The catalogue decides what kind of model it is, then the user's own prices, then what was
        used: tokens are an LLM's, characters are spoken, seconds are transcribed.

        Args:
            model_string: ``provider/model``, with ``:language`` or ``:voice`` for STT and TTS.
            quantities: What to price.
            project: Id of the project that would pay, or None.
            language: Language of an STT; goes before the suffix of the model string.
            day: The day whose price is asked for.
            streaming: False asks for the price of pre-recorded audio.

        Raises:
            UnknownModelError: The string is not of the form ``provider/model``.
        """
        provider, slash, rest = model_string.partition("/")
        if not (provider and slash and rest.partition(":")[0]):
            raise UnknownModelError(
                f"{model_string!r} is not a model: write provider/model, such as deepgram/nova-3"
            )
        modality = self._modality(model_string, quantities, project, language)
        variant: str | None = None
        if modality != "llm":
            rest, variant = split_variant(rest)
        if modality == "stt":
            variant = language or variant
        price = self.find(
            modality,
            provider,
            rest,
            project=project,
            variant=variant,
            day=day,
            streaming=streaming,
        )
        cost = None if price is None else price.cost(quantities)
        return Quote(modality, provider, rest, variant, price, cost)

    def all(self, project: str | None = None) -> Iterator[PriceListing]:
        """Give every price of ours and of the user's own: what ``voicegw prices`` shows.

        LLM prices of genai-prices are not among them: there are thousands.

        Args:
            project: Show the own prices of this project only; None shows those of all projects.
        """
        for name, pricing in self._projects.items():
            if project in (None, name):
                yield from _agreed_listings("project", name, pricing)
        yield from _agreed_listings("config", None, self._config)
        for entry in load_catalogue():
            yield from _catalogue_listings(entry)
        for provider in sorted(LOCAL_PROVIDERS):
            yield _listing(f"{provider}/*", "local", _FREE)

    @staticmethod
    def preload() -> None:
        """Read the catalogue and genai-prices now (0.3 s); any thread may call this.

        A worker does it while it starts, so that no call waits for it.
        """
        from . import llm_prices

        load_catalogue()
        llm_prices.preload()

    def _look_up(
        self,
        modality: Modality,
        provider: str,
        model: str,
        project: str | None,
        variant: str | None,
        day: dt.date,
        streaming: bool,
    ) -> Price | None:
        name = f"{provider}/{model}"
        local = provider in LOCAL_PROVIDERS
        entry = None
        if modality != "llm" and not local:
            entry = load_catalogue().find(modality, name, variant)
        own = self._projects.get(project, {}) if project is not None else {}
        sources: tuple[tuple[PriceSource, Pricing], ...] = (
            ("project", own),
            ("config", self._config),
        )
        for source, pricing in sources:
            for key in (f"{name}:{variant}", name) if variant else (name,):
                if spec := _holding(pricing.get(key, ()), day):
                    return _agreed_price(source, key, spec, entry)
        if local:
            return _price(name, "local", _FREE)
        if entry is not None:
            price = _catalogue_price(entry, day, streaming)
            if price is not None:
                return price
        from .llm_prices import listed_price

        listed = listed_price(modality, provider, model, day)
        return None if listed is None else _listed_price(listed)

    def _modality(
        self, model_string: str, quantities: Quantities, project: str | None, language: str | None
    ) -> Modality:
        if model_string.startswith("ollama/"):
            return "llm"
        if model_string.startswith("local/"):
            return "tts" if model_string.startswith("local/kokoro") else "stt"
        if (listed := load_catalogue().modality_of(model_string)) is not None:
            return listed
        for pricing in (self._projects.get(project or "", {}), self._config):
            for key in (model_string, split_variant(model_string)[0]):
                for spec in pricing.get(key, ()):
                    if spec.basis in ("audio", "connection"):
                        return "stt"
                    if spec.basis == "characters":
                        return "tts"
        if quantities.input_tokens > 0 or quantities.output_tokens > 0:
            return "llm"
        if quantities.characters > 0:
            return "tts"
        if quantities.audio_seconds > 0 or quantities.connection_seconds > 0 or language:
            return "stt"
        return "llm"


def _holding(specs: tuple[PriceSpec, ...], day: dt.date) -> PriceSpec | None:
    return next((spec for spec in specs if spec.holds_on(day)), None)


def _agreed_price(
    source: PriceSource, key: str, spec: PriceSpec, entry: CatalogueEntry | None
) -> Price:
    """Make a price of the user's own: it replaces the published base rate, not the add-ons."""
    by_seconds = spec.basis in ("audio", "connection")
    add_ons = entry.add_ons if entry is not None and by_seconds else {}
    return _price(key, source, spec, add_ons=add_ons)


def _catalogue_price(entry: CatalogueEntry, day: dt.date, streaming: bool) -> Price | None:
    spec = _holding(entry.prices, day)
    option = ""
    if not streaming and (batch := _holding(entry.batch, day)) is not None:
        spec, option = batch, "batch"
    if spec is None:
        return None
    return _price(
        entry.model,
        "catalogue",
        spec,
        option=option,
        add_ons=entry.add_ons,
        as_of=entry.as_of,
        url=entry.url,
        note=entry.note,
    )


def _listed_price(listed: ListedPrice) -> Price:
    return _price(
        listed.model,
        "genai-prices",
        listed.spec,
        tiers=listed.tiers,
        per_request=listed.per_request,
        as_of=listed.version,
        url=listed.url,
    )


def _price(
    model: str,
    source: PriceSource,
    spec: PriceSpec,
    *,
    option: str = "",
    add_ons: Mapping[str, PriceSpec] | None = None,
    tiers: tuple[Tier, ...] = (),
    per_request: Decimal = Decimal(0),
    as_of: str | None = None,
    url: str | None = None,
    note: str = "",
) -> Price:
    add_ons = add_ons or {}
    rate = spec.rate_text
    if per_request:
        rate += f", {per_request.normalize():f}/request"
    rate += "".join(f"; {tier.spec.rate_text} above {tier.above} input" for tier in tiers)
    rate += "".join(f", {name} +{add_on.rate_text}" for name, add_on in add_ons.items())
    words = [source, model, option, rate, f"({as_of})" if as_of else ""]
    return Price(
        model=model,
        source=source,
        basis=spec.basis,
        rate=rate,
        label=" ".join(word for word in words if word),
        as_of=as_of,
        url=url,
        note=note,
        valid_from=spec.valid_from,
        valid_until=spec.valid_until,
        _calculator=calculator(spec, add_ons=add_ons, tiers=tiers, per_request=per_request),
    )


def _agreed_listings(
    source: PriceSource, project: str | None, pricing: Pricing
) -> Iterator[PriceListing]:
    for model, specs in pricing.items():
        for spec in specs:
            yield _listing(model, source, spec, project=project)


def _catalogue_listings(entry: CatalogueEntry) -> Iterator[PriceListing]:
    options = [("", spec) for spec in entry.prices]
    options += [("batch", spec) for spec in entry.batch]
    options += [(f"add-on {name}", spec) for name, spec in entry.add_ons.items()]
    for option, spec in options:
        yield _listing(
            entry.model,
            "catalogue",
            spec,
            modality=entry.modality,
            option=option,
            as_of=entry.as_of,
            url=entry.url,
            note=entry.note,
        )


def _listing(
    model: str,
    source: PriceSource,
    spec: PriceSpec,
    *,
    modality: Modality | None = None,
    option: str = "",
    project: str | None = None,
    as_of: str | None = None,
    url: str | None = None,
    note: str = "",
) -> PriceListing:
    return PriceListing(
        model=model,
        modality=modality,
        option=option,
        project=project,
        source=source,
        basis=spec.basis,
        rate=spec.rate_text,
        as_of=as_of,
        url=url,
        note=note,
        valid_from=spec.valid_from,
        valid_until=spec.valid_until,
    )
