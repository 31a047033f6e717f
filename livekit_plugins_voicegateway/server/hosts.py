"""What a request says of its place: the name that it was sent to, and the site that sent it."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = [
    "address_of",
    "cookie",
    "header",
    "is_cross_site",
    "is_loopback",
    "is_loopback_host",
    "is_navigation",
    "network_of",
]


def header(scope: Scope, name: bytes) -> str | None:
    """Return a header of a request, or None without it; what stands twice counts as wrong.

    Args:
        scope: The request.
        name: In lower case.
    """
    values = [value for key, value in scope["headers"] if key == name]
    if not values:
        return None
    return values[0].decode("latin-1") if len(values) == 1 else ""


def cookie(scope: Scope, name: str) -> str | None:
    """Return a cookie's value as it was sent, or None without it; the last one of a name counts.

    Args:
        scope: The request.
        name: Of a cookie whose values are never in quotes.
    """
    # not http.cookies, which reads no further than the first cookie that it does not like: on
    # localhost other programs set theirs, too. Nor Starlette, which lets it take the quotes off:
    # ten seconds for a cookie of 60 kB, which anybody may send
    pairs = (pair.partition("=") for pair in (header(scope, b"cookie") or "").split(";"))
    values = [value.strip() for key, _, value in pairs if key.strip() == name]
    return values[-1] if values else None


def address_of(scope: Scope) -> str:
    """Return path and query of a request as they were sent: ``%3F`` in a path stays no query."""
    address: str = scope["raw_path"].decode("latin-1")
    query: str = scope["query_string"].decode("latin-1")
    return f"{address}?{query}" if query else address


def is_loopback(address: str) -> bool:
    """Return whether an address is of this machine alone: ``localhost``, 127.0.0.0/8, ::1."""
    if address.lower() == "localhost":
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_loopback


def is_loopback_host(host: str | None) -> bool:
    """Return whether a ``Host`` header, with a port or without, names this machine."""
    if not host:
        return False
    try:
        parts = urlsplit(f"//{host}")
        # the port is looked at too: what is no number raises
        plain = parts.port is None or parts.port >= 0
    except ValueError:
        return False
    # nothing but a name and a port: no user before it, no path behind it
    return plain and parts.netloc == host and "@" not in host and is_loopback(parts.hostname or "")


def is_cross_site(scope: Scope) -> bool:
    """Return whether a page of another site makes this request.

    Another port is another site: what runs there is somebody else's. The scheme is not compared,
    because a proxy before the server may add TLS.
    """
    origin = header(scope, b"origin")
    if origin is not None:
        scheme, separator, netloc = origin.partition("://")
        host = (header(scope, b"host") or "").lower()
        return not (separator and scheme in ("http", "https") and netloc.lower() == host)
    fetched = header(scope, b"sec-fetch-site")
    return fetched not in (None, "same-origin", "none") and not is_navigation(scope)


def is_navigation(scope: Scope) -> bool:
    """Return whether a browser asks for a page to show in a tab: a link that somebody followed."""
    return (
        scope.get("method") in ("GET", "HEAD")
        and header(scope, b"sec-fetch-mode") == "navigate"
        and header(scope, b"sec-fetch-dest") == "document"
    )


def network_of(client: str) -> str:
    """Return what one client has: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        found = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, 64), strict=False))
