"""docs/pricing.md: its configuration is read, and each figure of its example is calculated."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR, Quantities
from livekit_plugins_voicegateway.pricing.book import PriceBook
from livekit_plugins_voicegateway.pricing.spec import PriceSpec, parse_prices

PAGE = (Path(__file__).parents[2] / "docs" / "pricing.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?P<model>\S+)` \| (?P<used>\w+=.*?) \| (?P<cost>\S+) \|$", re.MULTILINE)


def exact(value: Any) -> Any:
    """Turn the floats of YAML into what was written."""
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [exact(each) for each in value]
    return Decimal(repr(value)) if isinstance(value, float) else value


def prices_of_the_page() -> dict[str, tuple[PriceSpec, ...]]:
    found = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    prices = {}
    for model, value in exact(yaml.safe_load(found[1]))["pricing"].items():
        prices[model], problems = parse_prices(model, value)
        assert problems == []
    return prices


def quantities(text: str) -> Quantities:
    fields: dict[str, Any] = {}
    for part in text.split(", "):
        name, _, value = part.partition("=")
        fields[name] = frozenset({value}) if name == "add_ons" else int(value)
    return Quantities(**fields)


EXAMPLE = [row.groups() for row in ROW.finditer(PAGE)]


def test_no_row_of_the_example_is_left_out() -> None:
    example = PAGE[PAGE.index("## An example") : PAGE.index("## Keeping prices fresh")]
    assert len(EXAMPLE) == example.count("\n| `")


@pytest.mark.parametrize(("model", "used", "cost"), EXAMPLE)
def test_the_example_of_the_page_is_what_a_request_costs(model: str, used: str, cost: str) -> None:
    book = PriceBook({}, {"prod": prices_of_the_page()})
    day = dt.date(2026, 11, 23)
    nanos = book.find_any(model, quantities(used), project="prod", day=day).cost_nanos
    expected = None if cost == "unknown" else Decimal(cost) * NANOS_PER_DOLLAR
    assert nanos == expected


def test_every_key_of_a_price_is_explained() -> None:
    _, problems = parse_prices("acme/model", {"free": True, "?": 1})
    known = problems[0].expected.removeprefix("one of ").partition(";")[0].split(", ")
    assert "minimum_seconds" in known
    table = PAGE[PAGE.index("| Key |") : PAGE.index("One price bills one way")]
    assert [key for key in known if not re.search(rf"`{key}[:`]", table)] == []
