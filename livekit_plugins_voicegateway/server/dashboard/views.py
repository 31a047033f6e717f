"""What pages show beside the answers themselves: charts, timelines, and where pages lead to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import urlencode

from ...answers import CallAnswer, LogEntry, ProjectAnswer
from ...metering.usage import Modality
from ...overview import DaySpend
from ...projects import Accent

__all__ = [
    "Bar",
    "Chart",
    "Paging",
    "Series",
    "Timeline",
    "TurnView",
    "accent_of",
    "daily_chart",
    "price_source",
    "timeline",
]

_WIDTH: Final = 1000
"""Units across a timeline."""

_THINNEST: Final = 3.0
"""Units that a bar has at least, so that it can be seen."""

_MOST_SERIES: Final = 12
"""Projects that a chart tells apart; the cheapest of more are drawn as one."""

_LANES: Final[Mapping[Modality, int]] = {"stt": 0, "llm": 1, "tts": 2}


@dataclass(frozen=True, slots=True)
class Series:
    """One project in a chart.

    Attributes:
        project: Its id; empty for several that are drawn as one.
        name: For people.
        accent: Its colour.
        shade: 0 for the first project of this colour, 1 for the next, which is paler.
        costs: Dollars by day; None where nothing has a known price, or nothing was used.
        unpriced: Requests of unknown price by day.
    """

    project: str
    name: str
    accent: Accent
    shade: int
    costs: tuple[float | None, ...]
    unpriced: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Cost per day, stacked by project.

    Attributes:
        days: ``YYYY-MM-DD``, oldest first.
        labels: The same for people.
        series: The projects, the most expensive first.
    """

    days: tuple[str, ...]
    labels: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def data(self) -> dict[str, Any]:
        """What the script that draws it reads."""
        return {
            "labels": self.labels,
            "series": [
                {
                    "name": series.name,
                    "accent": series.accent,
                    "shade": series.shade,
                    "costs": series.costs,
                    "unpriced": series.unpriced,
                }
                for series in self.series
            ],
        }


def daily_chart(
    days: Sequence[str], spends: Iterable[DaySpend], projects: Mapping[str, ProjectAnswer]
) -> Chart:
    """Make the chart of cost per project and day.

    Args:
        days: All days, oldest first.
        spends: What was spent in them.
        projects: Those of the configuration, by id.
    """
    by_project: dict[str, dict[str, DaySpend]] = {}
    for spend in spends:
        by_project.setdefault(spend["project"], {})[spend["day"]] = spend
    ordered = sorted(by_project.items(), key=lambda item: (-_sum(item[1]), item[0]))
    told_apart = len(ordered) if len(ordered) <= _MOST_SERIES else _MOST_SERIES - 1
    shades: dict[Accent, int] = {}
    series = []
    for project, by_day in ordered[:told_apart]:
        accent = accent_of(project, projects)
        shades[accent] = shade = shades.get(accent, -1) + 1
        name = projects[project]["name"] if project in projects else project
        series.append(_series(project, name, accent, shade, days, [by_day]))
    if rest := [by_day for _, by_day in ordered[told_apart:]]:
        shade = shades.get("pink", -1) + 1
        series.append(_series("", f"{len(rest)} others", "pink", shade, days, rest))
    labels = tuple(f"{date.fromisoformat(day):%d %b}" for day in days)
    return Chart(tuple(days), labels, tuple(series))


def accent_of(project: str, projects: Mapping[str, ProjectAnswer]) -> Accent:
    """Return a project's colour; one that has left the configuration has no tag, and so pink."""
    return projects[project]["accent"] if project in projects else "pink"


def _series(
    project: str,
    name: str,
    accent: Accent,
    shade: int,
    days: Sequence[str],
    parts: Sequence[Mapping[str, DaySpend]],
) -> Series:
    """Add up by day what one or several projects spent."""
    costs: list[float | None] = []
    unpriced = []
    for day in days:
        spends = [part[day] for part in parts if day in part]
        known = [spend["cost"] for spend in spends if spend["cost"] is not None]
        costs.append(round(sum(known), 9) if known else None)
        unpriced.append(sum(spend["unpriced_requests"] for spend in spends))
    return Series(project, name, accent, shade, tuple(costs), tuple(unpriced))


