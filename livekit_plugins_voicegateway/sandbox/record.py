"""What a sandboxed provider received and sent, in the units in which the real one bills.

The quantities have the names of `livekit_plugins_voicegateway.metering.usage.Quantities`, so that
a record and a ledger are compared field by field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar

__all__ = [
    "CompletionRecord",
    "Ending",
    "Record",
    "RequestRecord",
    "SpeechRecord",
    "Totals",
    "TranscriptionRecord",
]

Ending = Literal["open", "completed", "client", "error", "fault", "shutdown"]
"""How a request ended: ``completed``; ``client`` hung up before the end; ``error`` was answered;
a ``fault`` broke the connection; ``shutdown`` of the sandbox. ``open``: it has not ended."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over requests.

    Attributes:
        requests: How many.
        audio_seconds: Seconds of audio received (STT) or sent (TTS).
        connection_seconds: Seconds that streaming connections were open.
        input_tokens: Prompt tokens, cached ones included.
        cached_input_tokens: Those of them that came from the prompt cache.
        output_tokens: Completion tokens that were sent.
        characters: Characters received to be spoken.
    """

    requests: int = 0
    audio_seconds: float = 0.0
    connection_seconds: float = 0.0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """What all requests have in common. Changes while the request runs; only read it.

    Attributes:
        id: The request id that the client was told.
        key: The API key the client sent; empty when it sent none.
        model: The model that was asked for.
        headers: All HTTP headers received, names as they were sent.
        started_at: Unix time in seconds.
        ended_at: Unix time in seconds; None while it runs.
        status: HTTP status answered; 101 for a websocket, 0 when nothing was answered.
        ending: See `Ending`.
        fault: The fault that struck it, as text; None when none did.
    """

    id: str
    key: str
    model: str
    headers: dict[str, str]
    started_at: float
    ended_at: float | None = None
    status: int = 0
    ending: Ending = "open"
    fault: str | None = None


@dataclass(slots=True, kw_only=True)
class TranscriptionRecord(RequestRecord):
    """A live connection to Deepgram, or one pre-recorded file sent to it.

    Attributes:
        live: Whether it was a websocket.
        language: As asked for; empty when the client named none.
        keyterms: As asked for.
        channels: Audio channels; the real provider bills each.
        sample_rate: In Hz.
        options: The whole query string.
        audio_seconds: Seconds of audio received, of one channel.
        connection_seconds: Seconds that the websocket was open; 0 for a file.
        transcripts: The final transcripts that were sent.
    """

    live: bool
    language: str = ""
    keyterms: tuple[str, ...] = ()
    channels: int = 1
    sample_rate: int = 0
    options: dict[str, list[str]] = field(default_factory=dict)
    audio_seconds: float = 0.0
    connection_seconds: float = 0.0
    transcripts: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class CompletionRecord(RequestRecord):
    """A chat completion of OpenAI or Ollama.

    Attributes:
        messages: The conversation as received.
        tools: Names of the tools offered.
        input_tokens: Prompt tokens; 0 when the request was refused.
        cached_input_tokens: Those of them that came from the prompt cache.
        output_tokens: Tokens sent, also when the client hung up in the middle.
        usage_reported: Whether the client was told the token counts.
        text: The text that was sent.
        tool_calls: Names of the tool calls that were sent whole.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: tuple[str, ...] = ()
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    usage_reported: bool = False
    text: str = ""
    tool_calls: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class SpeechRecord(RequestRecord):
    """One context on a websocket of Cartesia, or one request for bytes.

    Attributes:
        live: Whether it came over the websocket; ``id`` is then the context id.
        voice: Id of the voice asked for.
        language: As asked for; empty when the client named none.
        text: All transcripts received, put together.
        characters: Their characters, without the blank at the end of each.
        audio_seconds: Seconds of audio sent.
    """

    live: bool
    voice: str = ""
    language: str = ""
    text: str = ""
    characters: int = 0
    audio_seconds: float = 0.0


R = TypeVar("R", bound=RequestRecord)


class Record(Generic[R]):
    """All requests of one provider.

    Attributes:
        requests: In the order in which they came.
    """

    def __init__(self) -> None:
        self.requests: list[R] = []

    @property
    def totals(self) -> Totals:
        """All that was received and sent: the most that the real provider could bill."""
        return _sum(self.requests)

    @property
    def failed(self) -> Totals:
        """The part of `totals` in requests that were answered with an error.

        Providers say that they do not bill these (Cartesia: "errors will not consume credits"),
        so a true bill lies between ``totals - failed`` and ``totals``.
        """
        return _sum(request for request in self.requests if request.ending == "error")

    def as_dict(self) -> dict[str, Any]:
        """Return totals and requests as plain data that `json` can write."""
        return {
            "totals": asdict(self.totals),
            "failed": asdict(self.failed),
            "requests": [asdict(request) for request in self.requests],
        }


def _sum(requests: Iterable[RequestRecord]) -> Totals:
    chosen = list(requests)
    sums = {
        quantity.name: sum(getattr(request, quantity.name, 0) for request in chosen)
        for quantity in fields(Totals)
        if quantity.name != "requests"
    }
    return Totals(requests=len(chosen), **sums)
