"""Cursors: where the next page of a list begins, as a text that callers hand back unchanged.

A cursor names the last item of a page and not its number, so that what is recorded meanwhile moves
nothing. It carries a check sum: one that was cut off or edited is refused and never misread.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Final

from .ledger.base import Position

__all__ = ["read_cursor", "write_cursor"]

_LONGEST: Final = 4096
"""Characters of a cursor: a room's name may be long, and nothing else in it is."""

_CHECK: Final = 9
"""Bytes of the check sum; no secret, because a cursor gives nothing that the list does not."""


def write_cursor(kind: str, position: Position) -> str:
    """Return the cursor for what follows ``position``.

    Args:
        kind: Which list it is of, ``logs``; a cursor of another list is refused.
        position: The last item of the page.
    """
    payload = json.dumps([kind, *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(payload) + payload).decode().rstrip("=")


def read_cursor(kind: str, cursor: str) -> Position | None:
    """Return the position that `write_cursor` put into ``cursor``, or None when it did not."""
    if len(cursor) > _LONGEST:
        return None
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        check, payload = packed[:_CHECK], packed[_CHECK:]
        if check != _check(payload):
            return None
        said, time, key = json.loads(payload)
        position = Position(str(time), str(key))
    except (ValueError, TypeError, RecursionError):
        # the check sum can be made by anybody, so what it covers may be anything
        return None
    return position if said == kind and write_cursor(kind, position) == cursor else None


def _check(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECK, person=b"voicegw").digest()
