"""A ledger's URL as others may see it."""

from __future__ import annotations

__all__ = ["without_credentials"]


def without_credentials(url: str) -> str:
    """Return a URL without user and password, and without parameters, which may be passwords too.

    >>> without_credentials("postgresql://voicegw:secret@db.internal/voicegw?sslpassword=secret")
    'postgresql://db.internal/voicegw'
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite":
        return url
    address, _, parameters = rest.partition("?")
    if "@" not in address and "@" in parameters:
        # a password with a question mark in it, or a parameter with an @: nobody can tell
        return f"{scheme}{separator}…"
    return f"{scheme}{separator}{address.rpartition('@')[2]}"
