"""What workers ask that may not hold a database's credentials: `ledger.http` is their side.

Usage, leases, the projects made at run time, and alerts that they notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypedDict

from fastapi import APIRouter, Depends, Request
from pydantic_core import to_json
from starlette.responses import Response

from ...errors import QueryProblem
from ...ledger.base import Grant
from ...ledger.http_messages import (
    ALERT,
    LEASE,
    RENEWAL,
    RETURN,
    GrantMessage,
    LeasesMessage,
    ProjectsMessage,
    alert_of,
    fields_schema,
    projects_message,
    read_message,
)
from ...ledger.http_rows import read_rows, rows_schema
from ...ledger.http_values import Field
from ..backend import Backend, backend_of
from .answering import Asked
from .ingest_bodies import body_schema, for_workers, read_body
from .schemas import problems, schema

__all__ = ["router"]

router = APIRouter(tags=["Workers"])

TheBackend = Annotated[Backend, Depends(backend_of)]

_DAY: Final = "2026-05-31"

_ROW: Final[dict[str, Any]] = {
    "id": "019718e4-6b1a-7c54-9d02-5a1f4f0c8e11",
    "request_id": "019718e4-6b1a-7c54-9d02-5a1f4f0c8e10",
    "started_at": f"{_DAY}T09:30:00.250Z",
    "ended_at": f"{_DAY}T09:30:01.750Z",
    "day": _DAY,
    "project": "prod",
    "modality": "llm",
    "provider": "openai",
    "model": "gpt-4.1-mini",
    "requested_model": "openai/gpt-4.1-mini",
    "status": "completed",
    "room": "call-17",
    "input_tokens": 246,
    "cached_input_tokens": 40,
    "output_tokens": 49,
    "cost_nanos": 176_800,
    "price": "catalogue openai/gpt-4.1-mini",
    "ttfb_ms": 310.5,
    "duration_ms": 1500.0,
}

_LEASE: Final[dict[str, Any]] = {
    "project": "prod",
    "day": _DAY,
    "owner": "019718e4-0000-7c54-9d02-5a1f4f0c8e11",
    "budget_nanos": 50_000_000_000,
    "need_nanos": 1_000_000,
    "want_nanos": 625_000_000,
    "share": 16,
    "seconds": 30,
    "grant": "019718e4-6b1a-7c54-9d02-5a1f4f0c8e13",
}

_RETURN: Final = {name: _LEASE[name] for name in ("project", "day", "owner")} | {"nanos": 1_000_000}

_RENEWAL: Final = {name: _LEASE[name] for name in ("owner", "seconds")}

_ALERT: Final[dict[str, Any]] = {
    "id": "alert_019718e4-6b1a-7c54-9d02-5a1f4f0c8e12",
    "about": f"price.unknown prod {_DAY} llm acme/in-house",
    "event": "price.unknown",
    "project": "prod",
    "day": _DAY,
    "body": '{"event":"price.unknown","id":"alert_019718e4-6b1a-7c54-9d02-5a1f4f0c8e12",'
    f'"project":"prod","day":"{_DAY}"}}',
    "created_at": f"{_DAY}T09:30:01.750Z",
}


class RecordedAnswer(TypedDict):
    """What is in the ledger now, durably.

    ``received`` are the rows of the request, ``rows`` those that differ in their id.
    """

    received: int
    rows: int


class StatusAnswer(TypedDict):
    """What is spent of a day's budget, and what is leased and not spent yet, by everybody."""

    settled_nanos: int
    leased_nanos: int


class NotedAnswer(TypedDict):
    """Whether nobody has noted an alert about the same before."""

    new: bool


@router.post(
    "/usage",
    summary="Record usage",
    response_model=schema(RecordedAnswer),
    responses=problems(400, 413, 415, 422, 503),
    openapi_extra=body_schema(rows_schema(), {"version": 1, "rows": [_ROW]}),
)
async def record_usage(request: Request, asked: Asked, backend: TheBackend) -> Response:
    """All rows or none, durably before the answer. A row that is there already takes the state that
    it is sent in: the same rows twice are the same as once. The body may be packed with gzip.
    """
    asked.refuse_unknown()
    rows = await read_body(request, read_rows)
    ledger = await backend.intake.ledger()
    await ledger.write(rows)
    answer: RecordedAnswer = {"received": len(rows), "rows": len({row.id for row in rows})}
    return _answer(answer)


