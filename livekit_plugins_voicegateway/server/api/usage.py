"""What was used and what it cost: costs, single requests, calls, and whether it adds up."""

from __future__ import annotations

from typing import Annotated, get_args

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from ...answers import CallAnswer, CallsAnswer, CostsAnswer, LogsAnswer, VerifyAnswer
from ...ledger import make_ledger
from ...metering.usage import Modality, Status
from ...reports import Reports
from .answering import Asked, Limit, choice, text
from .schemas import problems, schema

__all__ = ["router"]

router = APIRouter(tags=["Usage"])

Project = Annotated[
    str | None,
    text("prod"),
    Query(description="Only this project, which may have left the configuration."),
]
Cursor = Annotated[
    str | None, text(), Query(description="`next_cursor` of the page before, unchanged.")
]


@router.get(
    "/costs",
    summary="What was spent",
    response_model=schema(CostsAnswer),
    responses=problems(404, 422, 503),
)
async def costs(
    asked: Asked,
    period: Annotated[
        str,
        text("7d"),
        Query(
            description="`today`, `yesterday`, `7d`, `30d`, `month`, `all`, or two days: "
            "`2026-05-01..2026-05-31`. Days are those of the configured time zone."
        ),
    ] = "today",
    project: Project = None,
) -> Response:
    """By project, kind of model, model and day; the most expensive first."""
    return await asked.answer(asked.reports.costs(period, project))


@router.get(
    "/logs",
    summary="Single requests, newest first",
    response_model=schema(LogsAnswer),
    responses=problems(404, 422, 503),
)
async def logs(
    asked: Asked,
    project: Project = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    modality: Annotated[
        str | None, choice(*get_args(Modality)), Query(description="Only this kind of model.")
    ] = None,
    model: Annotated[
        str | None,
        text("openai/gpt-4.1-mini"),
        Query(description="Only this model; with its provider before it, or without."),
    ] = None,
    status: Annotated[
        str | None,
        choice(*get_args(Status)),
        Query(description="Only requests that ended like this."),
    ] = None,
    room: Annotated[
        str | None,
        text("call-17"),
        Query(description="Only this call: the name of its LiveKit room."),
    ] = None,
) -> Response:
    """Each with what was used, what it cost, how it ended and how long it took."""
    return await asked.answer(
        asked.reports.logs(
            project=project,
            limit=limit,  # type: ignore[arg-type]  # what is no number the reports refuse
            cursor=cursor,
            modality=modality,
            model=model,
            status=status,
            room=room,
        )
    )


@router.get(
    "/calls",
    summary="Calls, the one that began last first",
    response_model=schema(CallsAnswer),
    responses=problems(404, 422, 503),
)
async def calls(
    asked: Asked,
    project: Project = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """A receipt for each; with `project` only what this project paid for."""
    question = asked.reports.calls(project, limit, cursor)  # type: ignore[arg-type]  # as in logs
    return await asked.answer(question)


@router.get(
    "/calls/{room:path}",
    summary="The receipt of one call, with its turns",
    response_model=schema(CallAnswer),
    responses=problems(404, 422, 503),
)
async def call(
    asked: Asked,
    room: Annotated[
        str, Path(description="Name of the LiveKit room; a slash in it may stand as it is.")
    ],
) -> Response:
    """What each kind of model and each model did, how long the caller waited, turn by turn."""
    return await asked.answer(asked.reports.call(room))


@router.get(
    "/verify",
    summary="Whether all totals equal the sum of the requests",
    response_model=schema(VerifyAnswer),
    responses=problems(422, 503),
)
async def verify(asked: Asked) -> Response:
    """Reads every request, which takes seconds with a million of them."""

    async def check() -> VerifyAnswer:
        # one at a time, and on a connection of its own, so that nobody else waits for it
        config = asked.backend.config
        async with (
            asked.backend.verifying,
            make_ledger(config.database_url, read_only=True) as ledger,
        ):
            return await Reports(config, ledger).verify()

    return await asked.answer(check())
