"""Projects: those of the configuration file, and those that are managed here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ...answers import ProjectAnswer, ProjectsAnswer
from .answering import Asked, text
from .schemas import problems, schema

__all__ = ["router"]

router = APIRouter(tags=["Projects"])

ProjectId = Annotated[str, text("prod"), Path(description="Id of a project.")]


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
