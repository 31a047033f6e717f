"""Our own list of STT and TTS prices, read from the data files beside this module.

Each price has the page that it stands on and the day that it was read there. `book` looks models up
here when nobody has agreed on another price; nothing is read from disk before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from .spec import PriceSpec, parse_prices

if TYPE_CHECKING:
    from ..metering.usage import Modality

__all__ = ["LOCAL_PROVIDERS", "Catalogue", "CatalogueEntry", "load_catalogue", "split_variant"]

LOCAL_PROVIDERS: Final = frozenset({"local", "ollama"})
"""Providers that run on machines of ours: their price is 0, which is a price."""

_FIELDS: Final = frozenset({"price", "batch", "add_ons", "also", "source", "as_of", "note"})


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One published price, and where it was published.

    Attributes:
        model: ``provider/model`` or ``provider/model:variant``; a ``*`` at the end stands for any
            rest.
        modality: What kind of model it is.
        prices: What streaming costs, by day; what a request costs, where the model does not stream.
        batch: What pre-recorded audio costs, by day; empty where the provider has one price.
        add_ons: Prices of options that are billed on top, by name.
        url: The page that the price stands on.
        as_of: Day or month when it was read there, ``2026-08-21`` or ``2026-08``.
        note: What should be known of it; empty when nothing.
    """

    model: str
    modality: Modality
    prices: tuple[PriceSpec, ...]
    batch: tuple[PriceSpec, ...]
    add_ons: Mapping[str, PriceSpec]
    url: str
    as_of: str
    note: str


class Catalogue:
    """The entries of all data files, by model.

    Args:
        entries: Every entry. A name may stand there once for each modality.
    """

    def __init__(self, entries: Iterable[CatalogueEntry]) -> None:
        self._entries: dict[tuple[str, str], CatalogueEntry] = {}
        for entry in entries:
            key = (entry.modality, entry.model)
            if key in self._entries:
                raise ValueError(f"{entry.model} is priced twice for {entry.modality}")
            self._entries[key] = entry
        self._families = sorted(
            (
                (modality, model.removesuffix("*"), entry)
                for (modality, model), entry in self._entries.items()
                if model.endswith("*")
            ),
            key=lambda family: len(family[1]),
            reverse=True,
        )

    def __iter__(self) -> Iterator[CatalogueEntry]:
        return iter(self._entries.values())

    def find(self, modality: Modality, model: str, variant: str | None) -> CatalogueEntry | None:
        """Return the entry of a variant if it has one of its own, else that of the model.

        Args:
            modality: ``stt`` or ``tts``; there are no LLMs here.
            model: ``provider/model``.
            variant: A language or a voice, or None.
        """
        if variant and (entry := self._entries.get((modality, f"{model}:{variant}"))):
            return entry
        if entry := self._entries.get((modality, model)):
            return entry
        for family_modality, prefix, entry in self._families:
            if family_modality == modality and model.startswith(prefix):
                return entry
        return None

    def modality_of(self, model: str) -> Literal["stt", "tts"] | None:
        """Return what kind of model ``provider/model[:variant]`` is; None if it is not here."""
        plain, variant = split_variant(model)
        for modality in ("stt", "tts"):
            if self.find(modality, plain, variant) is not None:
                return modality
        return None


def split_variant(model: str) -> tuple[str, str | None]:
    """Split ``provider/model:variant`` at its last colon; the variant is None without one."""
    plain, colon, variant = model.rpartition(":")
    return (plain, variant or None) if colon else (model, None)


@cache
def load_catalogue() -> Catalogue:
    """Read the data files that come with this package; the same object each time."""
    data = Path(__file__).with_name("data")
    files: tuple[tuple[Modality, str], ...] = (("stt", "stt.yaml"), ("tts", "tts.yaml"))
    return Catalogue(
        entry
        for modality, name in files
        for entry in read_catalogue(modality, (data / name).read_text(encoding="utf-8"), name)
    )


def read_catalogue(modality: Modality, text: str, name: str) -> Iterator[CatalogueEntry]:
    """Read one data file.

    Args:
        modality: What kind of models it lists.
        text: Its YAML text; ``data/stt.yaml`` explains the fields.
        name: Its name, for errors.

    Raises:
        ValueError: An entry is wrong. Says what, and where.
    """
    import yaml  # with libyaml where there is one: ten times as fast

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for model, fields in yaml.load(text, Loader=loader).items():  # noqa: S506 - safe loaders both
        yield from _entries(modality, model, fields, f"{name}: {model}")


def _entries(
    modality: Modality, model: str, fields: Mapping[str, object], where: str
) -> Iterator[CatalogueEntry]:
    if unknown := fields.keys() - _FIELDS:
        raise ValueError(f"{where}: unknown field {', '.join(sorted(unknown))}")
    for required in ("price", "source", "as_of"):
        if not fields.get(required):
            raise ValueError(f"{where}: {required} is missing")
    prices = _prices(model, fields["price"], f"{where}: price")
    batch = _prices(model, fields["batch"], f"{where}: batch") if "batch" in fields else ()
    options = fields.get("add_ons", {})
    others = fields.get("also", [])
    if not isinstance(options, Mapping) or not isinstance(others, list):
        raise ValueError(f"{where}: add_ons is a mapping of names to prices, also a list of models")
    add_ons = {
        option: _prices(model, price, f"{where}: add_ons.{option}")[0]
        for option, price in options.items()
    }
    for name in (model, *others):
        yield CatalogueEntry(
            model=name,
            modality=modality,
            prices=prices,
            batch=batch,
            add_ons=add_ons,
            url=str(fields["source"]),
            as_of=str(fields["as_of"]),
            note=str(fields.get("note", "")),
        )


def _prices(model: str, value: object, where: str) -> tuple[PriceSpec, ...]:
    prices, problems = parse_prices(model.removesuffix("*"), value)
    if problems:
        first = problems[0]
        raise ValueError(f"{where} {first.key}: found {first.found}; expected {first.expected}")
    return prices
