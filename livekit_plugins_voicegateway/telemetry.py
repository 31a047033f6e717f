"""Project and cost on the spans that livekit-agents makes, for OpenTelemetry.

Who pays is on a request's span from its beginning; what it cost is known when its rows are priced,
on the recorder's thread, and that is a moment after LiveKit would have ended the span. So a
`RequestSpan` stands in for it, notes the time at which it is ended, and ends it with that time when
the cost is on it. Where nobody traces, none is made. docs/monitoring.md lists the attributes.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from livekit.agents.telemetry import trace_types, tracer
from opentelemetry import trace

from .bugs import never_raises, report_bug
from .log import logger
from .metering.usage import NANOS_PER_DOLLAR

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from .metering.meter import Meter, Request
    from .metering.usage import UsageRow

__all__ = ["RequestSpan", "name_payer", "start_transcription", "watch_request"]

_QUANTITIES: Final = (
    "audio_seconds",
    "connection_seconds",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "characters",
)


@never_raises("say on a span who pays", None)
def name_payer(span: trace.Span, request: Request) -> None:
    """Say on a span, while it is open, who pays for the request within it."""
    if span.is_recording():
        span.set_attributes(_payer(request))


@never_raises("trace a request", None)
def watch_request(span: trace.Span | None, request: Request) -> RequestSpan | None:
    """Stand in for LiveKit's span of a request; None when nobody traces it."""
    if span is None or not span.is_recording():
        return None
    return RequestSpan(span, request)


@never_raises("trace a transcription", None)
def start_transcription(request: Request) -> RequestSpan | None:
    """Begin a span for a transcription, for which LiveKit has none; None when nobody traces."""
    if not _somebody_traces():
        return None
    span = tracer.start_span("voicegateway_stt")
    if not span.is_recording():
        return None
    attributes: dict[str, AttributeValue] = {trace_types.ATTR_GEN_AI_REQUEST_MODEL: request.model}
    if provider := trace_types.gen_ai_provider_name(request.provider):
        attributes[trace_types.ATTR_GEN_AI_PROVIDER_NAME] = provider
    span.set_attributes(attributes)
    return RequestSpan(span, request)


class RequestSpan:
    """The span of one request, which ends when all that it cost is known.

    LiveKit sees a span whose `end` is put off. The rest of a span's methods are the span's own.

    Args:
        span: The span; it records.
        request: Who pays for what.
    """

    __slots__ = ("_ended_at", "_finished", "_lock", "_open", "_rows", "_span")

    def __init__(self, span: trace.Span, request: Request) -> None:
        self._span = span
        self._lock = threading.Lock()
        self._open = 0
        self._rows: list[UsageRow] = []
        self._ended_at: int | None = None
        self._finished = False
        span.set_attributes({**_payer(request), "voicegateway.request_id": request.request_id})

    def follow(self, meter: Meter) -> None:
        """Wait for this meter's rows before the span ends; the recorder tells them."""
        with self._lock:
            meter.span = self
            self._open += 1

    @never_raises("put a cost on a span", None)
    def priced(self, row: UsageRow, *, last: bool) -> None:
        """Take in a row that has ended, with its price.

        Called on the recorder's thread. A span processor that exports there and then holds it up;
        the same processor would hold up calls, for it exports LiveKit's spans on their event loop.

        Args:
            row: As it is in the ledger.
            last: Whether its meter makes no more of them.
        """
        with self._lock:
            self._rows.append(row)
            if last:
                self._open -= 1
        self._finish()

    @never_raises("say on a span that a budget has refused", None)
    def refused(self) -> None:
        """A budget refused the request: it cost nothing."""
        self._span.set_attributes({"voicegateway.status": "rejected", "voicegateway.cost": 0.0})

    def give_up(self, meter: Meter) -> None:
        """This meter's rows will not be told, because of a bug: do not wait for them."""
        with self._lock:
            if meter.span is self:
                meter.span = None
                self._open -= 1
        self._finish()

    def end(self, end_time: int | None = None) -> None:
        """The request is over. The first call counts.

        Args:
            end_time: Unix time in nanoseconds; now when left out.
        """
        with self._lock:
            if self._ended_at is None:
                self._ended_at = end_time if end_time is not None else time.time_ns()
        self._finish()

    def _finish(self) -> None:
        with self._lock:
            if self._ended_at is None or self._open > 0 or self._finished:
                return
            self._finished = True
            rows, self._rows = self._rows, []
        try:
            if rows:
                self._span.set_attributes(_outcome(rows))
        except Exception as e:
            report_bug("put a cost on a span", e)
        try:
            self._span.end(self._ended_at)
        except Exception:  # a span processor's
            logger.debug("a span could not be ended", exc_info=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


def _somebody_traces() -> bool:
    # LiveKit's tracer takes 30 microseconds to make a span that records nothing
    provider = getattr(tracer, "_tracer_provider", None)
    if isinstance(provider, trace.ProxyTracerProvider):
        provider = trace.get_tracer_provider()  # set since livekit-agents was imported, or not
    return not isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


def _payer(request: Request) -> dict[str, AttributeValue]:
    return {
        "voicegateway.project": request.project,
        "voicegateway.requested_model": request.requested_model,
    }


def _outcome(rows: list[UsageRow]) -> dict[str, AttributeValue]:
    """What the rows of one request say together."""
    newest = rows[-1]
    priced = all(row.cost_nanos is not None for row in rows)
    found: dict[str, AttributeValue] = {
        "voicegateway.provider": newest.provider,
        "voicegateway.model": newest.model,
        "voicegateway.status": newest.status,
        "voicegateway.rows": len(rows),
        "voicegateway.estimated": any(row.estimated for row in rows),
        "voicegateway.priced": priced,
    }
    if priced:
        # without a cost rather than with a part of it: what is unknown is not 0
        found["voicegateway.cost"] = sum(row.cost_nanos or 0 for row in rows) / NANOS_PER_DOLLAR
    if newest.price is not None:
        found["voicegateway.price"] = newest.price
    for name in _QUANTITIES:
        used = sum(getattr(row, name) for row in rows)
        if used:
            found[f"voicegateway.{name}"] = round(used, 3)
    return found
