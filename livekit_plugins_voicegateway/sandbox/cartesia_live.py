"""One websocket of the sandboxed Cartesia, and the contexts that share it."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from .cartesia_speech import Chunk, chunks, count_characters, problem_with
from .faults import Fault
from .provider import GARBAGE, compact, hang_up, hang_up_in_a_frame, pause
from .record import SpeechRecord
from .voice import Voice

if TYPE_CHECKING:
    from .cartesia import Cartesia

__all__ = ["Connection"]


class Connection:
    """A websocket; each of its contexts speaks in its own task.

    Args:
        provider: Whose connection it is.
        http: The request that opened it.
        socket: The websocket, open.
    """

    def __init__(
        self, provider: Cartesia, http: web.Request, socket: web.WebSocketResponse
    ) -> None:
        self.provider = provider
        self.http = http
        self._socket = socket
        self._contexts: dict[str, _Context] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Take messages until one side closes the connection; then end all contexts."""
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(message.data)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send(self, message: dict[str, Any] | str) -> None:
        """Send a message; a string goes as it is."""
        await self._socket.send_str(message if isinstance(message, str) else compact(message))

    async def _take(self, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        context_id = message.get("context_id") if isinstance(message, dict) else None
        if not isinstance(context_id, str):
            problem = "expected a JSON object with a context_id"
            await self.send(self.provider.error_body(400, problem, ""))
        elif message.get("cancel"):
            if context_id in self._contexts:
                self._contexts[context_id].cancel()
        elif (wrong := problem_with(message)) is not None:
            error = self.provider.error_body(400, wrong, context_id)
            await self.send(error | {"context_id": context_id})
        else:
            self._context(context_id, message).add(message)

    def _context(self, context_id: str, message: dict[str, Any]) -> _Context:
        context = self._contexts.get(context_id)
        if context is None:
            request = self.provider.new_record(self.http, message, context_id, live=True)
            voice = Voice(request.voice, message["output_format"]["sample_rate"])
            context = _Context(self, request, voice, self.provider.faults.take())
            self._contexts[context_id] = context
            task = asyncio.create_task(self._speak(context))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return context

    async def _speak(self, context: _Context) -> None:
        try:
            await context.speak()
        except ConnectionError:
            return  # The client has gone, or a fault has closed the connection.
        if context.request.ending != "error":
            # What still comes for a context with an error is of no use; it is not a new context.
            del self._contexts[context.request.id]


class _Context:
    """Text that comes bit by bit and is spoken as one."""

    def __init__(
        self, connection: Connection, request: SpeechRecord, voice: Voice, fault: Fault | None
    ) -> None:
        self.request = request
        self._connection = connection
        self._provider = connection.provider
        self._voice = voice
        self._fault = fault
        self._texts: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._chunks_sent = 0
        self._flushes = 0

    def add(self, message: dict[str, Any]) -> None:
        """Take the next message for this context."""
        self.request.text += message["transcript"]
        self.request.characters += count_characters(message["transcript"])
        self._texts.put_nowait(message)
        if not message.get("continue"):
            self._texts.put_nowait(None)

    def cancel(self) -> None:
        """Do not begin what has not begun; what is being spoken is spoken to its end."""
        while not self._texts.empty():
            self._texts.get_nowait()
        self._texts.put_nowait(None)
        self.request.ending = "client"

    async def speak(self) -> None:
        """Speak until the last text, an error or the end of the connection."""
        with self._provider.recording(self.request) as request:
            request.status = 200
            if self._fault is not None and self._fault.comes_first and await self._strike():
                return
            await asyncio.sleep(self._provider.time_to_first_audio)
            while (message := await self._texts.get()) is not None:
                for chunk in chunks(self._voice, message["transcript"], request.audio_seconds):
                    if self._is_due() and await self._strike():
                        return
                    await self._send_chunk(chunk, bool(message.get("add_timestamps")))
                if message.get("flush"):
                    self._flushes += 1
                    flush = {"flush_done": True, "flush_id": self._flushes}
                    await self._send("flush_done", 206, flush)
            if self._is_due() and await self._strike():
                return
            await self._send("done", 200, {"done": True})

    async def _send_chunk(self, chunk: Chunk, with_timestamps: bool) -> None:
        if with_timestamps:
            for word in chunk.words:
                timed = {"words": [word.text], "start": [word.start], "end": [word.end]}
                await self._send("timestamps", 206, {"word_timestamps": timed})
        audio = {"data": base64.b64encode(chunk.pcm).decode(), "step_time": 0.0}
        await self._send("chunk", 206, audio)
        self._chunks_sent += 1
        self.request.audio_seconds = chunk.end
        await self._provider.keep_pace(chunk)

    async def _send(self, kind: str, status: int, content: dict[str, Any]) -> None:
        message = {"type": kind, "done": False, "status_code": status}
        await self._connection.send(message | content | {"context_id": self.request.id})

    def _is_due(self) -> bool:
        return self._fault is not None and self._fault.is_due(self._chunks_sent)

    async def _strike(self) -> bool:
        """Let the fault strike; return whether the context is over by it."""
        fault, self._fault = self._fault, None
        assert fault is not None
        self._provider.note(self.request, fault)
        if fault.kind in ("refuse", "cut"):
            hang_up(self._connection.http)
        if fault.kind == "half":
            hang_up_in_a_frame(
                self._connection.http,
                compact({"type": "chunk", "data": "AAAA" * 100, "context_id": self.request.id}),
            )
        if fault.kind == "stall":
            await pause(fault)
            return False
        self.request.ending = "error"
        if fault.kind == "garbage":
            await self._connection.send(GARBAGE)
            return True
        self.request.status = fault.code
        error = self._provider.error_body(fault.code, fault.message, self.request.id)
        error |= {"done": fault.done, "context_id": self.request.id}
        await self._connection.send(error)
        return True
