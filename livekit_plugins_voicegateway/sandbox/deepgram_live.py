"""One live connection to the sandboxed Deepgram: its messages in both directions."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

from .deepgram_results import alternative, model_info
from .faults import Fault
from .hearing import Event, Listener, Result, SpeechStarted, UtteranceEnded
from .provider import GARBAGE, compact, hang_up, hang_up_in_a_frame
from .record import TranscriptionRecord

if TYPE_CHECKING:
    from .deepgram import Deepgram

__all__ = ["Connection"]

_BYTES_PER_SAMPLE = 2
_CHANNEL = [0, 1]


class Connection:
    """A websocket that takes audio and gives transcripts.

    Args:
        provider: Whose connection it is.
        http: The request that opened it.
        socket: The websocket, open.
        request: Where to write down what happens.
        listener: Who hears the audio.
        fault: What is to go wrong.
    """

    def __init__(
        self,
        provider: Deepgram,
        http: web.Request,
        socket: web.WebSocketResponse,
        request: TranscriptionRecord,
        listener: Listener,
        fault: Fault | None,
    ) -> None:
        self._provider = provider
        self._http = http
        self._socket = socket
        self._request = request
        self._listener = listener
        self._fault = fault
        self._bytes = 0  # of audio received
        self._silent_until = 0.0  # in the loop's time
        self._held_back: list[dict[str, Any]] = []

    async def serve(self) -> None:
        """Take and answer messages until one side closes the connection."""
        await self._strike_if_due()
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                await self._take_audio(message.data)
            elif message.type is WSMsgType.TEXT:
                await self._take_command(message.data)
            await self._strike_if_due()
            await self._release()
        if self._request.ending == "open":
            self._request.ending = "client"

    async def _take_audio(self, pcm: bytes) -> None:
        if not pcm:  # the older way to say CloseStream
            await self._close_stream()
            return
        request = self._request
        self._bytes += len(pcm)
        samples = self._bytes / (_BYTES_PER_SAMPLE * request.channels)
        request.audio_seconds = samples / request.sample_rate
        await self._tell(self._listener.hear(pcm))

    async def _take_command(self, text: str) -> None:
        try:
            command = json.loads(text)["type"]
        except (ValueError, KeyError, TypeError):
            command = None
        if command == "Finalize":
            await self._tell(self._listener.finish(), from_finalize=True)
        elif command == "CloseStream":
            await self._close_stream()
        elif command != "KeepAlive":
            await self._send_error(f"unexpected message: {text[:100]}", "UnparsableClientMessage")

    async def _close_stream(self) -> None:
        await self._tell(self._listener.finish())
        request = self._request
        await self._send(
            {
                "type": "Metadata",
                "request_id": request.id,
                "duration": round(request.audio_seconds, 6),
                "channels": request.channels,
                "models": [request.model],
                "model_info": {request.model: model_info(request.model)},
            }
        )
        if self._silent_until == math.inf:
            return
        await asyncio.sleep(self._silent_until - self._time())
        await self._release()
        request.ending = "completed"
        await self._socket.close()

    async def _tell(self, events: list[Event], *, from_finalize: bool = False) -> None:
        options = self._request.options
        for event in events:
            if isinstance(event, SpeechStarted):
                if options.get("vad_events") == ["true"]:
                    started = {"type": "SpeechStarted", "channel": _CHANNEL, "timestamp": event.at}
                    await self._send(started)
            elif isinstance(event, UtteranceEnded):
                ended = {"channel": _CHANNEL, "last_word_end": event.last_word_end}
                await self._send({"type": "UtteranceEnd", **ended})
            elif event.final or options.get("interim_results") == ["true"]:
                await self._send(self._results(event, from_finalize))

    def _results(self, result: Result, from_finalize: bool) -> dict[str, Any]:
        request = self._request
        heard = alternative(result.words, request.options)
        endpointing = request.options.get("endpointing") != ["false"]
        return {
            "type": "Results",
            "channel_index": _CHANNEL,
            "start": result.start,
            "duration": round(result.end - result.start, 3),
            "is_final": result.final,
            "speech_final": result.endpoint and endpointing,
            "from_finalize": from_finalize,
            "channel": {"alternatives": [heard]},
            "metadata": {"request_id": request.id, "model_info": model_info(request.model)},
        }

    async def _send(self, message: dict[str, Any]) -> None:
        self._held_back.append(message)
        await self._release()

    async def _release(self) -> None:
        if self._time() < self._silent_until:
            return
        held_back, self._held_back = self._held_back, []
        for message in held_back:
            await self._socket.send_str(compact(message))
            if message.get("is_final"):
                said = message["channel"]["alternatives"][0]["transcript"]
                self._request.transcripts.append(said)

    async def _send_error(self, text: str, variant: str) -> None:
        await self._send(
            {"type": "Error", "variant": variant, "description": text, "message": text}
        )

    async def _strike_if_due(self) -> None:
        fault = self._fault
        if fault is None or fault.comes_first or not fault.is_due(self._request.audio_seconds):
            return
        self._fault = None
        self._provider.note(self._request, fault)
        if fault.kind == "cut":
            hang_up(self._http)
        elif fault.kind == "half":
            heard = Result((), 0.0, 0.0)
            hang_up_in_a_frame(self._http, compact(self._results(heard, from_finalize=False)))
        elif fault.kind == "stall":
            self._silent_until = math.inf if fault.seconds is None else self._time() + fault.seconds
        elif fault.kind == "garbage":
            await self._socket.send_str(GARBAGE)
        else:
            await self._send_error(fault.message, "Sandbox")
            reason = fault.message.encode()[:120]
            await self._socket.close(code=WSCloseCode.INTERNAL_ERROR, message=reason)

    def _time(self) -> float:
        return asyncio.get_running_loop().time()
