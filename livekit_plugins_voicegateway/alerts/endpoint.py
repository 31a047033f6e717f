"""The receiver of alerts: its address, and the secret with which a message to it is signed.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 of id,
time and body, so that a receiver knows who sent it, that nothing was changed, and when it was sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ..concealing import HoldsKeys

__all__ = ["Endpoint", "secret_problem", "sign", "url_problem"]

_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Endpoint(HoldsKeys):
    """Where alerts go. Its ``repr`` shows the host alone: path and user may be secrets.

    Attributes:
        url: ``http://`` or ``https://``; a user and password in it are sent as basic
            authentication.
        secret: What messages are signed with; empty for no signature.
    """

    url: str = field(repr=False)
    secret: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def bare_url(self) -> str:
        """The URL without user and password."""
        return urlsplit(self.url)._replace(netloc=self.host).geturl()

    def __repr__(self) -> str:
        return f"<Endpoint {self.host}>"

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers of a message.

        Args:
            message_id: The same for each try.
            timestamp: Unix time in seconds of this try.
            body: What is sent.
        """
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
        }
        parts = urlsplit(self.url)
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(user).decode()}"
        if self.secret:
            headers["webhook-signature"] = sign(self.secret, message_id, timestamp, body)
        return headers


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message, ``v1,`` and base64.

    Args:
        secret: ``whsec_`` and the key in base64, or any text, which is the key as it stands.
        message_id: The header ``webhook-id``.
        timestamp: The header ``webhook-timestamp``, Unix time in seconds.
        body: The body, byte for byte.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def secret_problem(secret: str) -> str | None:
    """Return what is wrong with a secret, or None; says nothing of it."""
    try:
        _key(secret)
    except binascii.Error:
        return f"{_PREFIX} and something that is no base64"
    return None


def url_problem(url: str) -> str | None:
    """Return what is wrong with an address, or None; shows no more of it than the scheme."""
    if any(character.isspace() or not character.isprintable() for character in url):
        return "a URL with blanks or control characters in it"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "a text that is no URL"
    if parts.scheme not in ("http", "https"):
        if not parts.scheme or not url.startswith(f"{parts.scheme}://"):
            return "a text that is no URL"
        return f"a URL that begins with {parts.scheme}://"
    if not parts.hostname or port == 0:
        return "a URL without a host"
    return None


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    return secret.encode()
