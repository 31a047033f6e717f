"""The grammar of prices: what can be written, and what is said of what cannot."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from livekit_plugins_voicegateway.pricing.spec import PriceProblem, PriceSpec, parse_prices


def parsed(value: object, key: str = "acme/model") -> tuple[PriceSpec, ...]:
    prices, problems = parse_prices(key, value)
    assert problems == []
    return prices


def problems_of(value: object, key: str = "acme/model") -> list[PriceProblem]:
    _, problems = parse_prices(key, value)
    assert problems
    return problems


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"audio": Decimal("0.0040"), "per": "minute"},
            PriceSpec("audio", per="minute", audio=Decimal("0.004")),
        ),
        (
            {"audio": Decimal("0.04"), "per": "hour", "minimum_seconds": 10},
            PriceSpec("audio", per="hour", audio=Decimal("0.04"), minimum_seconds=Decimal(10)),
        ),
        (
            {"connection": Decimal("0.12"), "per": "hour"},
            PriceSpec("connection", per="hour", connection=Decimal("0.12")),
        ),
        (
            {"characters": 45, "per": 1000000},
            PriceSpec("characters", per=1_000_000, characters=Decimal(45)),
        ),
        (
            {"input": "0.35", "cached_input": "0.09", "output": "1.40", "per": "1000000"},
            PriceSpec(
                "tokens",
                per=1_000_000,
                input=Decimal("0.35"),
                cached_input=Decimal("0.09"),
                output=Decimal("1.4"),
            ),
        ),
        (
            {"input": 1, "cache_write": Decimal("1.25"), "output": 5, "per": Decimal("1E+6")},
            PriceSpec(
                "tokens",
                per=1_000_000,
                input=Decimal(1),
                cache_write=Decimal("1.25"),
                output=Decimal(5),
            ),
        ),
        ({"free": True}, PriceSpec("free")),
    ],
)
def test_each_way_to_bill_is_read_exactly(value: object, expected: PriceSpec) -> None:
    assert parsed(value) == (expected,)


def test_an_entry_without_end_holds_until_the_day_before_the_next_begins() -> None:
    first, second = parsed(
        [
            {"characters": 45, "per": 1000000},
            {"characters": 40, "per": 1000000, "from": dt.date(2027, 1, 1)},
        ]
    )
    assert (first.valid_from, first.valid_until) == (None, dt.date(2026, 12, 31))
    assert (second.valid_from, second.valid_until) == (dt.date(2027, 1, 1), None)
    assert first.holds_on(dt.date(2026, 12, 31))
    assert not first.holds_on(dt.date(2027, 1, 1))
    assert second.holds_on(dt.date(2027, 1, 1))


def test_entries_may_stand_in_any_order_and_may_leave_days_without_a_price() -> None:
    first, second = parsed(
        [
            {"audio": 2, "per": "hour", "from": "2027-03-01"},
            {"audio": 1, "per": "hour", "from": "2027-01-01", "until": "2027-01-31"},
        ]
    )
    assert first.audio == 1
    assert second.audio == 2
    assert first.valid_until == dt.date(2027, 1, 31)


def test_until_is_the_last_day_that_a_price_holds() -> None:
    (price,) = parsed({"audio": 1, "per": "hour", "until": dt.date(2027, 1, 31)})
    assert price.holds_on(dt.date(2027, 1, 31))
    assert not price.holds_on(dt.date(2027, 2, 1))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"audio": 1}, "per"),
        ({"audio": 1, "per": "day"}, "per"),
        ({"audio": 1, "per": 60}, "per"),
        ({"characters": 1, "per": "minute"}, "per"),
        ({"characters": 1, "per": Decimal("1.5")}, "per"),
        ({"input": 1, "output": 1, "per": 0}, "per"),
        ({"input": 1, "output": 1}, "per"),
        ({"audio": -1, "per": "hour"}, "audio"),
        ({"audio": Decimal("NaN"), "per": "hour"}, "audio"),
        ({"audio": Decimal("Infinity"), "per": "hour"}, "audio"),
        ({"audio": Decimal("1E+999999"), "per": "hour"}, "audio"),
        ({"audio": Decimal("1E-999999"), "per": "hour"}, "audio"),
        ({"audio": True, "per": "hour"}, "audio"),
        ({"audio": None, "per": "hour"}, "audio"),
        ({"audio": 0.1, "per": "hour"}, "audio"),
        ({"audio": "cheap", "per": "hour"}, "audio"),
        ({"audio": [1], "per": "hour"}, "audio"),
        ({"audio": 1, "per": "hour", "minimum_seconds": -1}, "minimum_seconds"),
        ({"characters": 1, "per": 1000, "minimum_seconds": 1}, "minimum_seconds"),
        ({"free": True, "minimum_seconds": 1}, "minimum_seconds"),
        ({"free": False}, "free"),
        ({"free": True, "per": 1000}, "per"),
        ({"cached_input": 1, "output": 1, "per": 1000}, "cached_input"),
        ({"output": 1, "cache_write": 1, "per": 1000}, "cache_write"),
        ({"audio": 1, "per": "hour", "from": "soon"}, "from"),
        ({"audio": 1, "per": "hour", "from": dt.datetime(2027, 1, 1, tzinfo=dt.UTC)}, "from"),
        ({"audio": 1, "per": "hour", "from": "2027-02-01", "until": "2027-01-01"}, "until"),
        ({"audio": 1, "connection": 1, "per": "hour"}, ""),
        ({"characters": 1, "input": 1, "per": 1000}, ""),
        ({"free": True, "audio": 1, "per": "hour"}, ""),
        ({"per": "hour"}, ""),
        ({}, ""),
        ([], ""),
        (5, ""),
        (None, ""),
        ([{"audio": 1, "per": "hour"}, 5], "[1]"),
        ([{"audio": 1, "per": "day"}], "[0].per"),
        ([{"free": True}, {"free": True}], "[1].from"),
        (
            [
                {"free": True, "from": "2027-01-01"},
                {"audio": 1, "per": "hour", "from": "2027-01-01"},
            ],
            "[1].from",
        ),
        (
            [
                {"free": True, "until": "2027-01-01"},
                {"audio": 1, "per": "hour", "from": "2027-01-01"},
            ],
            "[0].until",
        ),
    ],
)
def test_a_wrong_price_says_which_key_is_wrong(value: object, where: str) -> None:
    (problem,) = problems_of(value)
    assert problem.key == where
    assert problem.found
    assert problem.expected


@pytest.mark.parametrize(
    "key",
    ["deepgram", "/nova-3", "deepgram/", "deepgram/:multi", "deepgram/nova-3:", " a/b", "ollama/*"],
)
def test_a_key_that_is_no_model_is_a_problem(key: str) -> None:
    (problem,) = problems_of({"free": True}, key)
    assert problem.key == ""
    assert problem.found == repr(key)


def test_an_unknown_key_names_the_nearest_one() -> None:
    (problem,) = problems_of({"audio": 1, "per": "hour", "minimum_second": 10})
    assert problem.key == "minimum_second"
    assert "did you mean 'minimum_seconds'" in problem.expected


def test_all_problems_are_reported_at_once() -> None:
    problems = problems_of(
        [
            {"audio": -1, "per": "day", "from": "soon", "colour": "green"},
            {"characters": "many", "per": "minute"},
        ]
    )
    assert [problem.key for problem in problems] == [
        "[0].colour",
        "[0].audio",
        "[0].per",
        "[0].from",
        "[1].characters",
        "[1].per",
    ]


@pytest.mark.parametrize(
    "key",
    ["deepgram/nova-3:multi", "ollama/llama3.2:3b", "groq/canopylabs/orpheus-v1-english", "a/b"],
)
def test_models_with_variants_and_slashes_are_keys(key: str) -> None:
    assert parsed({"free": True}, key)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"audio": Decimal("0.0040"), "per": "minute"}, "0.004/minute"),
        ({"audio": "0.04", "per": "hour", "minimum_seconds": 10}, "0.04/hour, min 10 s"),
        ({"connection": "0.15", "per": "hour"}, "0.15/hour of connection"),
        ({"characters": 50, "per": 1000000}, "50/1M characters"),
        ({"characters": "0.05", "per": 1000}, "0.05/1k characters"),
        ({"characters": "0.05", "per": 10}, "0.05/10 characters"),
        (
            {"input": 1, "cached_input": "0.1", "cache_write": "1.25", "output": 5, "per": 1000000},
            "1 in, 0.1 cached, 1.25 write, 5 out/1M tokens",
        ),
        ({"free": True}, "free"),
    ],
)
def test_a_rate_reads_as_a_person_would_say_it(value: object, text: str) -> None:
    (price,) = parsed(value)
    assert price.rate_text == text
