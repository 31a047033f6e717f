"""Days of a time zone: where they begin and end, and to which one a moment belongs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, strategies as st

from livekit_plugins_voicegateway.config import Config
from livekit_plugins_voicegateway.days import Days

HOUR = 3600.0
BERLIN = ZoneInfo("Europe/Berlin")


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", "2027-03-28", 24),
        ("Europe/Berlin", "2027-03-27", 24),
        ("Europe/Berlin", "2027-03-28", 23),
        ("Europe/Berlin", "2027-10-31", 25),
        ("America/New_York", "2027-03-14", 23),
        ("America/New_York", "2027-11-07", 25),
        ("Australia/Lord_Howe", "2027-04-04", 24.5),
        ("Africa/Cairo", "2024-04-26", 23),  # midnight itself is skipped
        ("America/Havana", "2024-11-03", 25),  # midnight comes twice
        ("Pacific/Apia", "2011-12-30", 0),  # a day that never was
    ],
)
def test_a_day_has_the_hours_between_its_midnights(zone: str, day: str, hours: float) -> None:
    start, end = Days(ZoneInfo(zone)).bounds(day)
    assert (end - start) / HOUR == hours


def test_a_day_begins_where_the_clocks_of_the_zone_say() -> None:
    assert Days(BERLIN).bounds("2027-07-01") == (
        unix("2027-06-30T22:00:00+00:00"),
        unix("2027-07-01T22:00:00+00:00"),
    )


def test_where_midnight_is_skipped_the_day_begins_with_the_change() -> None:
    start, _ = Days(ZoneInfo("Africa/Cairo")).bounds("2024-04-26")
    assert start == unix("2024-04-25T22:00:00+00:00")


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2027-03-27T23:59:59.999999+01:00", "2027-03-27"),
        ("2027-03-28T00:00:00+01:00", "2027-03-28"),
        ("2027-03-28T23:59:59+02:00", "2027-03-28"),
        ("2027-03-29T00:00:00+02:00", "2027-03-29"),
        ("2027-10-31T23:59:59+01:00", "2027-10-31"),
    ],
)
def test_a_moment_belongs_to_the_day_on_the_clock(moment: str, day: str) -> None:
    assert Days(BERLIN).day_of(unix(moment)) == day


def test_an_instant_before_midnight_is_not_rounded_up_to_it() -> None:
    days = Days(BERLIN)
    midnight, _ = days.bounds("2027-07-01")
    just_before = midnight - 2e-7
    assert just_before < midnight
    assert datetime.fromtimestamp(just_before, BERLIN).date() == date(2027, 7, 1)
    assert days.day_of(just_before) == "2027-06-30"


def test_moments_may_be_asked_for_in_any_order() -> None:
    days = Days(BERLIN)
    midnight, _ = days.bounds("2027-07-01")
    asked = [days.day_of(midnight + offset) for offset in (0.0, -1.0, 1.0, -1.0, 90_000.0, 0.0)]
    assert [day[-2:] for day in asked] == ["01", "30", "01", "30", "02", "01"]


def test_clocks_that_go_back_over_midnight_do_not_bring_the_old_day_back() -> None:
    # St. John's changed at one minute past midnight until 2011
    days = Days(ZoneInfo("America/St_Johns"))
    start, end = days.bounds("2010-11-07")
    assert (end - start) / HOUR == 25
    assert days.day_of(start + 120) == "2010-11-07"
    assert datetime.fromtimestamp(start + 120, days.zone).date() == date(2010, 11, 6)


@given(
    zone=st.sampled_from(sorted(available_timezones())),
    moment=st.floats(unix("1971-01-01T00:00:00+00:00"), unix("2200-01-01T00:00:00+00:00")),
)
def test_every_moment_lies_within_its_day_and_days_leave_no_gap(zone: str, moment: float) -> None:
    days = Days(ZoneInfo(zone))
    day = days.day_of(moment)
    start, end = days.bounds(day)
    assert start <= moment < end
    assert days.day_of(start) == days.day_of(moment) == day
    following = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    assert days.bounds(following)[0] == end


@given(moment=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_day_is_the_local_date(moment: datetime) -> None:
    day = Days(BERLIN).day_of(moment.timestamp())
    assert day == moment.astimezone(BERLIN).date().isoformat()


@pytest.mark.parametrize(
    "day", ["", "today", "2027-02-29", "20270101", "2027-W01-1", "2027-1-1", "9999-12-31"]
)
def test_what_is_no_day_has_no_bounds(day: str) -> None:
    with pytest.raises(ValueError, match="is no day: write it as YYYY-MM-DD"):
        Days(BERLIN).bounds(day)


def test_the_configuration_has_the_calendar_of_its_zone() -> None:
    config = Config(timezone=ZoneInfo("Asia/Tokyo"))
    assert config.days.day_of(unix("2027-01-01T15:00:00+00:00")) == "2027-01-02"
