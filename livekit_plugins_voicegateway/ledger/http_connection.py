"""Requests of a worker to the server that keeps its ledger.

aiohttp comes with livekit-agents; it is imported when the first request is made, and so by no
command that only looks.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..concealing import note_keys
from ..errors import LedgerError, RowsRefusedError
from ..version import __version__
from .urls import token_of, without_credentials

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Answer", "HttpConnection"]

CONNECT_SECONDS: Final = 2.0
"""Seconds until a connection stands."""

ANSWER_SECONDS: Final = 5.0
"""Seconds until all of an answer is there."""

_KEEP_ALIVE: Final = 4.0
"""Seconds that a connection may be idle and is used again; the server hangs up after 5, and a
request that is sent into the end of a connection may or may not have been heard."""

_COMPRESSED_FROM: Final = 1_024
"""Bytes from which on a body is sent with gzip."""

_MOST_SHOWN: Final = 300
"""Characters of what a server says that stand in an error."""


class Answer(NamedTuple):
    """What the server has answered.

    Attributes:
        status: 200, or 304.
        data: The JSON; None without a body.
        etag: The header ``ETag``; empty without one.
    """

    status: int
    data: Any
    etag: str


class WrongField(NamedTuple):
    """A value that the server refuses: which, what it found there, and what would be right."""

    field: str
    found: str
    expected: str


class HttpConnection:
    """Asks one server. Belongs to the event loop that uses it.

    Args:
        url: Where it is, with the token as `urls.with_token` puts it.
    """

    # no `vars` that would show the token
    __slots__ = ("_pid", "_session", "_token", "url")

    def __init__(self, url: str) -> None:
        self.url = without_credentials(url).rstrip("/")
        self._token = token_of(url)
        note_keys([self._token])
        self._session: aiohttp.ClientSession | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"<HttpConnection {self.url}>"

    async def get(self, path: str, *, etag: str = "") -> Answer:
        """Ask for something.

        Args:
            path: ``/v1/managed-projects``.
            etag: What is known already; if it is the same still, the answer is 304 without data.

        Raises:
            LedgerError: There is no answer, or none of use.
        """
        headers = {"If-None-Match": etag} if etag else {}
        return await self._ask("GET", path, headers, None)

    async def post(self, path: str, body: bytes) -> Any:
        """Send JSON, and return what is answered; raises as `get`."""
        headers = {"Content-Type": "application/json"}
        if len(body) >= _COMPRESSED_FROM:
            packer = zlib.compressobj(1, wbits=31)
            body = packer.compress(body) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        return (await self._ask("POST", path, headers, body)).data

    async def close(self) -> None:
        """Hang up. It connects again when it is used again."""
        session, self._session = self._session, None
        if session is not None and self._pid == os.getpid():
            await session.close()

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        import aiohttp

        if not (self._token.isascii() and self._token.isprintable()):
            raise self._failed("the token has characters that cannot be sent, such as a line break")
        if self._session is None or self._pid != os.getpid():
            self._session, self._pid = _new_session(self._token), os.getpid()
        status, etag, content, reason = 0, "", b"", ""
        try:
            async with self._session.request(
                method, self.url + path, headers=headers, data=body, allow_redirects=False
            ) as answer:
                content = await answer.read()
                status, etag = answer.status, answer.headers.get("ETag", "")
        except TimeoutError:
            reason = f"it did not answer within {ANSWER_SECONDS:g} seconds"
        except aiohttp.ClientConnectorCertificateError as e:
            why = getattr(e.certificate_error, "verify_message", "") or "it is not valid"
            reason = f"its certificate cannot be trusted: {why}"
        except aiohttp.ClientConnectorError as e:
            reason = f"it cannot be reached: {e.os_error.strerror or e.os_error}"
        except (aiohttp.ClientError, OSError, ValueError) as e:
            reason = f"the connection broke: {type(e).__name__}"
        if reason:
            # here and not above: what aiohttp raises has the request in it, token and all
            raise self._failed(reason)
        if status == 304:
            return Answer(status, None, etag)
        if status != 200:
            raise self._refused(status, content)
        try:
            return Answer(status, json.loads(content), etag)
        except (ValueError, RecursionError):
            raise self._failed("what answers there is no VoiceGateway server") from None

    def _refused(self, status: int, content: bytes) -> LedgerError:
        detail, wrong = _said(content)
        match status:
            case 401:
                hint = "the token is not the right one" if self._token else "it wants a token"
                return self._failed(
                    f"{hint}: set `database.token` in voicegw.yaml, or VOICEGW_INGEST_TOKEN, to "
                    "the server's `server.ingest_token`"
                )
            case 404 | 405:
                return self._failed(
                    f"it takes no usage ({status}): it is no VoiceGateway server, or an older one; "
                    "update the server before its workers"
                )
            case 413:
                return RowsRefusedError(f"{self._address} takes no body as large: {detail}")
            case 422 if wrong and all(_is_of_a_row(*one) for one in wrong):
                return RowsRefusedError(f"{self._address} refuses {_listed(wrong)}")
            case 422:
                said = _listed(wrong) or detail or status
                return self._failed(f"it refuses what was sent: {said}")
        if 300 <= status < 400:
            return self._failed(f"it points elsewhere ({status}); name the address it points to")
        return self._failed(f"it answers {status}{f': {detail}' if detail else ''}")

    def _failed(self, reason: str) -> LedgerError:
        return LedgerError(f"{self._address} cannot be used: {reason}")

    @property
    def _address(self) -> str:
        return f"the ledger's server {self.url}"


def _new_session(token: str) -> aiohttp.ClientSession:
    import aiohttp

    headers = {"User-Agent": f"voicegateway/{__version__}", "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=4, keepalive_timeout=_KEEP_ALIVE),
        timeout=aiohttp.ClientTimeout(
            total=ANSWER_SECONDS, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS
        ),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _said(content: bytes) -> tuple[str, list[WrongField]]:
    """What a problem's body says: its detail, and its wrong fields."""
    try:
        problem = json.loads(content)
        detail = str(problem.get("detail", ""))[:_MOST_SHOWN]
        errors = problem.get("errors") or []
        wrong = [
            WrongField(str(one["field"]), str(one["found"]), str(one["expected"])) for one in errors
        ]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return "", []
    return detail, wrong


def _listed(wrong: Sequence[WrongField]) -> str:
    text = "; ".join(f"{one.field}: found {one.found}; expected {one.expected}" for one in wrong)
    return text[:_MOST_SHOWN]


def _is_of_a_row(field: str, found: str, expected: str) -> bool:
    """Whether it is what stands in a row that is refused, and not how rows are written by now."""
    of_its_shape = found in ("an unknown field", "nothing")
    return (field == "rows" or field.startswith("rows[")) and not of_its_shape
