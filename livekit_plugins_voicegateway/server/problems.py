"""Problem bodies (RFC 9457): what the server says when it cannot do what it was asked.

`Fault` is raised by routes, `problem` writes the answer, `handle_problems` teaches an application
to turn every error into one. No answer has a traceback in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from ..errors import (
    InvalidQueryError,
    LedgerError,
    NotManagedError,
    ProjectExistsError,
    QueryProblem,
    RowsRefusedError,
    SecretKeyError,
    UnknownCallError,
    UnknownModelError,
    UnknownProjectError,
    VoiceGatewayError,
)
from ..log import logger
from .parameters import wrong_parameters

__all__ = [
    "MEDIA_TYPE",
    "RETRY_SECONDS",
    "Fault",
    "Problem",
    "WrongField",
    "handle_problems",
    "problem",
]

MEDIA_TYPE: Final = "application/problem+json"

RETRY_SECONDS: Final = 5
"""When to come again while the ledger does not answer."""

_TYPES: Final = "urn:voicegateway:problem:"


class WrongField(BaseModel):
    """One value that cannot be."""

    field: str = Field(description="The parameter, or the key of the body.")
    found: str = Field(description="What was given, shortened.")
    expected: str = Field(description="What would be right there.")


class Problem(BaseModel):
    """Why a request could not be answered, as RFC 9457 has it."""

    type: str = Field(description="A URN for this kind of problem.")
    title: str = Field(description="The kind of problem in words; always the same for a type.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What went wrong this time, and how to mend it.")
    instance: str = Field(description="The path that was asked for.")
    errors: list[WrongField] | None = Field(
        default=None, description="Every wrong field, with status 422."
    )


class Fault(Exception):
    """A problem that a route or a middleware answers with.

    Args:
        status: HTTP status.
        kind: Last part of the type, ``unknown-project``.
        title: The kind in words.
        detail: What went wrong this time, and how to mend it.
        errors: Every wrong field.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        *,
        errors: Sequence[QueryProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def problem(scope: Scope, fault: Fault) -> Response:
    """Write a fault as an answer.

    Args:
        scope: The request.
        fault: What is wrong with it.
    """
    body: dict[str, Any] = {
        "type": f"{_TYPES}{fault.kind}",
        "title": fault.title,
        "status": fault.status,
        "detail": fault.detail,
        # quoted: it is a URI reference, and stays one whatever was asked for
        "instance": quote(scope["path"], safe="/:@!$&'()*+,;=~-._"),
    }
    if fault.errors:
        body["errors"] = [
            {"field": error.field, "found": error.found, "expected": error.expected}
            for error in fault.errors
        ]
    return Response(
        to_json(body),
        fault.status,
        {"cache-control": "no-store", **fault.headers},
        media_type=MEDIA_TYPE,
    )


def handle_problems(
    app: FastAPI, page: Callable[[Request, int, str, str], Response] | None = None
) -> None:
    """Let an application answer with a problem body whenever a route raises.

    Args:
        app: The application.
        page: Makes a page of status, title and detail, for a person who has mistaken an address.
    """

    async def of_fault(request: Request, error: Exception) -> Response:
        assert isinstance(error, Fault)
        return problem(request.scope, error)

    async def of_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, VoiceGatewayError)
        return problem(request.scope, _fault_of(error))

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            # what is mounted, and by itself says nothing of methods, are files
            taken = _methods(app, request.scope) or ["HEAD", "GET"]
            error = HTTPException(405, headers={"Allow": ", ".join(taken)})
        fault = _fault_of_http(request.scope, error)
        person = "text/html" in request.headers.get("accept", "")
        if page is not None and fault.status == 404 and person:
            return page(request, 404, fault.title, f"There is nothing at {request.scope['path']}.")
        return problem(request.scope, fault)

    async def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        wrong = [*_wrong_fields(error), *wrong_parameters(request)]
        return problem(request.scope, _fault_of(InvalidQueryError(wrong)))

    app.add_exception_handler(Fault, of_fault)
    app.add_exception_handler(VoiceGatewayError, of_ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that a path takes; Starlette names those of one route only."""
    taken = [
        method
        for method in ("GET", "POST", "PATCH", "DELETE")
        if any(
            route.matches({**scope, "method": method})[0] is Match.FULL
            for route in app.router.routes
        )
    ]
    return ["HEAD", *taken] if "GET" in taken else taken


def _fault_of(error: VoiceGatewayError) -> Fault:
    match error:
        case InvalidQueryError():
            fields = ", ".join(dict.fromkeys(wrong.field for wrong in error.problems))
            return Fault(
                422,
                "wrong-values",
                "Values that cannot be",
                f"Wrong: {fields}. `errors` says what would be right.",
                errors=error.problems,
            )
        case UnknownProjectError():
            return Fault(404, "unknown-project", "No such project", str(error))
        case ProjectExistsError():
            return Fault(409, "project-exists", "There is a project with this id", str(error))
        case NotManagedError():
            return Fault(409, "not-managed", "The project is not managed here", str(error))
        case SecretKeyError():
            wrong = QueryProblem("providers", "keys", str(error))
            return _fault_of(InvalidQueryError([wrong]))
        case UnknownCallError():
            return Fault(404, "unknown-call", "No such call", str(error))
        case UnknownModelError():
            wrong = QueryProblem("model", "no model", str(error))
            return _fault_of(InvalidQueryError([wrong]))
        case RowsRefusedError():
            return _fault_of(InvalidQueryError([QueryProblem("rows", "a row", str(error))]))
        case LedgerError():
            logger.error("the ledger does not answer: %s", error)
            return Fault(
                503,
                "ledger",
                "The ledger does not answer",
                f"{error} Calls go on, and what they use is recorded when it comes back.",
                headers={"retry-after": str(RETRY_SECONDS)},
            )
    return Fault(400, "refused", "Refused", str(error))


def _fault_of_http(scope: Scope, error: HTTPException) -> Fault:
    path, method = scope["path"], scope["method"]
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            detail = f"There is nothing at {path}. GET /openapi.json says what there is."
            return Fault(404, "not-found", "Nothing here", detail, headers=headers)
        case 405:
            allowed = {name.lower(): value for name, value in headers.items()}.get("allow", "")
            detail = f"{path} does not take {method}, only {allowed}."
            return Fault(405, "method", "Another method is needed", detail, headers=headers)
        case 408:
            detail = str(error.detail)
            return Fault(408, "request-timeout", "Request Timeout", detail, headers=headers)
        case 413:
            # Python's name for it is another one in each version
            return Fault(413, "content-too-large", "Content Too Large", str(error.detail))
    title = HTTPStatus(error.status_code).phrase
    kind = title.lower().replace(" ", "-")
    return Fault(error.status_code, kind, title, str(error.detail), headers=headers)


def _wrong_fields(error: RequestValidationError) -> list[QueryProblem]:
    return [
        QueryProblem(
            ".".join(str(part) for part in found["loc"][1:]) or str(found["loc"][0]),
            "nothing" if found["type"] == "missing" else _shown(found.get("input")),
            "a value" if found["type"] == "missing" else found["msg"],
        )
        for found in error.errors()
    ]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
