"""The grammar of a price, as users write it under ``pricing:`` and as our catalogue stores it.

`parse_prices` turns one model's entry into `PriceSpec` values, or says everything that is wrong
with it. The configuration reader and the catalogue call it; nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, get_args

from ..errors import did_you_mean

__all__ = ["Basis", "PriceProblem", "PriceSource", "PriceSpec", "TimeUnit", "parse_prices"]

Basis = Literal["audio", "connection", "characters", "tokens", "free"]
"""What is counted: seconds of audio, seconds of open connection, characters, tokens, or nothing."""

PriceSource = Literal["project", "config", "catalogue", "genai-prices", "local"]
"""Who says so: a project's ``pricing``, the top-level one, our catalogue, genai-prices, or nobody
has to, because the model runs here."""

TimeUnit = Literal["second", "minute", "hour"]

SECONDS: Final[Mapping[TimeUnit, int]] = {"second": 1, "minute": 60, "hour": 3600}

_TOKEN_KEYS: Final = ("input", "cached_input", "cache_write", "output")
_BASIS_OF: Final[Mapping[str, Basis]] = {
    "audio": "audio",
    "connection": "connection",
    "characters": "characters",
    "free": "free",
    **dict.fromkeys(_TOKEN_KEYS, "tokens"),
}
_KEYS: Final = (*_BASIS_OF, "per", "minimum_seconds", "from", "until")

_MODEL_KEY: Final = re.compile(r"[^\s/:*]+/[^\s:*]([^\s*]*[^\s:*])?")
_DECIMAL_TEXT: Final = re.compile(r"\d+(\.\d+)?([eE][+-]?\d{1,2})?")
_LARGEST: Final = Decimal(10) ** 12
_FINEST_EXPONENT: Final = -30


class PriceProblem(NamedTuple):
    """One fault of a price.

    Attributes:
        key: Where, below the model's key: ``"audio"``, ``"[1].until"`` in a list, ``""`` for the
            value as a whole (or for the model key itself).
        found: What stands there, shortened.
        expected: What would be right there.
    """

    key: str
    found: str
    expected: str


@dataclasses.dataclass(frozen=True, slots=True)
class PriceSpec:
    """One price of one model, for the days that it holds, as it was published or agreed.

    Exactly one basis is used. A rate that is None is not known; it never means 0.

    Attributes:
        basis: What is counted.
        per: How much of it one rate is for: a time unit for audio and connection, a number of
            tokens or characters otherwise (1 when free).
        audio: Dollars per `per` of audio.
        connection: Dollars per `per` of open connection.
        characters: Dollars per `per` characters.
        input: Dollars per `per` prompt tokens that were neither read from nor written to a cache.
        cached_input: The same for tokens read from the cache; None charges them as `input`.
        cache_write: The same for tokens written to the cache; None charges them as `input`.
        output: Dollars per `per` completion tokens.
        minimum_seconds: Least seconds that one request is billed for, if it used any.
        valid_from: First day that the price holds; None for since ever.
        valid_until: Last day that the price holds, itself included; None for no end.
    """

    basis: Basis
    per: TimeUnit | int = 1
    audio: Decimal | None = None
    connection: Decimal | None = None
    characters: Decimal | None = None
    input: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None
    minimum_seconds: Decimal = Decimal(0)
    valid_from: dt.date | None = None
    valid_until: dt.date | None = None

    def holds_on(self, day: dt.date) -> bool:
        """Return whether this is the price of ``day``."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day <= self.valid_until
        )

    @property
    def units_per_rate(self) -> int:
        """Number of seconds, tokens or characters that one rate is for."""
        return self.per if isinstance(self.per, int) else SECONDS[self.per]

    @property
    def rate_text(self) -> str:
        """The rate as a person would say it: ``0.0048/minute``, ``0.4 in, 1.6 out/1M tokens``."""
        if self.basis == "free":
            return "free"
        if self.basis == "tokens":
            names = {"input": "in", "cached_input": "cached", "cache_write": "write"}
            rates = (
                f"{_plain(rate)} {names.get(key, 'out')}"
                for key in _TOKEN_KEYS
                if (rate := getattr(self, key)) is not None
            )
            return f"{', '.join(rates)}/{_count(self.units_per_rate)} tokens"
        rate = _plain(getattr(self, self.basis))
        if self.basis == "characters":
            return f"{rate}/{_count(self.units_per_rate)} characters"
        text = f"{rate}/{self.per}"
        if self.basis == "connection":
            text += " of connection"
        if self.minimum_seconds:
            text += f", min {_plain(self.minimum_seconds)} s"
        return text


