"""The pages that show: overview, requests, calls, a call's receipt, prices."""

from __future__ import annotations

from typing import Final, get_args

from fastapi import APIRouter, Request, Response

from ...answers import ProjectAnswer
from ...errors import InvalidQueryError, QueryProblem
from ...metering.usage import Modality, Status
from ..backend import Backend, backend_of
from .rendering import Page, PageRoute
from .views import Paging, daily_chart, price_source, timeline

__all__ = ["known_projects", "pages"]

pages: Final = APIRouter(route_class=PageRoute)

_DAYS: Final = 14
_ON_A_PAGE: Final = 50
_MOST_OF_A_CALL: Final = 1000


@pages.get("/")
async def overview(request: Request) -> Response:
    """Spend, forecast, days, budgets, and what runs now."""
    backend = backend_of(request)
    answer = await backend.reports.overview(_DAYS)
    used = bool(answer["by_project_and_day"]) or bool(answer["live"]["requests"])
    ever = used or bool((await backend.reports.logs(limit=1))["logs"])
    projects = {project["project_id"]: project for project in answer["projects"]}
    chart = daily_chart(answer["days"], answer["by_project_and_day"], projects)
    return Page(request, "overview", "Overview").respond(
        {
            "overview": answer,
            "chart": chart,
            "projects": projects,
            "empty": not ever,
            "config_path": backend.config.path,
        },
        live=True,
    )


@pages.get("/requests")
async def requests(request: Request) -> Response:
    """Single requests, newest first, by whatever one looks for."""
    backend = backend_of(request)
    chosen = {
        field: request.query_params.get(field, "").strip()
        for field in ("project", "modality", "model", "status", "room", "cursor")
    }
    problems: tuple[QueryProblem, ...] = ()
    logs, following = [], None
    try:
        answer = await backend.reports.logs(
            limit=_ON_A_PAGE, **{field: value or None for field, value in chosen.items()}
        )
        logs, following = answer["logs"], answer["next_cursor"]
    except InvalidQueryError as error:
        problems = error.problems
    charges = await backend.reports.charges()
    models = sorted({f"{line['provider']}/{line['model']}" for line in charges["charges"]})
    return Page(request, "requests", "Requests").respond(
        {
            "logs": logs,
            "chosen": chosen,
            "filtered": any(value for field, value in chosen.items() if field != "cursor"),
            "problems": problems,
            "paging": Paging("/requests", chosen, following),
            "projects": await known_projects(backend),
            "models": models,
            "modalities": get_args(Modality),
            "statuses": get_args(Status),
        },
        live=not problems,
        status=422 if problems else 200,
    )


@pages.get("/calls")
async def calls(request: Request) -> Response:
    """Calls with what each cost, the one that began last first."""
    backend = backend_of(request)
    chosen = {field: request.query_params.get(field, "").strip() for field in ("project", "cursor")}
    answer = await backend.reports.calls(
        chosen["project"] or None, limit=_ON_A_PAGE, cursor=chosen["cursor"] or None
    )
    return Page(request, "calls", "Calls").respond(
        {
            "calls": answer["calls"],
            "chosen": chosen,
            "paging": Paging("/calls", chosen, answer["next_cursor"]),
            "projects": await known_projects(backend),
        },
        live=True,
    )


@pages.get("/calls/{room:path}")
async def call(request: Request, room: str) -> Response:
    """The receipt of one call, turn by turn."""
    backend = backend_of(request)
    room = room or request.query_params.get("room", "")
    receipt = await backend.reports.call(room)
    logs = await backend.reports.logs(room=room, limit=_MOST_OF_A_CALL)
    return Page(request, "call", f"Call {room}").respond(
        {
            "receipt": receipt,
            "timeline": timeline(receipt, logs["logs"], backend.clock()),
            "cut": logs["next_cursor"] is not None,
            "projects": await known_projects(backend),
        },
        live=True,
    )


@pages.get("/prices")
async def prices(request: Request) -> Response:
    """What is charged for each model and why; what nobody knows a price of comes first."""
    backend = backend_of(request)
    charges = await backend.reports.charges()
    listed = await backend.reports.prices()
    # a model once, whoever uses it
    unpriced = {
        (line["provider"], line["model"]): line
        for line in charges["charges"]
        if line["unpriced_requests"]
    }
    return Page(request, "prices", "Prices").respond(
        {
            "charges": charges,
            "unpriced": list(unpriced.values()),
            "listed": listed["prices"],
            "price_source": price_source,
            "projects": await known_projects(backend),
        },
        live=True,
    )


async def known_projects(backend: Backend) -> dict[str, ProjectAnswer]:
    """Return all projects of the configuration by id, for their names and accents."""
    answer = await backend.reports.projects()
    return {project["project_id"]: project for project in answer["projects"]}
