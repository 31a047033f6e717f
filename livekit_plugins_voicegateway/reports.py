"""The questions that every front asks: costs, projects, logs, calls, prices, and what adds up.

Command line, HTTP API, MCP server and dashboard ask here and show what they get, so that the same
number is the same everywhere. Answers are plain data of the shapes in `answers`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Final, Literal, get_args

from .answers import (
    CallAnswer,
    CallsAnswer,
    CostsAnswer,
    LogsAnswer,
    PriceAnswer,
    PricesAnswer,
    ProjectAnswer,
    ProjectsAnswer,
    VerifyAnswer,
    dollars,
    totals_entry,
)
from .cursors import read_cursor, write_cursor
from .entries import (
    difference_entries,
    log_entry,
    price_entry,
    project_entry,
    quantities_entry,
)
from .errors import InvalidQueryError, QueryProblem, UnknownCallError, UnknownProjectError
from .ledger.base import CostLine, Position, RowFilter, Totals
from .metering.usage import Modality, Quantities, Status
from .overview import (
    FORECAST_DAYS,
    LATENCY_SAMPLE,
    ChargesAnswer,
    LatencyAnswer,
    LiveAnswer,
    OverviewAnswer,
    charge_entries,
    day_spends,
    days_until,
    forecast,
    latency_entries,
    live_answer,
    totals_since,
)
from .periods import PERIODS, Period, parse_period
from .receipts import call_receipts, turn_entries
from .times import to_iso

if TYPE_CHECKING:
    from .config import Config
    from .ledger.base import Ledger
    from .pricing.book import PriceBook

__all__ = ["LARGEST_PAGE", "Reports", "split_model"]

LARGEST_PAGE: Final = 1000
"""Items that a page of a list holds at most."""

_LIVE_SHOWN: Final = 20
"""Requests that run now, of all those that are counted, that an answer has."""

_LATELY: Final = 30
"""Days of which charges and latencies are taken, today included."""


class Reports:
    """Answers questions about usage and money.

    Every method may raise `LedgerError`; those that take values, `InvalidQueryError`, which names
    all wrong ones; those that take a project, `UnknownProjectError`.

    Args:
        config: Projects, budgets and the time zone of days.
        ledger: An open ledger; reading is enough.
        clock: Unix time in seconds.
        price_book: Prices; made from the configuration at the first question when left out.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.time,
        price_book: PriceBook | None = None,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._clock = clock
        self._price_book = price_book

    async def costs(self, period: str = "today", project: str | None = None) -> CostsAnswer:
        """Say what was spent in a period, by project, modality, model and day.

        Args:
            period: One of `periods.PERIODS`, or ``YYYY-MM-DD..YYYY-MM-DD``.
            project: Id of a project, which may have left the configuration; None for all.
        """
        today = self._today()
        days = await self.days(period, project, today=today)
        lines = await self._ledger.costs(days.first_day, days.last_day, project)
        by_day = sorted(_of("day", lines), key=lambda line: line.day or "")
        total = totals_entry(sum((line.totals for line in by_day), Totals()))
        known = [line.day for line in by_day if line.day is not None]
        return {
            "period": period,
            "from": days.first_day or min([*known, today]),
            "to": max([*known, today]) if days.last_day == "~" else days.last_day,
            "timezone": self._config.timezone.key,
            "project": project,
            "currency": "USD",
            "total_cost": total["cost"],
            "requests": total["requests"],
            "unpriced_requests": total["unpriced_requests"],
            "estimated_cost": total["estimated_cost"],
            "by_project": [
                {"project": line.project or "", **totals_entry(line.totals)}
                for line in _of("project", lines)
            ],
            "by_modality": [
                {"modality": line.modality, **totals_entry(line.totals)}
                for line in _of("modality", lines)
                if line.modality is not None
            ],
            "by_model": [
                {
                    "modality": line.modality,
                    "provider": line.provider or "",
                    "model": line.model or "",
                    **totals_entry(line.totals),
                }
                for line in _of("model", lines)
                if line.modality is not None
            ],
            "by_day": [{"day": line.day or "", **totals_entry(line.totals)} for line in by_day],
        }

    async def days(
        self, period: str, project: str | None = None, *, today: str | None = None
    ) -> Period:
        """Return the days of a period, after a look at whether it and the project are known.

        Args:
            period: As for `costs`.
            project: As for `costs`.
            today: The day it is, ``YYYY-MM-DD``; by the clock when left out.
        """
        days = parse_period(period, today or self._today())
        if days is None:
            expected = f"{', '.join(PERIODS)}, or two days in order: 2026-05-01..2026-05-31"
            raise InvalidQueryError([QueryProblem("period", _shown(period), expected)])
        await self._check_project(project)
        return days

    async def projects(self) -> ProjectsAnswer:
        """Say which projects there are, and where each stands today."""
        today = self._today()
        lines = await self._ledger.costs(today, today)
        spent = {line.project: line.totals for line in _of("project", lines)}
        return {
            "projects": [
                project_entry(project, spent.get(project.id, Totals()))
                for project in self._config.projects.values()
            ]
        }

    async def project(self, project_id: str) -> ProjectAnswer:
        """Say what a project is, and where it stands today."""
        project = self._config.project(project_id)
        today = self._today()
        lines = await self._ledger.costs(today, today, project_id)
        return project_entry(project, sum((line.totals for line in _of("day", lines)), Totals()))

    async def logs(
        self,
        project: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        modality: str | None = None,
        model: str | None = None,
        status: str | None = None,
        room: str | None = None,
    ) -> LogsAnswer:
        """List single requests, newest first.

        Args:
            project: Id of a project.
            limit: Requests on a page, 1 to `LARGEST_PAGE`.
            cursor: ``next_cursor`` of the page before.
            modality: ``stt``, ``llm`` or ``tts``.
            model: ``gpt-4.1-mini`` or ``openai/gpt-4.1-mini``; a model whose own name has a slash
                needs the provider before it.
            status: ``open``, ``completed``, ``cancelled``, ``failed`` or ``rejected``.
            room: Name of a LiveKit room.
        """
        provider, name = split_model(model)
        problems = _wrong_page(limit, "logs", cursor)
        problems += _wrong_choice("modality", modality, get_args(Modality))
        problems += _wrong_choice("status", status, get_args(Status))
        if model is not None and (provider == "" or not name):
            problems.append(QueryProblem("model", _shown(model), "gpt-4.1-mini or openai/gpt-…"))
        if problems:
            raise InvalidQueryError(problems)
        await self._check_project(project)
        wanted = RowFilter(
            project, _MODALITY.get(modality), provider, name, _STATUS.get(status), room
        )
        # one more than asked for, to know whether there is a next page
        rows = await self._ledger.rows(wanted, limit=limit + 1, before=_position("logs", cursor))
        page = rows[:limit]
        after = Position(to_iso(page[-1].started_at), page[-1].id) if len(rows) > limit else None
        return {
            "logs": [log_entry(row) for row in page],
            "next_cursor": None if after is None else write_cursor("logs", after),
        }

    async def calls(
        self, project: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> CallsAnswer:
        """List calls with a receipt for each, the one that began last first.

        Args:
            project: Only calls that this project paid for, and of them only what it paid for.
            limit: Calls on a page, 1 to `LARGEST_PAGE`.
            cursor: ``next_cursor`` of the page before.
        """
        if problems := _wrong_page(limit, "calls", cursor):
            raise InvalidQueryError(problems)
        await self._check_project(project)
        found = await self._ledger.calls(
            project, limit=limit + 1, before=_position("calls", cursor)
        )
        page = found[:limit]
        rooms = [position.key for position in page]
        receipts = call_receipts(
            rooms,
            await self._ledger.call_lines(rooms, project),
            await self._ledger.call_latencies(rooms, project),
        )
        return {
            "calls": receipts,
            "next_cursor": write_cursor("calls", page[-1]) if len(found) > limit else None,
        }

    async def call(self, room: str) -> CallAnswer:
        """Give the receipt of one call, with its turns.

        Raises:
            UnknownCallError: No request is recorded in this room.
        """
        receipts = call_receipts(
            [room],
            await self._ledger.call_lines([room]),
            await self._ledger.call_latencies([room]),
        )
        if not receipts:
            raise UnknownCallError(room)
        return {**receipts[0], "turns": turn_entries(await self._ledger.call_turns(room))}

    async def overview(self, days: int = 14) -> OverviewAnswer:
        """Say where everything stands: today, its forecast, this month, the days, what runs.

        Args:
            days: Days whose spend is given by project, today included; 1 to 366.
        """
        if not (type(days) is int and 1 <= days <= 366):
            raise InvalidQueryError(
                [QueryProblem("days", _shown(days), "a whole number from 1 to 366")]
            )
        now = self._clock()
        today = self._config.days.day_of(now)
        start, end = self._config.days.bounds(today)
        month = f"{today[:7]}-01"
        shown = days_until(today, days)
        first = min(month, shown[0], days_until(today, FORECAST_DAYS + 1)[0])
        lines = await self._ledger.daily_costs(first, today)
        return {
            "timezone": self._config.timezone.key,
            "currency": "USD",
            "resets_at": to_iso(end),
            "today": totals_entry(totals_since(today, lines)),
            "month": totals_entry(totals_since(month, lines)),
            "forecast": forecast(today, (now - start) / (end - start), lines),
            "days": shown,
            "by_project_and_day": day_spends(shown, lines),
            "live": await self.live(),
            "projects": (await self.projects())["projects"],
        }

    async def live(self, project: str | None = None) -> LiveAnswer:
        """Say what runs now, without what processes that are gone have left open.

        Args:
            project: Id of a project; None for all.
        """
        counts = await self._ledger.live_counts(project)
        rows = await self._ledger.live_rows(project, limit=_LIVE_SHOWN) if counts else []
        return live_answer(counts, [log_entry(row) for row in rows])

    async def latency(self, project: str | None = None) -> LatencyAnswer:
        """Say how long the latest requests to each model of late waited for their first result.

        Args:
            project: Id of a project; None for all.
        """
        first = days_until(self._today(), _LATELY)[0]
        lines = await self._ledger.latencies(first, project, sample=LATENCY_SAMPLE)
        return {"project": project, "latency": latency_entries(lines)}

    async def charges(self, project: str | None = None) -> ChargesAnswer:
        """Say what was charged for each model of late, and at which price.

        Args:
            project: Id of a project; None for all.
        """
        today = self._today()
        first = days_until(today, _LATELY)[0]
        lines = await self._ledger.charges(first, project)
        return {"from": first, "to": today, "currency": "USD", "charges": charge_entries(lines)}

    def resets_at(self) -> str:
        """Return when today ends and budgets begin anew, ISO 8601."""
        return to_iso(self._config.days.bounds(self._today())[1])

    async def verify(self) -> VerifyAnswer:
        """Compare all totals with the sum of the requests; reads every request."""
        check = await self._ledger.check_totals()
        return {
            "ok": not check.mismatches,
            "checked_from": check.kept_from,
            "requests": check.requests,
            "lines": check.lines,
            "mismatches": [
                entry for mismatch in check.mismatches for entry in difference_entries(mismatch)
            ],
        }

    async def price(
        self,
        model: str,
        quantities: Quantities,
        project: str | None = None,
        language: str | None = None,
    ) -> PriceAnswer:
        """Say what something would cost today.

        Args:
            model: ``provider/model``, with ``:language`` or ``:voice`` for STT and TTS.
            quantities: What would be used.
            project: Id of the project whose own prices go first; None for none's.
            language: Language of an STT, before the one in ``model``.

        Raises:
            UnknownModelError: ``model`` is not of that form.
        """
        if project is not None:
            self._config.project(project)
        quote = self._prices().find_any(
            model,
            quantities,
            project=project,
            language=language,
            day=date.fromisoformat(self._today()),
        )
        price = quote.price
        return {
            "model": model,
            "modality": quote.modality,
            "cost": None if quote.cost_nanos is None else dollars(quote.cost_nanos),
            "price": None if price is None else price.label,
            "source": None if price is None else price.source,
            "basis": None if price is None else price.basis,
            "currency": "USD",
            "quantities": quantities_entry(quantities),
        }

    async def prices(self, project: str | None = None) -> PricesAnswer:
        """List the prices that are known without asking genai-prices, which knows thousands.

        Args:
            project: Own prices of this project only; None for those of all projects.
        """
        if project is not None:
            self._config.project(project)
        return {
            "currency": "USD",
            "prices": [price_entry(listing) for listing in self._prices().all(project)],
        }

    def _today(self) -> str:
        return self._config.days.day_of(self._clock())

    def _prices(self) -> PriceBook:
        if self._price_book is None:
            from .pricing.book import PriceBook

            projects = self._config.projects.values()
            self._price_book = PriceBook(
                self._config.pricing, {project.id: project.pricing for project in projects}
            )
        return self._price_book

    async def _check_project(self, project: str | None) -> None:
        """Refuse a project that is not configured and never was as far as the ledger knows."""
        if project is None or project in self._config.projects:
            return
        if not await self._ledger.has_project(project):
            raise UnknownProjectError(project, self._config.projects)


_MODALITY: Final[dict[str | None, Modality]] = {name: name for name in get_args(Modality)}
_STATUS: Final[dict[str | None, Status]] = {name: name for name in get_args(Status)}


def _of(
    grouping: Literal["project", "modality", "model", "day"], lines: list[CostLine]
) -> list[CostLine]:
    """The lines of one grouping, the most expensive first."""
    chosen = [line for line in lines if line.grouping == grouping]
    return sorted(chosen, key=lambda line: (-(line.totals.cost_nanos or 0), line[2:6]))


def split_model(model: str | None) -> tuple[str | None, str | None]:
    """Split ``openai/gpt-4.1-mini``; a name without a slash is a model of any provider."""
    if model is None or "/" not in model:
        return None, model
    provider, _, name = model.partition("/")
    return provider, name


def _wrong_page(limit: int, kind: str, cursor: str | None) -> list[QueryProblem]:
    problems = []
    if not (type(limit) is int and 1 <= limit <= LARGEST_PAGE):
        expected = f"a whole number from 1 to {LARGEST_PAGE}"
        problems.append(QueryProblem("limit", _shown(limit), expected))
    if cursor is not None and read_cursor(kind, cursor) is None:
        expected = "the next_cursor of a page of this list, unchanged"
        problems.append(QueryProblem("cursor", _shown(cursor), expected))
    return problems


def _wrong_choice(field: str, value: str | None, known: tuple[str, ...]) -> list[QueryProblem]:
    if value is None or value in known:
        return []
    return [QueryProblem(field, _shown(value), ", ".join(known))]


def _position(kind: str, cursor: str | None) -> Position | None:
    return None if cursor is None else read_cursor(kind, cursor)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
