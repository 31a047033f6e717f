"""The pages of projects: all of them, one, and the forms that make, change and delete one."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from ...answers import ProjectAnswer
from ...errors import (
    InvalidQueryError,
    NotManagedError,
    ProjectExistsError,
    SecretKeyError,
    UnknownProjectError,
)
from ...overview import days_until
from ...projects import Project
from ..backend import Backend, backend_of
from .forms import ProjectForm
from .pages import known_projects
from .rendering import Page, PageRoute, project_address
from .views import daily_chart

__all__ = ["project_pages"]

project_pages: Final = APIRouter(route_class=PageRoute, prefix="/projects")

_FORM: Final = "application/x-www-form-urlencoded"
_CHANGES: Final = 50
_DAYS: Final = 30
_REQUESTS: Final = 20
_PERIODS: Final = {
    "today": "today",
    "7d": "7 days",
    "30d": "30 days",
    "month": "this month",
    "all": "all",
}


@project_pages.get("")
async def projects(request: Request) -> Response:
    """All projects, and who changed which."""
    backend = backend_of(request)
    known = await known_projects(backend)
    return Page(request, "projects", "Projects").respond(
        {
            "projects": known,
            "changes": await backend.admin.changes(_CHANGES),
            "notes": backend.catalogue.notes,
            "places": {project_id: _place(backend, project_id) for project_id in known},
        },
        live=True,
    )


# no project has an id with a ~ in it
@project_pages.get("/~new")
async def new(request: Request) -> Response:
    """An empty form."""
    return _form_page(request, ProjectForm.empty())


@project_pages.post("/~new")
async def create(request: Request) -> Response:
    """Make a project of what the form has."""
    form = ProjectForm.read(await _fields(request))
    backend = backend_of(request)
    try:
        project = await backend.admin.create(form.fields(new=True), front="dashboard")
    except InvalidQueryError as error:
        return _form_page(request, form.with_problems(error.problems), status=422)
    except (ProjectExistsError, SecretKeyError) as error:
        return _form_page(request, form.with_refusal(str(error)), status=409)
    return RedirectResponse(project_address(project.id), 303)


@project_pages.get("/{project_id}/edit")
async def edit(request: Request, project_id: str) -> Response:
    """A form with what a project is."""
    backend = backend_of(request)
    # says where the project is defined when it cannot be changed here
    await backend.admin.would_delete(project_id)
    return _form_page(request, ProjectForm.of(_configured(backend, project_id)))


@project_pages.post("/{project_id}/edit")
async def update(request: Request, project_id: str) -> Response:
    """Change a project to what the form has."""
    form = ProjectForm.read(await _fields(request), project_id)
    backend = backend_of(request)
    try:
        await backend.admin.update(project_id, form.fields(new=False), front="dashboard")
    except InvalidQueryError as error:
        return _form_page(request, form.with_problems(error.problems), status=422)
    except (NotManagedError, SecretKeyError) as error:
        return _form_page(request, form.with_refusal(str(error)), status=409)
    return RedirectResponse(project_address(project_id), 303)


@project_pages.get("/{project_id}/delete")
async def ask_to_delete(request: Request, project_id: str) -> Response:
    """What would go with a project."""
    deletion = await backend_of(request).admin.would_delete(project_id)
    return Page(request, "project_delete", f"Delete {project_id}").respond({"deletion": deletion})


@project_pages.post("/{project_id}/delete")
async def delete(request: Request, project_id: str) -> Response:
    """Delete a project."""
    await backend_of(request).admin.delete(project_id, front="dashboard")
    return RedirectResponse("/projects", 303)


# the last one, because it takes what is behind the id of a project, too: an old one may have a /
@project_pages.get("/{project_id:path}")
async def project(request: Request, project_id: str) -> Response:
    """One project: its budget, what it spends on what, how fast that is, its requests."""
    backend = backend_of(request)
    reports = backend.reports
    period = request.query_params.get("period", "30d")
    spent = await reports.costs(period, project_id)
    month = await reports.costs("month", project_id)
    answer = await _answer(backend, project_id)
    days = days_until(backend.config.days.day_of(backend.clock()), _DAYS)
    recent = await reports.costs(f"{days[0]}..{days[-1]}", project_id)
    latency = await reports.latency(project_id)
    known = await known_projects(backend)
    managed = answer is not None and answer["source"] == "managed"
    return Page(request, "project", project_id).respond(
        {
            "project_id": project_id,
            "project": answer,
            "projects": known,
            "place": _place(backend, project_id),
            "resets_at": reports.resets_at(),
            "month": month,
            "spent": spent,
            "period": period,
            "periods": _PERIODS,
            "chart": daily_chart(
                days, [{**day, "project": project_id} for day in recent["by_day"]], known
            ),
            "waits": {
                (line["modality"], line["provider"], line["model"]): line
                for line in latency["latency"]
            },
            "live_now": (await reports.live(project_id))["requests"],
            "logs": (await reports.logs(project_id, limit=_REQUESTS))["logs"],
            "form": ProjectForm.of(_configured(backend, project_id)) if managed else None,
        },
        live=True,
    )


async def _fields(request: Request) -> FormData:
    """Read the fields of a form of ours: no files, which would be written to disk first."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise HTTPException(415, f"The form is {media_type or 'of no type'}; send {_FORM}.")
    return await request.form()


def _form_page(request: Request, form: ProjectForm, *, status: int = 200) -> Response:
    title = f"Edit {form.project_id}" if form.exists else "New project"
    return Page(request, "project_form", title).respond({"form": form}, status=status)


async def _answer(backend: Backend, project_id: str) -> ProjectAnswer | None:
    """Return a project, or None for one that has left the configuration and only has spend."""
    try:
        return await backend.reports.project(project_id)
    except UnknownProjectError:
        return None


def _configured(backend: Backend, project_id: str) -> Project:
    return backend.config.project(project_id)


def _place(backend: Backend, project_id: str) -> str | None:
    """Say where a project of the file stands; None for one that was made at run time."""
    config = backend.config
    project = config.projects.get(project_id)
    if project is None or project.source == "managed":
        return None
    return f"{config.path}, line {project.line}" if project.line else "no file: it is built in"
