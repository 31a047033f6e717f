"""Deepgram's speech to text on loopback: ``/v1/listen``, live and pre-recorded.

The wire protocol is that of Deepgram's API reference ("Live audio", "Pre-recorded audio"), in the
part that the LiveKit plugin uses. What is said in the audio is scripted, see `hearing`.
"""

from __future__ import annotations

import datetime
import io
import wave
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from .clips import Clip, pcm_to_samples
from .deepgram_live import Connection
from .deepgram_results import alternative, model_info
from .faults import Fault
from .hearing import Listener, Result
from .provider import GARBAGE, Provider, hang_up, headers_of, key_of, pause
from .record import TranscriptionRecord

__all__ = ["Deepgram"]

_SAMPLE_RATES = range(8000, 48001)


class Deepgram(Provider[TranscriptionRecord]):
    """Speech to text.

    Attributes:
        pause: Seconds of silence that end an utterance, if the client asks for less
            (``endpointing``).
    """

    name = "deepgram"

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._texts: deque[str] = deque()
        self._clips: list[Clip] = []
        self.pause = 0.4

    @property
    def transcripts(self) -> Sequence[str]:
        """The texts that are still to be heard.

        The next utterance that is in no clip takes the first, whichever connection it comes on,
        and gives it back when the connection ends before the utterance does. A pre-recorded file
        is one utterance.
        """
        return self._texts

    @transcripts.setter
    def transcripts(self, texts: Sequence[str]) -> None:
        self._texts.clear()
        self._texts.extend(texts)

    def add_clip(
        self, audio: Path | str | bytes, text: str, *, sample_rate: int | None = None
    ) -> None:
        """Make a recording known: where it is heard, in whole or in part, its words are.

        Args:
            audio: Path of a WAV file of 16 bits, or mono 16-bit samples.
            text: What is said in it.
            sample_rate: Of the samples, in Hz; a WAV file says its own.

        Raises:
            ValueError: It is silent, has no text, is not of 16 bits, or ``sample_rate`` is missing.
        """
        if isinstance(audio, bytes):
            if sample_rate is None:
                raise ValueError("samples need a sample_rate")
            self._clips.append(Clip.from_samples(pcm_to_samples(audio, 1), sample_rate, text))
        else:
            self._clips.append(Clip.from_wav(Path(audio), text))

    def listen(self, router: web.UrlDispatcher, url: str) -> None:
        self.base_url = f"{url}/v1/listen"
        router.add_get(f"/{self.name}/v1/listen", self._live)
        router.add_post(f"/{self.name}/v1/listen", self._recorded)

    def error_body(self, code: int, message: str, request_id: str) -> dict[str, Any]:
        kinds = {400: "Bad Request", 401: "INVALID_AUTH", 429: "TOO_MANY_REQUESTS"}
        kind = kinds.get(code, "INTERNAL_SERVER_ERROR" if code >= 500 else "REQUEST_ERROR")
        return {"err_code": kind, "err_msg": message, "request_id": request_id}

    async def _live(self, http: web.Request) -> web.StreamResponse:
        fault = self.faults.take()
        with self.recording(self._new_record(http, live=True)) as request:
            refusal = await self.fail_first(http, request, fault) or self._check(request)
            if refusal is not None:
                return refusal
            request.status = 101
            socket = web.WebSocketResponse()
            socket.headers["dg-request-id"] = request.id
            await socket.prepare(http)
            listener = self._new_listener(http, request)
            connection = Connection(self, http, socket, request, listener, fault)
            opened_at = self._clock()
            try:
                await connection.serve()
            finally:
                listener.give_back()
                request.connection_seconds = self._clock() - opened_at
            return socket

    async def _recorded(self, http: web.Request) -> web.StreamResponse:
        fault = self.faults.take()
        with self.recording(self._new_record(http, live=False)) as request:
            if fault is not None and fault.kind == "refuse":
                await self.fail_first(http, request, fault)
            try:
                pcm = _read_wav(await http.read(), request)
            except (wave.Error, EOFError, ValueError) as problem:
                return self.refuse(request, 400, f"Bad Request: failed to process audio: {problem}")
            refusal = await self.fail_first(http, request, fault) or self._check(request)
            if refusal is not None:
                return refusal
            if fault is not None and not fault.comes_first:
                failure = await self._fail_recorded(http, request, fault)
                if failure is not None:
                    return failure
            request.status = 200
            answer = self._transcribe(pcm, request, http.query.get("detect_language") == "true")
            return web.json_response(answer, headers={"dg-request-id": request.id})

    async def _fail_recorded(
        self, http: web.Request, request: TranscriptionRecord, fault: Fault
    ) -> web.Response | None:
        if not fault.is_due(request.audio_seconds):
            return None
        self.note(request, fault)
        if fault.kind == "stall":
            await pause(fault)
            return None
        if fault.kind == "error":
            return self.refuse(request, 500, fault.message)
        request.status = 200
        if fault.kind in ("cut", "half"):
            response = web.StreamResponse(headers={"Content-Length": str(2 * len(GARBAGE))})
            await response.prepare(http)
            await response.write(GARBAGE.encode())
            hang_up(http)
        return web.Response(text=GARBAGE, content_type="application/json")

    def _transcribe(
        self, pcm: bytes, request: TranscriptionRecord, detect_language: bool
    ) -> dict[str, Any]:
        listener = Listener(
            request.sample_rate,
            request.channels,
            clips=self._clips,
            texts=self._texts,
            pause=None,
        )
        results = [
            event
            for event in listener.hear(pcm) + listener.finish()
            if isinstance(event, Result) and event.final
        ]
        words = [word for result in results for word in result.words]
        channel: dict[str, Any] = {"alternatives": [alternative(words, request.options)]}
        if detect_language:
            channel["detected_language"] = "en"
        request.transcripts.append(channel["alternatives"][0]["transcript"])
        created = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        return {
            "metadata": {
                "request_id": request.id,
                "created": created.isoformat(),
                "duration": request.audio_seconds,
                "channels": request.channels,
                "models": [request.model],
                "model_info": {request.model: model_info(request.model)},
            },
            "results": {"channels": [channel]},
        }

    def _new_listener(self, http: web.Request, request: TranscriptionRecord) -> Listener:
        endpointing = http.query.get("endpointing", "")
        gap = http.query.get("utterance_end_ms", "")
        return Listener(
            request.sample_rate,
            request.channels,
            clips=self._clips,
            texts=self._texts,
            pause=max(self.pause, int(endpointing) / 1000 if endpointing.isdecimal() else 0),
            utterance_end=int(gap) / 1000 if gap.isdecimal() else None,
        )

    def _check(self, request: TranscriptionRecord) -> web.Response | None:
        if not request.key:
            return self.refuse(request, 401, "Invalid credentials.")
        encoding = request.options.get("encoding", ["linear16"])[0]
        if request.live and encoding != "linear16":
            return self.refuse(request, 400, f"the sandbox hears linear16, not {encoding}")
        if request.sample_rate not in _SAMPLE_RATES or request.channels < 1:
            return self.refuse(
                request, 400, "expected sample_rate from 8000 to 48000 and channels from 1"
            )
        return None

    def _new_record(self, http: web.Request, *, live: bool) -> TranscriptionRecord:
        query = http.query
        return TranscriptionRecord(
            id=self.new_id("dg-"),
            key=key_of(http),
            model=query.get("model", "base"),
            headers=headers_of(http),
            started_at=self._clock(),
            live=live,
            language=query.get("language", ""),
            keyterms=tuple(query.getall("keyterm", [])),
            channels=_number(query.get("channels", "1")),
            sample_rate=_number(query.get("sample_rate", "16000")),
            options={name: query.getall(name) for name in query},
        )


def _read_wav(body: bytes, request: TranscriptionRecord) -> bytes:
    with wave.open(io.BytesIO(body), "rb") as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"expected 16 bits a sample, not {8 * file.getsampwidth()}")
        request.channels = file.getnchannels()
        request.sample_rate = file.getframerate()
        request.audio_seconds = file.getnframes() / file.getframerate()
        return file.readframes(file.getnframes())


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