def _sum(by_day: Mapping[str, DaySpend]) -> float:
    return sum(spend["cost"] or 0.0 for spend in by_day.values())


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a timeline.

    Attributes:
        modality: Kind of model.
        lane: Row, from 0.
        x: Where it begins, in units of a timeline 1000 wide.
        width: How wide it is.
        waiting: How much of the width went by before the first result.
        label: What it is, for who points at it.
        status: How it ended.
    """

    modality: Modality
    lane: int
    x: float
    width: float
    waiting: float
    label: str
    status: str


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn: its number, when it began within the call, and its bars from its own start on."""

    number: int
    turn: Mapping[str, Any]
    offset: float
    seconds: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A call drawn: everything from its start to its end, and each turn by itself.

    Attributes:
        seconds: How long the call lasted, or has lasted.
        bars: All requests in three lanes.
        turns: Turns, all to the scale of the longest.
        longest: Seconds of the longest turn.
    """

    seconds: float
    bars: tuple[Bar, ...]
    turns: tuple[TurnView, ...]
    longest: float


def timeline(call: CallAnswer, logs: Sequence[LogEntry], now: float) -> Timeline:
    """Draw a call.

    Args:
        call: Its receipt.
        logs: Its requests.
        now: Unix time; what runs ends there.
    """
    start = _unix(call["started_at"])
    end = max([start, *(_end(entry, now) for entry in logs)])
    ordered = sorted(logs, key=lambda entry: entry["started_at"])
    of_turn: dict[str, list[LogEntry]] = {}
    for entry in ordered:
        if entry["speech_id"] is not None:
            of_turn.setdefault(entry["speech_id"], []).append(entry)
    spans = {
        speech_id: max(_end(entry, now) for entry in entries) - _unix(entries[0]["started_at"])
        for speech_id, entries in of_turn.items()
    }
    longest = max(spans.values(), default=0.0)
    turns = []
    for number, turn in enumerate(call["turns"], start=1):
        entries = of_turn.get(turn["speech_id"], [])
        begin = _unix(turn["started_at"])
        turns.append(
            TurnView(
                number,
                turn,
                max(0.0, begin - start),
                spans.get(turn["speech_id"], 0.0),
                tuple(_bar(entry, begin, longest, now, lanes=False) for entry in entries),
            )
        )
    bars = tuple(_bar(entry, start, end - start, now, lanes=True) for entry in ordered)
    return Timeline(end - start, bars, tuple(turns), longest)


def _bar(entry: LogEntry, origin: float, length: float, now: float, *, lanes: bool) -> Bar:
    scale = _WIDTH / length if length > 0 else 0.0
    begin, end = _unix(entry["started_at"]), _end(entry, now)
    x = min(max(0.0, (begin - origin) * scale), _WIDTH - _THINNEST)
    width = min(max(_THINNEST, (end - begin) * scale), _WIDTH - x)
    waiting = min(width, (entry["ttfb_ms"] or 0.0) / 1000 * scale)
    lane = _LANES[entry["modality"]]
    return Bar(
        entry["modality"],
        lane if lanes else max(0, lane - 1),
        round(x, 1),
        round(width, 1),
        # a transcript is waited for while somebody speaks; that is no delay
        0.0 if entry["modality"] == "stt" else round(waiting, 1),
        f"{entry['modality'].upper()} {entry['provider']}/{entry['model']}, {entry['status']}",
        entry["status"],
    )


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _end(entry: LogEntry, now: float) -> float:
    return now if entry["ended_at"] is None else _unix(entry["ended_at"])


@dataclass(frozen=True, slots=True)
class Paging:
    """Where a list goes on.

    Attributes:
        path: The page.
        chosen: Its fields, ``cursor`` among them.
        following: ``next_cursor`` of the list; None at its end.
    """

    path: str
    chosen: Mapping[str, str]
    following: str | None

    @property
    def is_first(self) -> bool:
        """Whether this is where the newest stand."""
        return not self.chosen["cursor"]

    @property
    def newest(self) -> str:
        """Address of the first page."""
        return self._address("")

    @property
    def older(self) -> str:
        """Address of the next page."""
        return self._address(self.following or "")

    def _address(self, cursor: str) -> str:
        fields = {name: value for name, value in self.chosen.items() if value and name != "cursor"}
        if cursor:
            fields["cursor"] = cursor
        return f"{self.path}?{urlencode(fields)}" if fields else self.path


def price_source(label: str) -> tuple[str, str]:
    """Split the label of a price into where it comes from, and what it says."""
    source, _, rest = label.partition(" ")
    return source, rest
