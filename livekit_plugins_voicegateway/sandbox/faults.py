"""Failures that a sandboxed provider can be told to have, and the queue that holds them.

A test appends faults to ``sandbox.<provider>.faults``; each next request takes one. What a fault
looks like on the wire is the provider's own business, so this module only says which faults exist.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

__all__ = ["Fault", "FaultKind", "Faults"]

FaultKind = Literal["refuse", "stall", "cut", "half", "status", "garbage", "error"]

_MESSAGE = "the sandbox was told to fail"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail. Made by the class methods below, not by the constructor.

    ``after`` counts in what the provider streams: tokens sent (OpenAI, Ollama), seconds of audio
    received (Deepgram), chunks of audio sent (Cartesia). A fault whose ``after`` lies behind the
    end of its request passes unnoticed.
    """

    kind: FaultKind
    after: float | None = None
    seconds: float | None = None
    code: int = 500
    retry_after: float | None = None
    message: str = _MESSAGE
    done: bool = True

    @classmethod
    def refuse(cls) -> Fault:
        """Reset the connection (TCP RST) instead of answering."""
        return cls("refuse")

    @classmethod
    def stall(cls, seconds: float | None = None, *, after: float | None = None) -> Fault:
        """Send nothing for a while, then go on as if nothing had been.

        Args:
            seconds: How long; None for ever, until the client gives up.
            after: How much to stream before. None stalls before anything is answered, not even
                headers or the websocket's handshake; 0 answers those and then falls silent.
        """
        return cls("stall", after=after, seconds=seconds)

    @classmethod
    def cut(cls, after: float) -> Fault:
        """Drop the connection in the middle, after this much was streamed."""
        return cls("cut", after=after)

    @classmethod
    def half(cls, *, after: float = 0) -> Fault:
        """Send half of the next message, and drop the connection.

        Half a frame of a websocket, half a server-sent event, half a JSON document; of plain audio
        an odd number of bytes, as the end of the answer.
        """
        return cls("half", after=after)

    @classmethod
    def status(
        cls, code: int, *, retry_after: float | None = None, message: str = _MESSAGE
    ) -> Fault:
        """Answer with an HTTP error status in the provider's own error format.

        Args:
            code: The status, from 400 to 599.
            retry_after: Seconds for the header ``Retry-After``.
            message: Text of the error.
        """
        if not 400 <= code <= 599:
            raise ValueError(f"an error status is between 400 and 599, not {code}")
        return cls("status", code=code, retry_after=retry_after, message=message)

    @classmethod
    def garbage(cls, *, after: float = 0) -> Fault:
        """Send something that is not JSON, after this much was streamed."""
        return cls("garbage", after=after)

    @classmethod
    def error(cls, message: str = _MESSAGE, *, after: float = 0, done: bool = True) -> Fault:
        """Send the error message of the provider's streaming protocol.

        Args:
            message: Text of the error.
            after: How much to stream before.
            done: Cartesia's error messages carry ``done``, usually true; other providers have
                nothing like it and ignore this.
        """
        return cls("error", after=after, message=message, done=done)

    @property
    def comes_first(self) -> bool:
        """Whether it strikes before anything is answered, a websocket's handshake included."""
        return self.kind in ("refuse", "status") or (self.kind == "stall" and self.after is None)

    def is_due(self, streamed: float) -> bool:
        """Whether it strikes now, when ``streamed`` units have gone over the wire."""
        return streamed >= (self.after or 0)

    def __str__(self) -> str:
        text = f"status {self.code}" if self.kind == "status" else self.kind
        return text if self.after is None else f"{text} after {self.after:g}"


class Faults:
    """The faults that wait for the next requests of one provider, first in, first out.

    Attributes:
        struck: The faults that took effect, in order.
    """

    def __init__(self) -> None:
        self._queue: deque[Fault] = deque()
        self._always: Fault | None = None
        self.struck: list[Fault] = []

    def append(self, fault: Fault, *, times: int | None = 1) -> None:
        """Let the next ``times`` requests have this fault, after those that wait already.

        Args:
            fault: What is to happen.
            times: How many requests; None for every request until `clear` is called.
        """
        if times is None:
            self._always = fault
        else:
            self._queue.extend([fault] * times)

    def clear(self) -> None:
        """Forget all that has not struck: the provider works again."""
        self._queue.clear()
        self._always = None

    @property
    def waiting(self) -> tuple[Fault, ...]:
        """The faults that no request has taken yet, without one that was set for ever."""
        return tuple(self._queue)

    def take(self, *, connecting: bool = False) -> Fault | None:
        """Take the next fault for a request that begins.

        Args:
            connecting: Whether this is only the opening of a connection that requests will share
                (Cartesia's websocket); it takes no fault that needs a request to strike.
        """
        fault = self._queue[0] if self._queue else self._always
        if fault is None or (connecting and not fault.comes_first):
            return None
        if self._queue:
            self._queue.popleft()
        return fault
