"""All routes under ``/v1``."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from . import events, ingest, prices, projects, usage

__all__ = ["router"]

router: Final = APIRouter(prefix="/v1")
for _part in (usage.router, projects.router, prices.router, events.router, ingest.router):
    router.include_router(_part)