def parse_prices(model_key: str, value: object) -> tuple[tuple[PriceSpec, ...], list[PriceProblem]]:
    """Read the price of one model, one entry or a list of entries that follow each other in time.

    Args:
        model_key: ``provider/model`` or ``provider/model:variant``.
        value: What stands under that key: a mapping, or a list of mappings. Rates and counts are
            int, Decimal or decimal text; days are `datetime.date` or text ``YYYY-MM-DD``.

    Returns:
        The prices, earliest first, and everything that is wrong. An entry with a fault is not among
        the prices. In a list, an entry without ``until`` holds until the day before the next
        begins; ``valid_until`` is then filled in.
    """
    problems: list[PriceProblem] = []
    if not _MODEL_KEY.fullmatch(model_key):
        problems.append(
            PriceProblem(
                "", repr(model_key), "a model such as deepgram/nova-3 or deepgram/nova-3:multi"
            )
        )
    if isinstance(value, Mapping):
        entry = _Entry("", value, problems).read()
        return (() if entry is None else (entry,)), problems
    if not isinstance(value, list | tuple) or not value:
        problems.append(
            PriceProblem(
                "", _shown(value), "a price such as {audio: 0.0048, per: minute}, or a list of them"
            )
        )
        return (), problems
    return _read_list(value, problems), problems


def _read_list(values: Sequence[object], problems: list[PriceProblem]) -> tuple[PriceSpec, ...]:
    read: list[tuple[str, PriceSpec]] = []
    for index, value in enumerate(values):
        where = f"[{index}]"
        if not isinstance(value, Mapping):
            problems.append(
                PriceProblem(where, _shown(value), "a price such as {audio: 0.0048, per: minute}")
            )
        elif (spec := _Entry(where, value, problems).read()) is not None:
            read.append((where, spec))
    read.sort(key=lambda item: item[1].valid_from or dt.date.min)
    prices: list[PriceSpec] = []
    for position, (where, spec) in enumerate(read):
        if position + 1 < len(read):
            next_where, following = read[position + 1]
            starts = following.valid_from
            if starts is None or starts == spec.valid_from:
                problems.append(
                    PriceProblem(
                        f"{next_where}.from",
                        "no date" if starts is None else f"{starts}, as in {where}",
                        "a day on which this price begins; two prices cannot hold at once",
                    )
                )
            elif spec.valid_until is None:
                spec = dataclasses.replace(spec, valid_until=starts - dt.timedelta(days=1))
            elif spec.valid_until >= starts:
                problems.append(
                    PriceProblem(
                        f"{where}.until",
                        str(spec.valid_until),
                        f"a day before {starts}, where {next_where} begins (`until` is the last "
                        "day that a price holds)",
                    )
                )
        prices.append(spec)
    return tuple(prices)


