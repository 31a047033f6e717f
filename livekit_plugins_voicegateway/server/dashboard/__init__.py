"""The dashboard: pages in a browser, of what `Reports` answers.

`add_dashboard` puts them onto an application. The pages are rendered here, on the server; in the
browser htmx asks for the part that changes, and Chart.js draws. All of it comes from this package.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from .rendering import STATIC, static_files

__all__ = ["STATIC", "add_dashboard", "router"]


def router() -> APIRouter:
    """Return the routes of all pages; they ask ``request.app.state.backend``."""
    from .pages import pages
    from .project_pages import project_pages

    routes = APIRouter(include_in_schema=False)
    routes.include_router(project_pages)
    routes.include_router(pages)
    return routes


def add_dashboard(app: FastAPI) -> None:
    """Put the pages at ``/``, and what they load at ``/static``."""
    app.include_router(router())
    app.mount(STATIC, static_files(), name="static")
