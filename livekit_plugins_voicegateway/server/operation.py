"""For whoever runs the server: ``/health``, the one route without a token, and ``/metrics``."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypedDict

from fastapi import APIRouter, Depends
from pydantic_core import to_json
from starlette.responses import PlainTextResponse, Response

from ..errors import LedgerError
from ..version import __version__
from .api.answering import Asked
from .api.schemas import problems, schema
from .backend import Backend, backend_of
from .problems import RETRY_SECONDS

__all__ = ["HealthAnswer", "router"]

router = APIRouter(tags=["Server"])


class HealthAnswer(TypedDict):
    """Whether the server can answer."""

    status: Literal["ok", "failing"]
    version: str
    ledger: Literal["ok", "failing"]


_WELL: Final[HealthAnswer] = {"status": "ok", "version": __version__, "ledger": "ok"}
_ILL: Final[HealthAnswer] = {"status": "failing", "version": __version__, "ledger": "failing"}


@router.get(
    "/health",
    summary="Whether the server lives and its ledger answers",
    response_model=schema(HealthAnswer),
    responses={
        503: {
            "description": "The server lives, and its ledger does not answer.",
            "model": schema(HealthAnswer),
        },
    },
    openapi_extra={"security": []},
)
async def health(backend: Annotated[Backend, Depends(backend_of)]) -> Response:
    """Needs no token, and says nothing that is secret."""
    headers = {"cache-control": "no-store"}
    try:
        await backend.ledger.projects_version()
    except LedgerError:
        headers["retry-after"] = str(RETRY_SECONDS)
        return Response(to_json(_ILL), 503, headers, media_type="application/json")
    return Response(to_json(_WELL), 200, headers, media_type="application/json")


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "In the text format of Prometheus.",
            "content": {
                "text/plain": {
                    "example": 'voicegateway_budget_remaining_dollars{project="prod"} 49.987\n'
                }
            },
        },
        **problems(422, 503),
    },
)
async def metrics(asked: Asked) -> Response:
    """Spend, usage, budgets, latency, and what runs."""
    asked.refuse_unknown()
    backend = asked.backend
    media_type, body = await backend.metrics.exposition(backend.reports, backend.ledger)
    return Response(body, media_type=media_type, headers={"cache-control": "no-store"})
