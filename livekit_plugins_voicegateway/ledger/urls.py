"""A ledger's URL: what of it others may see, and the token of a server in it."""

from __future__ import annotations

from urllib.parse import quote, unquote

__all__ = ["is_server", "token_of", "with_token", "without_credentials"]


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


def is_server(url: str) -> bool:
    """Return whether the ledger is kept by a server that is asked over HTTP.

    >>> is_server("https://voicegw.internal")
    True
    """
    return url.startswith(("https://", "http://"))


def with_token(url: str, token: str) -> str:
    """Return a server's URL with the token for it, where a database's URL has a password.

    >>> with_token("https://voicegw.internal", "s3cret")
    'https://:s3cret@voicegw.internal'
    """
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}:{quote(token, safe='')}@{rest}" if token else url


def token_of(url: str) -> str:
    """Return the token in a server's URL; empty without one.

    >>> token_of("https://:s3cret@voicegw.internal")
    's3cret'
    """
    credentials = url.partition("://")[2].rpartition("@")[0]
    return unquote(credentials.partition(":")[2])
