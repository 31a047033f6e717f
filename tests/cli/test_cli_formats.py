"""Amounts, times and quantities as people read them."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from livekit_plugins_voicegateway.cli import formats


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (12.4, "$12.40"),
        (Decimal("50.00"), "$50.00"),
        (1234567.891, "$1,234,567.89"),
        (1.005, "$1.01"),
        (0.9999, "$1.00"),
        (0.5, "$0.50"),
        (0.0412, "$0.0412"),
        (0.000412, "$0.000412"),
        (0.00041249, "$0.000412"),
        (0.000000001, "$0.000000001"),
        (-0.25, "-$0.25"),
    ],
)
def test_an_amount_has_enough_digits(amount: float | None, shown: str) -> None:
    assert formats.dollars(amount) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(None, "unknown"), (0.000111111, "$0.000111111"), (3, "$3.00"), (0.0315, "$0.0315")],
)
def test_an_exact_amount_has_every_digit(amount: float | None, shown: str) -> None:
    assert formats.exact_dollars(amount) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 50, "0 %"),
        (0.01, 50, "<1 %"),
        (12.4, 50, "25 %"),
        (49.9, 50, ">99 %"),
        (50, 50, "100 %"),
        (75, 50, "150 %"),
        (0, 0, "–"),
        (1, 0, "over"),
    ],
)
def test_a_share_is_neither_nothing_nor_all_before_it_is(
    part: float, whole: float, shown: str
) -> None:
    assert formats.percent(part, whole) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 50, "░░░░"), (25, 50, "██░░"), (49.9, 50, "███░"), (50, 50, "████"), (1, 0, "████")],
)
def test_a_bar_is_full_only_when_all_is_spent(part: float, whole: float, shown: str) -> None:
    assert formats.bar(part, whole, 4) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (9999, "9,999"),
        (18_000, "18.0k"),
        (99_960, "100k"),
        (999_600, "1.00M"),
        (1_234_567, "1.23M"),
        (2_500_000_000, "2.50G"),
        (10**13, "10,000G"),
    ],
)
def test_a_count_is_short(number: int, shown: str) -> None:
    assert formats.count(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (4.2, "4.2 s"),
        (59.96, "1 min 0 s"),
        (724, "12 min 4 s"),
        (3599.7, "1 h 0 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_a_length_of_time_is_in_units_that_fit(seconds: float, shown: str) -> None:
    assert formats.span(seconds) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, ""), (0.4, "0 ms"), (411.6, "412 ms"), (999.6, "1.00 s"), (61_000, "1 min 1 s")],
)
def test_a_latency_is_in_units_that_fit(milliseconds: float | None, shown: str) -> None:
    assert formats.latency(milliseconds) == shown


def test_only_what_was_used_is_named() -> None:
    completion = {"input_tokens": 18_000, "cached_input_tokens": 12_000, "output_tokens": 900}
    assert formats.used(completion) == "18.0k in (12.0k cached), 900 out"
    assert formats.used(completion, brief=True) == "18.0k in, 900 out"
    speech = {"audio_seconds": 11.2, "characters": 180}
    assert formats.used(speech) == "11.2 s audio, 180 chars"
    assert formats.used(speech, brief=True) == "180 chars"
    assert formats.used({"audio_seconds": 0.0}) == ""


def test_a_moment_is_told_on_the_clock_of_the_zone() -> None:
    moment = "2026-11-23T23:30:00.250Z"
    assert formats.local_time(moment, UTC) == "2026-11-23 23:30:00"
    assert formats.local_time(moment, ZoneInfo("Asia/Tokyo")) == "2026-11-24 08:30:00"
    assert formats.local_time(None, UTC) == ""


def test_a_summary_leaves_out_what_is_nothing() -> None:
    totals = {"requests": 1, "unpriced_requests": 0, "estimated_cost": 0.0}
    assert formats.summary(0.5, totals) == "$0.50 for 1 request"
    totals = {"requests": 5, "unpriced_requests": 3, "estimated_cost": 0.1}
    assert formats.summary(0.5, totals) == (
        "$0.50 for 5 requests · 3 requests unpriced · $0.10 of it estimated"
    )
    totals = {"requests": 3, "unpriced_requests": 3, "estimated_cost": 0}
    assert formats.summary(None, totals) == "unknown for 3 requests · 3 requests unpriced"