class _Entry:
    """Reads one mapping, and notes all that is wrong with it."""

    def __init__(
        self, where: str, value: Mapping[object, object], problems: list[PriceProblem]
    ) -> None:
        self._where = where
        self._value = value
        self._problems = problems

    def read(self) -> PriceSpec | None:
        known_before = len(self._problems)
        for key in self._value:
            if key not in _KEYS:
                near = did_you_mean(str(key), _KEYS).rstrip(".")
                self._problem(str(key), "an unknown key", f"one of {', '.join(_KEYS)}{near}")
        given = [key for key in _BASIS_OF if key in self._value]
        bases = list(dict.fromkeys(_BASIS_OF[key] for key in given))
        if not bases:
            self._problem(
                "", "no rate", "audio, connection, characters, input and output, or free: true"
            )
        elif len(bases) > 1:
            self._problem(
                "",
                f"{' and '.join(given)} together",
                "one way to bill: tokens (input, output …), audio, connection, characters or free",
            )
        fields: dict[str, Any] = {
            key: self._number(key, self._value[key]) for key in given if key != "free"
        }
        basis = bases[0] if len(bases) == 1 else None
        if "free" in given and self._value["free"] is not True:
            self._problem("free", _shown(self._value["free"]), "true, or leave the key out")
        if basis == "tokens":
            self._check_tokens(given)
        per = self._per(basis)
        minimum = self._minimum(basis)
        first, last = self._day("from"), self._day("until")
        if first is not None and last is not None and last < first:
            self._problem("until", str(last), f"a day not before `from` ({first})")
        if basis is None or len(self._problems) > known_before:
            return None
        return PriceSpec(
            basis=basis,
            per=per,
            minimum_seconds=minimum,
            valid_from=first,
            valid_until=last,
            **fields,
        )

    def _check_tokens(self, given: Sequence[str]) -> None:
        for key in ("cached_input", "cache_write"):
            if key in given and "input" not in given:
                self._problem(
                    key, f"{key} without input", "`input` beside it: the rate of the rest"
                )

    def _number(self, key: str, value: object) -> Decimal:
        expected = "a number of dollars, 0 or more"
        if key == "minimum_seconds":
            expected = "a number of seconds, 0 or more"
        number = _as_decimal(value)
        if number is None:
            self._problem(key, _shown(value), expected)
            return Decimal(0)
        if not number.is_finite() or number < 0:
            self._problem(key, str(number), expected)
            return Decimal(0)
        exponent = number.as_tuple().exponent
        if number > _LARGEST or not isinstance(exponent, int) or exponent < _FINEST_EXPONENT:
            self._problem(key, _shown(value), f"{expected}, of a sensible size")
            return Decimal(0)
        return number

    def _per(self, basis: Basis | None) -> TimeUnit | int:
        value = self._value.get("per")
        if basis == "free":
            if "per" in self._value:
                self._problem("per", _shown(value), "nothing: a free model has no unit")
            return 1
        if basis in ("audio", "connection"):
            for unit in get_args(TimeUnit):
                if value == unit:
                    result: TimeUnit = unit
                    return result
            self._problem("per", _shown(value), "second, minute or hour")
        elif basis is not None:
            number = _as_decimal(value)
            if number is not None and number.is_finite() and 1 <= number <= _LARGEST:
                whole = int(number)
                if whole == number:
                    return whole
            self._problem("per", _shown(value), f"a whole number of {basis} such as 1000000")
        return 1

    def _minimum(self, basis: Basis | None) -> Decimal:
        if "minimum_seconds" not in self._value:
            return Decimal(0)
        if basis not in ("audio", "connection", None):
            self._problem(
                "minimum_seconds",
                f"a price by {basis}" if basis != "free" else "a free model",
                "nothing: only audio and connection are billed by the second",
            )
        return self._number("minimum_seconds", self._value["minimum_seconds"])

    def _day(self, key: str) -> dt.date | None:
        if key not in self._value:
            return None
        value = self._value[key]
        if isinstance(value, str):
            try:
                return dt.date.fromisoformat(value)
            except ValueError:
                pass
        elif isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value
        self._problem(key, _shown(value), "a day, YYYY-MM-DD")
        return None

    def _problem(self, key: str, found: str, expected: str) -> None:
        where = f"{self._where}.{key}" if self._where and key else self._where or key
        self._problems.append(PriceProblem(where, found, expected))


def _as_decimal(value: object) -> Decimal | None:
    """Return an exact number; None for anything else (a bool or a float is no exact number)."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _DECIMAL_TEXT.fullmatch(value):
        return Decimal(value)
    return None


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _plain(number: Decimal) -> str:
    """Write ``0.35`` for ``Decimal("0.350")``, ``1`` for ``Decimal("1E+0")``; no exponent."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _count(number: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number % size == 0:
            return f"{number // size}{letter}"
    return str(number)