@router.post(
    "/leases",
    summary="Lease a slice of a budget",
    response_model=schema(GrantMessage),
    responses=problems(400, 413, 415, 422, 503),
    openapi_extra=body_schema(fields_schema(LEASE), _LEASE),
)
async def lease(request: Request, asked: Asked, backend: TheBackend) -> Response:
    """`want_nanos` of what is left, a `share`-th of it at most, or `need_nanos` if that is more;
    nothing if less is left. With both 0 it only says what is spent and leased. What is asked twice
    under the same `grant` is granted once.
    """
    asked.refuse_unknown()
    given = await read_body(request, _reading(LEASE))
    ledger = await backend.intake.ledger()
    whose = given["project"], given["day"], given["owner"]
    name, grants = given["grant"], backend.intake.grants
    before = grants.known(name) if name else None
    if before is not None:
        settled, leased = await ledger.budget_status(given["project"], given["day"])
        return _granted(Grant(before, settled, leased))
    grant = await ledger.acquire_lease(
        *whose,
        budget_nanos=given["budget_nanos"],
        need_nanos=given["need_nanos"],
        want_nanos=given["want_nanos"],
        share=given["share"],
        expires_at=backend.clock() + given["seconds"],
    )
    if name and not grants.granted(name, grant):
        await ledger.return_lease(*whose, grant.granted_nanos)
        grant = Grant(0, grant.settled_nanos, grant.leased_nanos - grant.granted_nanos)
    return _granted(grant)


@router.post(
    "/leases/return",
    summary="Give back a lease, or a part of it",
    response_model=schema(StatusAnswer),
    responses=problems(400, 413, 415, 422, 503),
    openapi_extra=body_schema(fields_schema(RETURN), _RETURN),
)
async def return_lease(request: Request, asked: Asked, backend: TheBackend) -> Response:
    """All of it when it is not more than `nanos`; and what was granted under the name `grant`, for
    who has not heard the answer.
    """
    asked.refuse_unknown()
    given = await read_body(request, _reading(RETURN))
    ledger = await backend.intake.ledger()
    nanos = given["nanos"]
    if given["grant"]:
        nanos += backend.intake.grants.give_up(given["grant"])
    if nanos:
        await ledger.return_lease(given["project"], given["day"], given["owner"], nanos)
    settled, leased = await ledger.budget_status(given["project"], given["day"])
    answer: StatusAnswer = {"settled_nanos": settled, "leased_nanos": leased}
    return _answer(answer)


@router.post(
    "/leases/renew",
    summary="Let the leases of a process live on",
    response_model=schema(LeasesMessage),
    responses=problems(400, 413, 415, 422, 503),
    openapi_extra=body_schema(fields_schema(RENEWAL), _RENEWAL),
)
async def renew_leases(request: Request, asked: Asked, backend: TheBackend) -> Response:
    """Names those that do. One that has expired stays so: others may have what it held."""
    asked.refuse_unknown()
    given = await read_body(request, _reading(RENEWAL))
    ledger = await backend.intake.ledger()
    renewed = await ledger.renew_leases(given["owner"], backend.clock() + given["seconds"])
    answer: LeasesMessage = {
        "leases": [{"project": project, "day": day} for project, day in sorted(renewed)]
    }
    return _answer(answer)


@router.get(
    "/managed-projects",
    summary="Projects made at run time, as the ledger keeps them",
    response_model=schema(ProjectsMessage),
    responses=problems(422, 503),
    openapi_extra=for_workers(),
)
async def managed_projects(request: Request, asked: Asked, backend: TheBackend) -> Response:
    """Keys of providers are sealed: only who has `VOICEGW_SECRET_KEY` can use them. It may be asked
    every second, with the `ETag`: while nothing changes the answer is 304.
    """
    asked.refuse_unknown()
    if request.headers.get("if-none-match") == _tag(await backend.ledger.projects_version()):
        return Response(None, 304, {"etag": request.headers["if-none-match"], **_PRIVATE})
    found = await backend.ledger.managed_projects()
    return _answer(projects_message(found), {"etag": _tag(found.version), **_PRIVATE})


@router.post(
    "/alerts",
    summary="Note what somebody is to be told",
    response_model=schema(NotedAnswer),
    responses=problems(400, 413, 415, 422, 503),
    openapi_extra=body_schema(fields_schema(ALERT), _ALERT),
)
async def note_alert(request: Request, asked: Asked, backend: TheBackend) -> Response:
    """The server sends it, if it has a webhook (`alerts.webhook`); one alert for each `about`."""
    asked.refuse_unknown()
    alert = await read_body(request, _alert)
    ledger = await backend.intake.ledger()
    answer: NotedAnswer = {"new": await ledger.add_alert(alert)}
    return _answer(answer)


_PRIVATE: Final = {"cache-control": "private, no-cache"}


def _granted(grant: Grant) -> Response:
    answer: GrantMessage = {
        "granted_nanos": grant.granted_nanos,
        "settled_nanos": grant.settled_nanos,
        "leased_nanos": grant.leased_nanos,
    }
    return _answer(answer)


def _tag(version: int) -> str:
    # weak, because the same answer may go out with gzip and without
    return f'W/"projects-{version}"'


def _reading(message: Mapping[str, Field]) -> Any:
    return lambda data: read_message(data, message)


def _alert(data: Mapping[str, object]) -> tuple[Any, list[QueryProblem]]:
    values, wrong = read_message(data, ALERT)
    return (None, wrong) if wrong else alert_of(values)


def _answer(answer: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        to_json(answer),
        200,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )
