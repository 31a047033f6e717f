"""Bodies that workers send: JSON, also compressed, read on a thread so that nobody waits for it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

from ...errors import InvalidQueryError, QueryProblem
from ..problems import Fault
from .bodies import check_media_type, parse_object

__all__ = ["LARGEST_UNPACKED", "body_schema", "for_workers", "read_body"]

T = TypeVar("T")

LARGEST_UNPACKED: Final = 4 << 20
"""Bytes of a body that was compressed; a thousand rows have some 700 kB."""

_JSON: Final = "application/json"

_PLAIN: Final = ("", "identity")
_GZIP: Final = ("gzip", "x-gzip")


async def read_body(
    request: Request, read: Callable[[Mapping[str, object]], tuple[T, list[QueryProblem]]]
) -> T:
    """Read the body of a request.

    Args:
        request: The request.
        read: Makes of its fields what is meant, and names what cannot be; called on a thread.

    Raises:
        Fault: It is no JSON, or packed otherwise than with gzip.
        HTTPException: It is too large when it is unpacked.
        InvalidQueryError: Names every value that cannot be.
    """
    check_media_type(request, (_JSON,))
    packing = request.headers.get("content-encoding", "").strip().lower()
    if packing not in _PLAIN + _GZIP:
        raise Fault(
            415,
            "content-encoding",
            "The body is packed in another way",
            f"The body is packed with {packing[:60]!r}; only gzip is read.",
            headers={"accept-encoding": "gzip"},
        )
    content = await request.body()

    def work() -> tuple[T, list[QueryProblem]]:
        return read(parse_object(content if packing in _PLAIN else _unpacked(content)))

    found, problems = await asyncio.to_thread(work)
    if problems:
        raise InvalidQueryError(problems)
    return found


def body_schema(schema: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a route that workers ask, for OpenAPI: its body, and who may ask.

    Args:
        schema: JSON schema of the body.
        example: A body.
    """
    content = {_JSON: {"schema": dict(schema), "example": dict(example)}}
    return {"requestBody": {"required": True, "content": content}, **for_workers()}


def for_workers() -> dict[str, Any]:
    """Say that a route is open to the token of workers."""
    return {"security": [{"token": []}, {"ingest_token": []}, {}]}


def _unpacked(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(content, LARGEST_UNPACKED + 1)
    except zlib.error:
        raise _no_gzip() from None
    if len(found) > LARGEST_UNPACKED:
        raise HTTPException(413, f"The body has more than {LARGEST_UNPACKED} bytes, unpacked.")
    if not unpacking.eof or unpacking.unused_data:
        raise _no_gzip()
    return found


def _no_gzip() -> Fault:
    return Fault(400, "gzip", "The body is no gzip", "The body is not whole, or not gzip at all.")
