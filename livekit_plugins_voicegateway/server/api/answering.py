"""From a question to an answer: wrong parameters, one serialisation, an ETag."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable
from typing import Annotated, Final, Literal

from fastapi import Depends, Query, Request
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import to_json
from starlette.responses import Response

from ...errors import InvalidQueryError
from ...reports import LARGEST_PAGE, Reports
from ..backend import Backend, backend_of
from ..parameters import wrong_parameters

__all__ = ["LARGEST_QUANTITY", "Asked", "Limit", "Question", "choice", "number", "text"]

LARGEST_QUANTITY: Final = 10**12
"""Tokens, characters or seconds that a price can be asked for."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")


class Question:
    """A request to read: where to ask, and how to answer.

    Args:
        request: What was asked.
        backend: The server's ledger and reports.
    """

    def __init__(self, request: Request, backend: Annotated[Backend, Depends(backend_of)]) -> None:
        self.request = request
        self.backend = backend
        self.problems = wrong_parameters(request)

    @property
    def reports(self) -> Reports:
        """What to ask."""
        return self.backend.reports

    async def answer(self, answer: Awaitable[object]) -> Response:
        """Give an answer, or 304 to whoever has it already.

        Args:
            answer: What the reports say.

        Raises:
            InvalidQueryError: Names the values that the reports refuse together with the
                parameters that do not exist.
        """
        problems = list(self.problems)
        try:
            content = await answer
        except InvalidQueryError as error:
            problems = [*error.problems, *problems]
        if problems:
            raise InvalidQueryError(problems)
        return self._response(to_json(content))

    def refuse_unknown(self) -> None:
        """Refuse a request with parameters that the route does not have."""
        if self.problems:
            raise InvalidQueryError(self.problems)

    def _response(self, body: bytes) -> Response:
        # weak, because the same answer may go out with gzip and without
        tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        known = self.request.headers.get("if-none-match", "")
        if known and tag.removeprefix("W/") in re.findall(r'"[^"]*"', known):
            return Response(None, 304, headers)
        return Response(body, 200, headers, media_type="application/json")


Asked = Annotated[Question, Depends(Question)]


def text(*examples: str) -> WithJsonSchema:
    """Describe a text; that it may be left out is not said by a type of its own."""
    return WithJsonSchema({"type": "string", **({"examples": [*examples]} if examples else {})})


def choice(*known: str) -> WithJsonSchema:
    """Describe a text of a closed set that may be left out."""
    return WithJsonSchema({"type": "string", "enum": [*known]})


def number(kind: Literal["integer", "number"], *, least: int = 0) -> WithJsonSchema:
    """Describe a number that a route reads of a text, to name a wrong one with all others."""
    return WithJsonSchema({"type": kind, "minimum": least, "maximum": LARGEST_QUANTITY})


def _whole(value: object) -> object:
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


Limit = Annotated[
    int | str,
    BeforeValidator(_whole),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE}),
    Query(description="How many at most."),
]
"""What is no whole number goes on as it is: the reports refuse it together with everything else."""
