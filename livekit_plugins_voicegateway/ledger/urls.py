"""A ledger's URL as others may see it."""

from __future__ import annotations

__all__ = ["without_credentials"]


def without_credentials(url: str) -> str:
    """Return a URL without user and password.

    >>> without_credentials("postgresql://voicegw:secret@db.internal/voicegw")
    'postgresql://db.internal/voicegw'
    """
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
