"""Periods: what they are called, and which days they are."""

from __future__ import annotations

import pytest

from livekit_plugins_voicegateway.periods import PERIODS, parse_period


@pytest.mark.parametrize(
    ("name", "first_day", "last_day"),
    [
        ("today", "2027-03-01", "2027-03-01"),
        ("yesterday", "2027-02-28", "2027-02-28"),
        ("7d", "2027-02-23", "2027-03-01"),
        ("30d", "2027-01-31", "2027-03-01"),
        ("month", "2027-03-01", "2027-03-01"),
        ("2027-01-01..2027-12-31", "2027-01-01", "2027-12-31"),
        ("2027-01-05..2027-01-05", "2027-01-05", "2027-01-05"),
    ],
)
def test_a_period_names_its_first_and_its_last_day(
    name: str, first_day: str, last_day: str
) -> None:
    assert parse_period(name, "2027-03-01") == (name, first_day, last_day)


def test_all_holds_every_day() -> None:
    period = parse_period("all", "2027-03-01")
    assert period is not None
    assert period.first_day < "0001-01-01"
    assert period.last_day > "9999-12-31"


def test_every_period_with_a_name_is_one() -> None:
    assert all(parse_period(name, "2027-03-01") for name in PERIODS)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Today",
        "8d",
        "2027-01-01",
        "2027-01-02..2027-01-01",
        "2027-02-29..2027-03-01",
        "2027-1-1..2027-2-1",
        "2027-01-01..",
        "2027-01-01...2027-01-02",
        "٢٠٢٧-01-01..2027-01-02",
    ],
)
def test_what_names_no_days_is_no_period(name: str) -> None:
    assert parse_period(name, "2027-03-01") is None
