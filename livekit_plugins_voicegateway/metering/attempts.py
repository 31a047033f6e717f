"""Attempts: LiveKit retries inside a stream, and each attempt that reached the provider is billed.

A LiveKit stream calls its own ``_run`` once per attempt (``llm/llm.py``, ``stt/stt.py`` and
``tts/tts.py``, each in ``_main_task``), and says nowhere outside that it did. `watch` puts itself
around ``_run`` of one stream, before the stream's task has had its first turn.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from livekit import rtc

from ..bugs import fault_of, never_raises, report_bug
from ..concealing import conceal

if TYPE_CHECKING:
    from livekit.agents import stt

    from .meter import Meter

__all__ = [
    "AttemptObserver",
    "may_be_billed",
    "reached_provider",
    "unsent_seconds",
    "unwatch",
    "watch",
]


class AttemptObserver(Protocol):
    """Who is told of the attempts of one stream. A bug in it is reported, and harms nobody."""

    def attempt_began(self) -> None:
        """An attempt begins."""

    def attempt_ended(self, error: BaseException | None) -> None:
        """The attempt is over, with ``error`` or well."""

    def unwatched(self, fault: str) -> None:
        """The stream cannot be watched: it is not known how many attempts there are."""

    def miscounted(self, fault: str) -> None:
        """An event of the present attempt was not counted."""


def watch(
    stream: Any, observer: AttemptObserver, events: Callable[[Any], None] | None = None
) -> None:
    """Tell ``observer`` of each attempt of ``stream``, and ``events`` of each of its events.

    Args:
        stream: A LiveKit ``RecognizeStream``, ``LLMStream``, ``ChunkedStream`` or
            ``SynthesizeStream`` made in this very turn of the event loop.
        observer: Is told of attempts.
        events: Is told of each event when the plugin produces it. Counting what is read would
            miss what had come in but was not read yet when a stream is closed early, and the
            provider bills that too.
    """
    try:
        _watch_attempts(stream, observer)
        if events is not None:
            _watch_events(stream, events, observer)
    except Exception as e:
        report_bug("watch a request", e)
        never_raises("meter an attempt", None)(observer.unwatched)(fault_of(e))


def _watch_attempts(stream: Any, observer: AttemptObserver) -> None:
    run: Callable[..., Awaitable[None]] = stream._run
    began = never_raises("meter an attempt", None)(observer.attempt_began)
    ended = never_raises("meter an attempt", None)(observer.attempt_ended)

    async def attempt(*args: Any) -> None:
        began()
        try:
            await run(*args)
        except BaseException as e:
            # before LiveKit logs it, traces it, or tells the application
            conceal(e)
            ended(e)
            raise
        ended(None)

    stream._run = attempt


def _watch_events(stream: Any, events: Callable[[Any], None], observer: AttemptObserver) -> None:
    send = stream._event_ch.send_nowait

    def observed(event: Any) -> None:
        send(event)
        try:
            events(event)
        except Exception as e:
            report_bug("meter what a provider has sent", e)
            never_raises("mark a row", None)(observer.miscounted)(fault_of(e))

    stream._event_ch.send_nowait = observed


@never_raises("let go of a stream", None)
def unwatch(stream: Any) -> None:
    """Take the observers off a stream that is over.

    They make a circle with it, which only the garbage collector would find, and its passes hold
    up every call in the process.

    Args:
        stream: A LiveKit stream that was closed.
    """
    vars(stream).pop("_run", None)
    vars(stream._event_ch).pop("send_nowait", None)


_NEVER_ANSWERED = (
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    ConnectionRefusedError,
    socket.gaierror,
)
"""No connection, or one that broke before the answer began (aiohttp/client_proto.py)."""

_NEVER_CONNECTED_NAMES = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
"""httpx's names; httpx and httpx2 both have them, and plugins use either."""


_NEVER_ANSWERED_NAMES = frozenset({"ReadError", "WriteError"})
"""httpx's names for a connection that was reset. One that ends in the middle of an answer raises
RemoteProtocolError, and so does one that is closed instead of an answer: the text tells."""


def reached_provider(error: BaseException | None) -> bool:
    """Whether an attempt that failed with ``error`` may have been billed.

    A connection that was never made or broke before any answer, and an answer with an error
    status before anything else, are not billed: providers say that errors are free. Anything else
    may be.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        name = type(error).__name__
        if isinstance(error, _NEVER_ANSWERED) or name in _NEVER_CONNECTED_NAMES:
            return False
        if name in _NEVER_ANSWERED_NAMES:
            return False
        if name == "RemoteProtocolError" and "without sending a response" in str(error):
            return False
        status = getattr(error, "status_code", None) or getattr(error, "status", None)
        if isinstance(status, int) and 400 <= status < 600:
            return False
        error = error.__cause__ or error.__context__
    return True


def may_be_billed(meter: Meter, error: BaseException | None) -> bool:
    """As `reached_provider`; true when that cannot be found out, and then the row says so."""
    try:
        return reached_provider(error)
    except Exception as e:
        report_bug("find out whether an attempt is billed", e)
        meter.fault = fault_of(e)
        return True


def unsent_seconds(stream: stt.RecognizeStream) -> float:
    """Seconds of audio that wait in a stream's queue: not sent, so not billed."""
    queue = stream._input_ch._queue
    try:
        return sum(item.duration for item in list(queue) if isinstance(item, rtc.AudioFrame))
    except RuntimeError:  # the loop has changed it meanwhile; the next reading will do
        return 0.0
