"""Cartesia's text to speech on loopback: ``/tts/websocket`` and ``/tts/bytes``.

The wire protocol is that of Cartesia's API reference ("TTS (WebSocket)", "TTS (Bytes)"), in the
part that the LiveKit plugin uses. What is heard is the babble of `voice`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from .cartesia_live import Connection
from .cartesia_speech import Chunk, chunks, count_characters, problem_with
from .faults import Fault
from .provider import GARBAGE, Provider, hang_up, headers_of, key_of, pause
from .record import SpeechRecord
from .voice import Voice

__all__ = ["Cartesia"]

_REASONS = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 429: "Rate Limited"}


class Cartesia(Provider[SpeechRecord]):
    """Text to speech.

    Attributes:
        pace: Seconds of audio that are sent per second; None sends as fast as the client reads.
        time_to_first_audio: Seconds from the first text to the first audio.
    """

    name = "cartesia"

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.pace: float | None = None
        self.time_to_first_audio = 0.0

    def listen(self, router: web.UrlDispatcher, url: str) -> None:
        self.base_url = url
        router.add_get(f"/{self.name}/tts/websocket", self._websocket)
        router.add_post(f"/{self.name}/tts/bytes", self._bytes)

    def error_body(self, code: int, message: str, request_id: str) -> dict[str, Any]:
        return {
            "type": "error",
            "done": True,
            "error": f"{_REASONS.get(code, 'Server Error')}: {message}",
            "status_code": code,
        }

    def new_record(
        self, http: web.Request, body: Mapping[str, Any], request_id: str, *, live: bool
    ) -> SpeechRecord:
        """Return the record of a context or a request for bytes that begins."""
        voice = body.get("voice")
        return SpeechRecord(
            id=request_id,
            key=key_of(http) or http.query.get("api_key", ""),
            model=str(body.get("model_id") or ""),
            headers=headers_of(http),
            started_at=self._clock(),
            live=live,
            voice=str(voice.get("id", "")) if isinstance(voice, dict) else "",
            language=str(body.get("language") or ""),
        )

    async def _websocket(self, http: web.Request) -> web.StreamResponse:
        fault = self.faults.take(connecting=True)
        handshake = self.new_record(http, {}, self.new_id("ws-"), live=True)
        if fault is not None or not handshake.key:
            with self.recording(handshake) as request:
                refusal = await self.fail_first(http, request, fault)
                if refusal is None and not request.key:
                    refusal = self.refuse(request, 401, "no API key")
                if refusal is not None:
                    return refusal
                request.status = 101
        socket = web.WebSocketResponse()
        socket.headers["X-Request-Id"] = handshake.id
        await socket.prepare(http)
        await Connection(self, http, socket).serve()
        return socket

    async def _bytes(self, http: web.Request) -> web.StreamResponse:
        try:
            body = await http.json()
        except ValueError:
            body = None
        problem = problem_with(body)
        fault = self.faults.take()
        known = body if isinstance(body, dict) else {}
        with self.recording(
            self.new_record(http, known, self.new_id("tts-"), live=False)
        ) as request:
            refusal = await self.fail_first(http, request, fault)
            if refusal is None and not request.key:
                refusal = self.refuse(request, 401, "no API key")
            if refusal is None and problem is not None:
                refusal = self.refuse(request, 400, problem)
            if refusal is not None:
                return refusal
            request.text = known["transcript"]
            request.characters = count_characters(request.text)
            if fault is not None and fault.kind == "error":
                self.note(request, fault)
                return self.refuse(request, 500, fault.message)
            return await self._send_bytes(http, request, known["output_format"], fault)

    async def _send_bytes(
        self,
        http: web.Request,
        request: SpeechRecord,
        output_format: Mapping[str, Any],
        fault: Fault | None,
    ) -> web.StreamResponse:
        request.status = 200
        response = web.StreamResponse(
            headers={"Content-Type": "audio/pcm", "X-Request-Id": request.id}
        )
        await response.prepare(http)
        await asyncio.sleep(self.time_to_first_audio)
        voice = Voice(request.voice, output_format["sample_rate"])
        for number, chunk in enumerate(chunks(voice, request.text, 0.0)):
            if fault is not None and not fault.comes_first and fault.is_due(number):
                self.note(request, fault)
                if fault.kind == "cut":
                    hang_up(http)
                if fault.kind == "half":
                    await response.write(chunk.pcm[: len(chunk.pcm) // 4 * 2 + 1])
                    return response
                if fault.kind == "garbage":
                    request.ending = "error"
                    await response.write(GARBAGE.encode())
                    return response
                await pause(fault)
                fault = None
            await response.write(chunk.pcm)
            request.audio_seconds = chunk.end
            await self.keep_pace(chunk)
        return response

    async def keep_pace(self, chunk: Chunk) -> None:
        """Wait as long as the chunk just sent allows."""
        if self.pace is not None:
            await asyncio.sleep(chunk.seconds / self.pace)
