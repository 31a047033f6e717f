"""Chat completions as OpenAI and Ollama both serve them: the request, the reply, the stream.

What the two do differently (`openai`, `ollama`) is left to their own classes.
"""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web

from .faults import Fault
from .provider import GARBAGE, Provider, compact, hang_up, headers_of, key_of, pause
from .record import CompletionRecord
from .replies import ChatRequest, Replies, Reply, Script
from .tokens import prompt_tokens

__all__ = ["ChatProvider", "Delta"]


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of a reply: what is sent at once, and how many tokens that is."""

    delta: dict[str, Any]
    tokens: int
    text: str = ""
    tool_calls: tuple[str, ...] = ()


class ChatProvider(Provider[CompletionRecord]):
    """A provider of chat completions.

    Attributes:
        tokens_per_second: Pace of a streamed reply; None sends it as fast as the client reads.
        time_to_first_token: Seconds from the request to the first token.
        reports_usage: Whether a stream ends with its token counts when the client asks for them.
        fingerprint: ``system_fingerprint`` of every chunk.
    """

    fingerprint: ClassVar[str]

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._replies = Replies(())
        self.tokens_per_second: float | None = None
        self.time_to_first_token = 0.0
        self.reports_usage = True

    @property
    def replies(self) -> Script:
        """What the model says; see `Script` for the three ways to write it."""
        return self._replies.script

    @replies.setter
    def replies(self, script: Script) -> None:
        self._replies = Replies(script)

    @abstractmethod
    def check(self, request: CompletionRecord, body: dict[str, Any]) -> tuple[int, str] | None:
        """Return status and message when the real provider refused this request."""

    @abstractmethod
    def deltas(self, reply: Reply) -> Iterator[Delta]:
        """Cut a reply into the steps in which it is streamed."""

    @abstractmethod
    def usage(self, request: CompletionRecord) -> dict[str, Any]:
        """Return the ``usage`` of a reply, as far as it was sent."""

    @abstractmethod
    def count_prompt(self, request: CompletionRecord, tokens: list[str]) -> None:
        """Write down the tokens of an accepted prompt."""

    async def complete(self, http: web.Request) -> web.StreamResponse:
        """Serve ``POST /chat/completions``."""
        body = await http.read()
        fault = self.faults.take()
        with self.recording(self._new_record(http)) as request:
            refusal = await self.fail_first(http, request, fault)
            if refusal is not None:
                return refusal
            try:
                asked = _read_body(body, request)
            except ValueError as problem:
                return self.refuse(request, 400, str(problem))
            if (wrong := self.check(request, asked)) is not None:
                return self.refuse(request, *wrong)
            self.count_prompt(request, prompt_tokens(request.messages, asked.get("tools") or ()))
            chat = ChatRequest(request.model, request.messages, request.tools)
            reply = self._replies.choose(chat)
            exchange = _Exchange(self, http, request, asked, fault)
            if asked.get("stream"):
                return await exchange.stream(reply)
            return await exchange.answer(reply)

    def _new_record(self, http: web.Request) -> CompletionRecord:
        return CompletionRecord(
            id=self.new_id("chatcmpl-"),
            key=key_of(http),
            model="",
            headers=headers_of(http),
            started_at=self._clock(),
        )


class _Exchange:
    """One accepted request and the reply to it."""

    def __init__(
        self,
        provider: ChatProvider,
        http: web.Request,
        request: CompletionRecord,
        asked: dict[str, Any],
        fault: Fault | None,
    ) -> None:
        self._provider = provider
        self._http = http
        self._request = request
        self._fault = fault
        options = asked.get("stream_options") or {}
        self._with_usage = bool(options.get("include_usage")) and provider.reports_usage
        self._limit: int | None = asked.get("max_completion_tokens") or asked.get("max_tokens")
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "x-request-id": request.id}
        )

    async def stream(self, reply: Reply) -> web.StreamResponse:
        """Send the reply as server-sent events, token by token."""
        self._request.status = 200
        await self._response.prepare(self._http)
        await asyncio.sleep(self._provider.time_to_first_token)
        finish_reason = "tool_calls" if reply.tool_calls else "stop"
        for delta in self._provider.deltas(reply):
            if await self._strike_if_due():
                return self._response
            if self._is_full():
                finish_reason = "length"
                break
            if self._request.output_tokens and self._provider.tokens_per_second:
                await asyncio.sleep(delta.tokens / self._provider.tokens_per_second)
            await self._send_choice(delta.delta, None)
            self._write_down(delta)
        if await self._strike_if_due():
            return self._response
        await self._send_choice({}, finish_reason)
        if self._with_usage:
            self._request.usage_reported = True
            await self._send({"choices": [], "usage": self._provider.usage(self._request)})
        await self._response.write(b"data: [DONE]\n\n")
        return self._response

    async def answer(self, reply: Reply) -> web.StreamResponse:
        """Send the reply in one piece, as a client gets it that did not ask for a stream."""
        await asyncio.sleep(self._provider.time_to_first_token)
        if self._fault is not None:
            self._provider.note(self._request, self._fault)
            if self._fault.kind == "cut":
                hang_up(self._http)
            if self._fault.kind == "half":
                response = web.StreamResponse(headers={"Content-Length": str(2 * len(GARBAGE))})
                await response.prepare(self._http)
                await response.write(GARBAGE.encode())
                hang_up(self._http)
            if self._fault.kind == "garbage":
                self._request.ending = "error"
                return web.Response(text=GARBAGE, content_type="application/json")
            if self._fault.kind == "error":
                return self._provider.refuse(self._request, 500, self._fault.message)
            await pause(self._fault)
        calls = []
        for delta in self._provider.deltas(reply):
            self._write_down(delta)
        for call in reply.tool_calls:
            function = {"name": call.name, "arguments": call.json}
            call_id = self._provider.new_id("call_")
            calls.append({"id": call_id, "type": "function", "function": function})
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if calls:
            message["tool_calls"] = calls
        self._request.status = 200
        self._request.usage_reported = True
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls" if calls else "stop",
        }
        completion = self._envelope("chat.completion")
        completion |= {"choices": [choice], "usage": self._provider.usage(self._request)}
        return web.json_response(completion, headers={"x-request-id": self._request.id})

    async def _send_choice(self, delta: dict[str, Any], finish_reason: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        await self._send({"choices": [choice]})

    async def _send(self, content: dict[str, Any]) -> None:
        await self._send_raw(compact(self._envelope("chat.completion.chunk") | content))

    async def _send_raw(self, data: str) -> None:
        await self._response.write(f"data: {data}\n\n".encode())

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._request.id,
            "object": kind,
            "created": int(self._request.started_at),
            "model": self._request.model,
            "system_fingerprint": self._provider.fingerprint,
        }

    def _write_down(self, delta: Delta) -> None:
        self._request.output_tokens += delta.tokens
        self._request.text += delta.text
        self._request.tool_calls += delta.tool_calls

    def _is_full(self) -> bool:
        return self._limit is not None and self._request.output_tokens >= self._limit

    async def _strike_if_due(self) -> bool:
        """Let the fault strike if it is time; return whether the stream is over by it."""
        fault = self._fault
        if fault is None or not fault.is_due(self._request.output_tokens):
            return False
        self._fault = None
        self._provider.note(self._request, fault)
        if fault.kind == "half":
            event = f"data: {compact(self._envelope('chat.completion.chunk'))}"
            await self._response.write(event[: len(event) // 2].encode())
        if fault.kind in ("cut", "half"):
            hang_up(self._http)
        if fault.kind == "stall":
            await pause(fault)
            return False
        self._request.ending = "error"
        if fault.kind == "garbage":
            await self._send_raw(GARBAGE)
        else:
            await self._send_raw(
                compact(self._provider.error_body(500, fault.message, self._request.id))
            )
        return True


def _read_body(body: bytes, request: CompletionRecord) -> dict[str, Any]:
    """Read the JSON of a request into its record.

    Raises:
        ValueError: It is no JSON object, or ``messages`` is no list of objects.
    """
    try:
        asked = json.loads(body)
    except ValueError as problem:
        raise ValueError(f"the body of the request is not JSON: {problem}") from None
    if not isinstance(asked, dict):
        raise ValueError("the body of the request is not a JSON object")
    messages = asked.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ValueError("'messages' is not a list of objects")
    request.model = str(asked.get("model") or "")
    request.messages = messages
    request.tools = tuple(tool["function"]["name"] for tool in asked.get("tools") or ())
    return asked
