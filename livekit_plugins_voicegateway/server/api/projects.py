"""Projects: those of the configuration file, and those that are managed here."""

from __future__ import annotations

from typing import Annotated, TypedDict
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from pydantic_core import to_json
from starlette.responses import Response

from ...answers import ProjectAnswer, ProjectsAnswer
from ...errors import InvalidQueryError, QueryProblem
from ...managed import ChangeEntry, DeletionAnswer
from .answering import Asked, Limit, choice, text
from .bodies import Fields, described
from .schemas import problems, schema

__all__ = ["ChangesAnswer", "router"]

router = APIRouter(tags=["Projects"])

ProjectId = Annotated[str, text("prod"), Path(description="Id of a project.")]


class ChangesAnswer(TypedDict):
    """What was done to projects at run time, newest first."""

    changes: list[ChangeEntry]


@router.get(
    "/projects",
    summary="All projects, and where each stands today",
    response_model=schema(ProjectsAnswer),
    responses=problems(422, 503),
)
async def projects(asked: Asked) -> Response:
    """In the order of the configuration. Keys of providers are never shown, only their names."""
    return await asked.answer(asked.reports.projects())


@router.get(
    "/projects/{project_id}",
    summary="One project",
    response_model=schema(ProjectAnswer),
    responses=problems(404, 422, 503),
)
async def project(asked: Asked, project_id: ProjectId) -> Response:
    """What it is, and where it stands today."""
    return await asked.answer(asked.reports.project(project_id))


@router.post(
    "/projects",
    summary="Make a project",
    status_code=201,
    response_model=schema(ProjectAnswer),
    responses=problems(400, 409, 413, 415, 422, 503),
    openapi_extra=described(new=True),
)
async def create_project(asked: Asked, fields: Fields) -> Response:
    """Running workers know it within 2 seconds. Fields are those of `projects:` in voicegw.yaml."""
    asked.refuse_unknown()
    made = await asked.backend.admin.create(fields, front="http")
    return _written(
        await asked.reports.project(made.id),
        201,
        {"location": f"/v1/projects/{quote(made.id, safe='')}"},
    )


@router.patch(
    "/projects/{project_id}",
    summary="Change a project",
    response_model=schema(ProjectAnswer),
    responses=problems(400, 404, 409, 413, 415, 422, 503),
    openapi_extra=described(new=False),
)
async def update_project(asked: Asked, project_id: ProjectId, fields: Fields) -> Response:
    """What is not named stays as it is; `null` takes a field away.

    Of `providers` only the named ones change, each with all of its options.
    """
    asked.refuse_unknown()
    changed = await asked.backend.admin.update(project_id, fields, front="http")
    return _written(await asked.reports.project(changed.id))


@router.delete(
    "/projects/{project_id}",
    summary="Delete a project",
    response_model=schema(DeletionAnswer),
    responses=problems(404, 409, 422, 503),
)
async def delete_project(
    asked: Asked,
    project_id: ProjectId,
    dry_run: Annotated[
        str,
        choice("true", "false"),
        Query(description="`true` only says what would go, and what would stay."),
    ] = "false",
) -> Response:
    """What it has used stays in the ledger, and calls that run go on."""
    wrong = list(asked.problems)
    if dry_run not in ("true", "false"):
        wrong.insert(0, QueryProblem("dry_run", repr(dry_run[:60]), "true or false"))
    if wrong:
        raise InvalidQueryError(wrong)
    admin = asked.backend.admin
    if dry_run == "true":
        return _written(await admin.would_delete(project_id))
    return _written(await admin.delete(project_id, front="http"))


@router.get(
    "/changes",
    summary="What was done to projects at run time, newest first",
    response_model=schema(ChangesAnswer),
    responses=problems(422, 503),
)
async def changes(
    asked: Asked,
    project: Annotated[
        str | None, text("prod"), Query(description="Only this project, which may be gone.")
    ] = None,
    limit: Limit = 50,
) -> Response:
    """When, from which front, and what; of provider keys only the names of the options."""

    async def ask() -> ChangesAnswer:
        # what is no number is refused there
        found = await asked.backend.admin.changes(limit, project)  # type: ignore[arg-type]
        return {"changes": found}

    return await asked.answer(ask())


def _written(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        to_json(answer),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )
