"""Server-sent events: a page that shows the ledger learns that it has changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from ..backend import Backend, backend_of
from .answering import Asked
from .schemas import problems

__all__ = ["router"]

router = APIRouter(tags=["Events"])


@router.get(
    "/events",
    summary="What changes, as it changes (server-sent events)",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "An endless stream: an event `change` with what may have changed, at "
            "most twice a second, and a comment every 15 seconds so that nobody hangs up.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'retry: 2000\n\nevent: change\ndata: {"usage":true,'
                    '"projects":false}\n\n',
                }
            },
        },
        **problems(422, 503),
    },
)
async def events(asked: Asked, backend: Annotated[Backend, Depends(backend_of)]) -> Response:
    """`usage`: requests were recorded. `projects`: a project was created, changed or deleted.

    Ask again for what you show. The first event comes with the first change.
    """
    asked.refuse_unknown()

    async def stream() -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        async for change in backend.changes.follow():
            if change is None:
                yield ": nothing new\n\n"
            else:
                yield f"event: change\ndata: {json.dumps(asdict(change))}\n\n"

    return StreamingResponse(
        stream(),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )
