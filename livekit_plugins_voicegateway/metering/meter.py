"""Meters: what one request uses, counted while it runs.

A meter is made when a request is, counts on the event loop (additions to its own attributes,
nothing else), and is read from the recorder's thread, which turns it into rows of the ledger. No
method of a meter raises: a fault of ours is logged once, marks the row, and the call goes on.
"""

from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from ..bugs import fault_of, report_bug
from .estimates import Prompt, estimate_text_tokens
from .usage import Modality, Quantities, Status

if TYPE_CHECKING:
    from livekit.agents.llm import ChatChunk, CompletionUsage

    from ..budgets import Hold
    from ..telemetry import RequestSpan

__all__ = [
    "CompletionMeter",
    "LostMeter",
    "Meter",
    "RefusedMeter",
    "Request",
    "SpeechMeter",
    "TranscriptionMeter",
    "begin_meter",
]

P = ParamSpec("P")
S = TypeVar("S", bound="Meter")


@dataclass(frozen=True, slots=True)
class Request:
    """Who asked for what, and who pays: what all rows of one request share.

    Attributes:
        request_id: UUIDv7.
        project: Id of the project that pays.
        modality: ``stt``, ``llm`` or ``tts``.
        provider: Provider's name in the model string.
        model: Model's name in the model string, without provider and suffix.
        requested_model: The whole string that the application asked for.
        variant: What a price may depend on beside the model: an STT stream's language.
        streaming: Whether the provider's streaming price applies, or the batch one.
        room: Name of the LiveKit room, or None outside a job.
        job_id: Id of the LiveKit job, or None outside a job.
        speech_id: LiveKit's name for the turn, where it gives one.
        fault: A failure of the metering itself before there was a meter, if there was one.
    """

    request_id: str
    project: str
    modality: Modality
    provider: str
    model: str
    requested_model: str
    variant: str | None = None
    streaming: bool = True
    room: str | None = None
    job_id: str | None = None
    speech_id: str | None = None
    fault: str | None = None


def _never_raises(
    method: Callable[Concatenate[S, P], None],
) -> Callable[Concatenate[S, P], None]:
    """Keep a fault of a meter away from the call: report it, mark the row."""

    @functools.wraps(method)
    def guarded(self: S, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as e:
            self.fault = fault_of(e)
            report_bug("meter a request", e)

    return cast("Callable[Concatenate[S, P], None]", guarded)


class Meter(ABC):
    """One row in the making.

    Attributes:
        request: What the row is about.
        started_at: Unix time in seconds.
        ended_at: Unix time in seconds; None while it runs.
        status: ``open`` while it runs.
        error: Type and text of the failure.
        fault: A failure of the metering itself, if there was one.
        hold: What the request holds of its project's budget.
        span: The request's span, which waits for what its rows cost; None when nobody traces.
        ttfb_ms: Milliseconds to the first result.
        duration_ms: Milliseconds from start to end; None while it runs.
    """

    __slots__ = (
        "_clock",
        "_monotonic",
        "_t0",
        "duration_ms",
        "ended_at",
        "error",
        "fault",
        "hold",
        "request",
        "span",
        "started_at",
        "status",
        "ttfb_ms",
    )

    def __init__(
        self,
        request: Request,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.request = request
        self._clock = clock
        self._monotonic = monotonic
        self.started_at = clock()
        self._t0 = monotonic()
        self.ended_at: float | None = None
        self.duration_ms: float | None = None
        self.status: Status = "open"
        self.error: str | None = None
        self.fault: str | None = request.fault
        self.hold: Hold | None = None
        self.span: RequestSpan | None = None
        self.ttfb_ms: float | None = None

    @property
    def age_ms(self) -> float:
        """Milliseconds since the start, or from start to end."""
        if self.duration_ms is not None:
            return self.duration_ms
        return (self._monotonic() - self._t0) * 1000

    @_never_raises
    def first_result(self) -> None:
        """Note the time of the first token, audio or transcript."""
        if self.ttfb_ms is None:
            self.ttfb_ms = (self._monotonic() - self._t0) * 1000

    def close(self, status: Status, error: BaseException | None = None) -> None:
        """End the row. The first call counts; later ones do nothing.

        Args:
            status: How the request ended.
            error: What it failed with.
        """
        if self.status == "open":
            self._end(error)
            if self.ended_at is None:
                self.ended_at = time.time()
            self.status = status  # last: the recorder's thread takes it for "no more will come"

    @_never_raises
    def _end(self, error: BaseException | None) -> None:
        self.ended_at = self._clock()
        self.duration_ms = (self._monotonic() - self._t0) * 1000
        if error is not None:
            self.error = describe_error(error)

    @abstractmethod
    def measure(self) -> tuple[Quantities, bool]:
        """What was used until now, and whether some of it is estimated.

        Called on the recorder's thread, also while the request runs.
        """


class LostMeter(Meter):
    """Stands in for a meter that could not be made: its row says that nobody knows what was used.

    Takes whatever another meter is told, and keeps nothing of it.
    """

    def __init__(self, request: Request, error: BaseException) -> None:
        # not the base's: that may be what fails
        self.request = replace(request, fault=fault_of(error))
        self._clock, self._monotonic = time.time, time.perf_counter
        self.started_at, self._t0 = time.time(), time.perf_counter()
        self.ended_at = self.duration_ms = self.ttfb_ms = None
        self.error = self.hold = self.span = None
        self.fault = fault_of(error)
        self.status = "open"

    def measure(self) -> tuple[Quantities, bool]:
        return Quantities(), True

    def _ignore(self, *args: object) -> None:
        """What the other meters are told."""

    push = audio = chunk = connected = disconnected = settle = report_tokens = _ignore
    sent = keyterms = False
    characters = audio_seconds = 0
    pieces: tuple[str, ...] = ()
    unsent_seconds = usage = None


def begin_meter(make: Callable[[], S], request: Request) -> S:
    """Make the meter of a request; one that counts nothing when that fails.

    Args:
        make: Makes the meter.
        request: What its row is about.
    """
    try:
        return make()
    except Exception as e:
        report_bug("begin to meter a request", e)
        return cast("S", LostMeter(request, e))


class RefusedMeter(Meter):
    """A request that a budget refused: it stands in the ledger, and used nothing."""

    __slots__ = ()

    def measure(self) -> tuple[Quantities, bool]:
        return Quantities(), False


class TranscriptionMeter(Meter):
    """Counts an STT stream or a recognition: seconds of audio sent, seconds connected."""

    __slots__ = (
        "_connected_at",
        "_connected_seconds",
        "audio_seconds",
        "input_tokens",
        "keyterms",
        "output_tokens",
        "unsent_seconds",
    )

    def __init__(self, request: Request, **clocks: Callable[[], float]) -> None:
        super().__init__(request, **clocks)
        self.audio_seconds = 0.0
        self.unsent_seconds: Callable[[], float] | None = None
        self.input_tokens = 0
        self.output_tokens = 0
        self.keyterms = False
        self._connected_at: float | None = None
        self._connected_seconds = 0.0

    @_never_raises
    def push(self, seconds: float) -> None:
        """Count audio handed to the provider's stream, in seconds."""
        self.audio_seconds += seconds

    @_never_raises
    def connected(self) -> None:
        """A connection to the provider begins."""
        self._connected_at = self._monotonic()

    @_never_raises
    def disconnected(self) -> None:
        """The connection to the provider is over."""
        if self._connected_at is not None:
            self._connected_seconds += self._monotonic() - self._connected_at
            self._connected_at = None

    @_never_raises
    def settle(self) -> None:
        """Nothing more will be sent: take off the audio that never was."""
        unsent_seconds, self.unsent_seconds = self.unsent_seconds, None
        if unsent_seconds is not None:
            self.audio_seconds -= unsent_seconds()

    @_never_raises
    def report_tokens(self, input_tokens: int, output_tokens: int) -> None:
        """Count tokens that the provider reported for this stretch of audio."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def measure(self) -> tuple[Quantities, bool]:
        connected_at = self._connected_at
        live = 0.0 if connected_at is None else self._monotonic() - connected_at
        unsent_seconds = self.unsent_seconds  # read once: the event loop may take it away
        unsent = unsent_seconds() if unsent_seconds is not None else 0.0
        return Quantities(
            audio_seconds=max(0.0, self.audio_seconds - unsent),
            connection_seconds=self._connected_seconds + live,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            add_ons=frozenset({"keyterm"}) if self.keyterms else frozenset(),
        ), False


class CompletionMeter(Meter):
    """Counts a chat completion: tokens as reported, or estimated when nobody reported any."""

    __slots__ = ("pieces", "prompt", "sent", "usage")

    def __init__(self, request: Request, prompt: Prompt, **clocks: Callable[[], float]) -> None:
        super().__init__(request, **clocks)
        self.prompt = prompt
        self.sent = False
        self.pieces: list[str] = []
        self.usage: CompletionUsage | None = None

    @_never_raises
    def chunk(self, chunk: ChatChunk) -> None:
        """Count one chunk of the answer."""
        if chunk.usage is not None:
            self.usage = chunk.usage
        delta = chunk.delta
        if delta is None:
            return
        if delta.content:
            self.first_result()
            self.pieces.append(delta.content)
        if delta.tool_calls:
            self.first_result()
            for call in delta.tool_calls:
                self.pieces.append(call.name)
                self.pieces.append(call.arguments)

    def measure(self) -> tuple[Quantities, bool]:
        usage = self.usage
        if usage is not None:
            return Quantities(
                input_tokens=usage.prompt_tokens,
                cached_input_tokens=usage.prompt_cached_tokens,
                cache_write_tokens=usage.cache_creation_tokens,
                output_tokens=usage.completion_tokens,
            ), False
        if not self.sent:
            return Quantities(), False
        ratio = self.prompt.calibration
        return Quantities(
            input_tokens=round(self.prompt.estimate() * ratio.prompt),
            output_tokens=round(
                estimate_text_tokens("".join(self.pieces.copy())) * ratio.completion
            ),
        ), True


class SpeechMeter(Meter):
    """Counts a synthesis: characters handed to the provider, seconds of audio that came back."""

    __slots__ = ("audio_seconds", "characters", "input_tokens", "output_tokens", "sent")

    def __init__(self, request: Request, **clocks: Callable[[], float]) -> None:
        super().__init__(request, **clocks)
        self.characters = 0
        self.audio_seconds = 0.0
        self.input_tokens = 0
        self.output_tokens = 0
        self.sent = False

    @_never_raises
    def push(self, characters: int) -> None:
        """Count characters handed to the provider's stream."""
        self.characters += characters

    @_never_raises
    def audio(self, seconds: float) -> None:
        """Count audio that came back, in seconds."""
        self.first_result()
        self.sent = True
        self.audio_seconds += seconds

    @_never_raises
    def report_tokens(self, input_tokens: int, output_tokens: int) -> None:
        """Note the tokens that the provider reported for the whole synthesis."""
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens

    def measure(self) -> tuple[Quantities, bool]:
        return Quantities(
            audio_seconds=self.audio_seconds,
            characters=self.characters if self.sent else 0,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        ), False


def describe_error(error: BaseException) -> str:
    """Name an error for the ledger: its type, and its status if it has one; never its text.

    An exception's text may quote a URL or a header with a key in it, so it is not stored.
    """
    status: Any = getattr(error, "status_code", None)
    name = type(error).__name__
    return f"{name} {status}" if isinstance(status, int) and status > 0 else name
