"""Charts and timelines: what is drawn of the answers."""

from __future__ import annotations

from typing import Any, cast

from support.usage_rows import NOON, usage_row

from livekit_plugins_voicegateway.answers import CallAnswer, ProjectAnswer
from livekit_plugins_voicegateway.entries import log_entry, project_entry
from livekit_plugins_voicegateway.ledger.base import Totals
from livekit_plugins_voicegateway.overview import DaySpend
from livekit_plugins_voicegateway.projects import Project
from livekit_plugins_voicegateway.server.dashboard.rendering import call_address, project_address
from livekit_plugins_voicegateway.server.dashboard.views import (
    Paging,
    Timeline,
    daily_chart,
    timeline,
)

DAYS = ("2027-01-14", "2027-01-15")


def spend(project: str, day: str, cost: float | None, unpriced: int = 0) -> DaySpend:
    return cast(
        DaySpend,
        {"project": project, "day": day, "cost": cost, "unpriced_requests": unpriced},
    )


def known(*projects: Project) -> dict[str, ProjectAnswer]:
    return {project.id: project_entry(project, Totals()) for project in projects}


def test_the_most_expensive_project_is_drawn_first_in_its_colour() -> None:
    projects = known(
        Project("a", tags=("staging",)), Project("b", name="Bee", tags=("prod",)), Project("c")
    )
    spends = [spend("a", DAYS[0], 1.0), spend("b", DAYS[1], 3.0), spend("c", DAYS[1], 0.5)]
    chart = daily_chart(DAYS, spends, projects)
    assert [(one.name, one.accent, one.costs) for one in chart.series] == [
        ("Bee", "green", (None, 3.0)),
        ("a", "yellow", (1.0, None)),
        ("c", "pink", (None, 0.5)),
    ]
    assert chart.labels == ("14 Jan", "15 Jan")


def test_what_has_no_price_is_no_zero_in_a_chart() -> None:
    chart = daily_chart(DAYS, [spend("a", DAYS[0], None, 4), spend("a", DAYS[1], 0.0)], {})
    assert chart.series[0].costs == (None, 0.0)
    assert chart.series[0].unpriced == (4, 0)


def test_projects_of_one_colour_have_shades_of_it() -> None:
    spends = [spend(name, DAYS[0], cost) for name, cost in (("x", 1.0), ("y", 2.0))]
    assert [(one.name, one.shade) for one in daily_chart(DAYS, spends, {}).series] == [
        ("y", 0),
        ("x", 1),
    ]


def test_the_cheapest_of_many_projects_are_drawn_as_one() -> None:
    spends = [spend(f"p{number:02}", DAYS[0], float(number)) for number in range(1, 31)]
    series = daily_chart(DAYS, [*spends, spend("q", DAYS[1], None, 2)], {}).series
    assert len(series) == 12
    assert series[0].name == "p30"
    assert (series[-1].name, series[-1].costs) == ("20 others", (190.0, None))
    assert series[-1].unpriced == (0, 2)
    assert sum(one.costs[0] or 0 for one in series) == sum(range(1, 31))


def drawn(*rows: Any, now: float = NOON + 60) -> Timeline:
    logs = [log_entry(row) for row in rows]
    turns = [
        {"speech_id": entry["speech_id"], "started_at": entry["started_at"]}
        for entry in logs
        if entry["speech_id"] and entry["modality"] == "llm"
    ]
    start = min(entry["started_at"] for entry in logs)
    return timeline(cast(CallAnswer, {"started_at": start, "turns": turns}), logs, now)


def test_bars_stand_where_and_as_long_as_requests_were() -> None:
    line = drawn(
        usage_row(modality="stt", started_at=NOON, ended_at=NOON + 10),
        usage_row(started_at=NOON + 2, ended_at=NOON + 4, ttfb_ms=500.0, speech_id="s"),
        usage_row(
            modality="tts", started_at=NOON + 3, ended_at=NOON + 6, ttfb_ms=400.0, speech_id="s"
        ),
    )
    assert line.seconds == 10
    assert [(bar.modality, bar.lane, bar.x, bar.width) for bar in line.bars] == [
        ("stt", 0, 0.0, 1000.0),
        ("llm", 1, 200.0, 200.0),
        ("tts", 2, 300.0, 300.0),
    ]
    (turn,) = line.turns
    assert (turn.offset, turn.seconds, line.longest) == (2, 4, 4)
    assert [(bar.lane, bar.x, bar.width, bar.waiting) for bar in turn.bars] == [
        (0, 0.0, 500.0, 125.0),
        (1, 250.0, 750.0, 100.0),
    ]


def test_what_runs_is_drawn_until_now() -> None:
    line = drawn(usage_row(modality="stt", status="open", started_at=NOON), now=NOON + 30)
    assert line.seconds == 30
    assert line.bars[0].width == 1000


def test_the_shortest_request_can_be_seen_and_none_leaves_the_picture() -> None:
    line = drawn(
        usage_row(modality="stt", started_at=NOON, ended_at=NOON + 3600),
        usage_row(started_at=NOON + 3600, ended_at=NOON + 3600, ttfb_ms=9_000.0, speech_id="s"),
    )
    for bar in (*line.bars, *line.turns[0].bars):
        assert bar.width >= 3
        assert 0 <= bar.x <= bar.x + bar.width <= 1000
        assert bar.waiting <= bar.width


def test_a_room_of_any_name_has_an_address() -> None:
    assert call_address("a/b c") == "/calls/a%2Fb%20c"
    assert call_address("..") == "/calls/?room=.."
    assert project_address("a/b?") == "/projects/a%2Fb%3F"


def test_pages_keep_what_was_chosen() -> None:
    chosen = {"project": "a&b", "modality": "", "cursor": "here"}
    paging = Paging("/requests", chosen, "there")
    assert not paging.is_first
    assert paging.newest == "/requests?project=a%26b"
    assert paging.older == "/requests?project=a%26b&cursor=there"
