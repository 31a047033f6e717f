"""The OpenAPI document: FastAPI's, with examples, problem bodies and who may ask."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .api.examples import EXAMPLES
from .problems import Problem

__all__ = ["document"]

_DESCRIPTION = """\
What LiveKit voice agents spend, by project, model and call; prices and budgets.

Money is a number of US dollars with nine decimals, `null` where a price is not known. Times are
ISO 8601 in UTC; days are those of the configured time zone. Reports carry an `ETag`. Lists are
paged with `next_cursor`. Errors are `application/problem+json` (RFC 9457)."""

_TAGS = [
    {"name": "Usage", "description": "What was used and what it cost."},
    {"name": "Projects", "description": "Who pays, and how much a day may cost."},
    {"name": "Prices", "description": "What is charged for a model, and where the price is from."},
    {"name": "Events", "description": "What changes, as it changes."},
    {"name": "Workers", "description": "What workers without a database ask of the server."},
    {"name": "Server", "description": "The server itself."},
]


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of ``/openapi.json``; made once.

    Args:
        app: With all its routes.
    """
    if app.openapi_schema is not None:
        return app.openapi_schema
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary="Projects, budgets and a ledger for LiveKit voice agents",
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
    )
    for operations in made["paths"].values():
        for operation in operations.values():
            _show_example(operation)
    schemas = made["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    made["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The server's token. A server without one needs none, and answers only "
            "on loopback.",
        },
        "ingest_token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of workers (`server.ingest_token`); it opens only these.",
        },
    }
    made["security"] = [{"token": []}, {}]
    app.openapi_schema = made
    return made


def _show_example(operation: dict[str, Any]) -> None:
    # not given to FastAPI, which leaves out what is null
    example = EXAMPLES.get(operation["operationId"])
    if example is None:
        return
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            answer["content"]["application/json"]["example"] = example
