"""`KokoroTTS`: Kokoro as a LiveKit TTS, on this machine or behind a speech server of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from livekit.agents import APIConnectOptions, tts, utils
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    NotGivenOr,
    TimedString,
)
from livekit.agents.utils import is_given

from .engines import answer
from .kokoro_engine import (
    SAMPLE_RATE,
    Loading,
    Stopped,
    Wording,
    kokoro_engine,
    speak,
    spoken,
)
from .pieces import Pace, Pieces, pause_after

if TYPE_CHECKING:
    from .engines import Engine

__all__ = ["KokoroTTS", "Synthesizer"]

_BYTES_PER_SECOND: Final = 2 * SAMPLE_RATE
_SLOWEST, _FASTEST = 0.5, 2.0
_THREADS: Final = 2
"""More than two gain little: an inference is many small steps."""

_LONGEST_HOLD: Final = 2.0
_NO_SOUND: Final = bytes(_BYTES_PER_SECOND // 50)
"""20 ms of silence for a text without any sound: LiveKit takes no audio at all for an error."""


class Synthesizer(Protocol):
    """What says one piece of text: Kokoro in this process, or a server."""

    @property
    def loaded(self) -> bool:
        """Whether a text would be said without loading weights first."""

    def prewarm(self) -> None:
        """Start to get ready, in the background."""

    async def ready(self) -> None:
        """Wait until it is ready; raises APIError when it cannot be."""

    async def speak(self, text: str, wording: Wording, conn_options: APIConnectOptions) -> bytes:
        """16-bit samples of 24 kHz, mono; none for a text without sound; raises APIError."""

    async def aclose(self) -> None:
        """Let go of connections."""


class KokoroTTS(tts.TTS[Literal["metrics_collected", "error"]]):
    """Text to speech with Kokoro, 24 kHz, mono.

    An answer is spoken sentence by sentence while it is still being written; of the first sentence
    the first clause goes ahead. Text without anything to say, emoji for instance, is passed over.

    Args:
        model: ``kokoro``.
        voice: Kokoro's name of a voice, ``af_heart`` or ``bm_george``; its first letter says the
            language.
        speed: 1.0 is the voice's own; 0.5 to 2.0.
        language: espeak-ng's name of the language to pronounce, ``en-us``; None: the voice's own.
        weights: Folder with the model and its voices, or one that holds ``kokoro``. None: where
            ``voicegw download-files`` puts them.
        threads: Threads of one inference.
        base_url: An OpenAI-compatible speech server that does the work instead of this process.
        api_key: That server's key, where it wants one.
        server_model: That server's name for the model; None: ``kokoro``.
    """

    def __init__(
        self,
        model: Literal["kokoro"] = "kokoro",
        *,
        voice: str = "af_heart",
        speed: float = 1.0,
        language: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        threads: int = _THREADS,
        base_url: str | None = None,
        api_key: str | None = None,
        server_model: str | None = None,
    ) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True, aligned_transcript=True),
            sample_rate=SAMPLE_RATE,
            num_channels=1,
        )
        self._model = model
        self._wording = Wording(voice, _checked_speed(speed), language)
        self._pace = Pace()
        self._synthesizer: Synthesizer
        if base_url:
            from .speech_server import ServerSynthesizer

            self._synthesizer = ServerSynthesizer(
                base_url, api_key=api_key, model=server_model or model
            )
        else:
            folder = Path(weights) if weights else None
            self._synthesizer = _EngineSynthesizer(Loading(folder, threads))

    @property
    def model(self) -> str:
        """``kokoro``."""
        return self._model

    @property
    def provider(self) -> str:
        """``local``."""
        return "local"

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory, so that a text would not wait for them."""
        return self._synthesizer.loaded

    def prewarm(self) -> None:
        """Start loading the weights, in the background. A failure is logged."""
        self._synthesizer.prewarm()

    async def ready(self) -> None:
        """Wait until the weights are loaded and warm.

        Raises:
            APIError: They cannot be. The cause is a `WeightsMissingError`, where it is that.
        """
        await self._synthesizer.ready()

    def update_options(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        speed: NotGivenOr[float] = NOT_GIVEN,
        language: NotGivenOr[str | None] = NOT_GIVEN,
    ) -> None:
        """Change voice, speed or language, from the next synthesis on."""
        now = self._wording
        self._wording = Wording(
            voice if is_given(voice) else now.voice,
            _checked_speed(speed) if is_given(speed) else now.speed,
            language if is_given(language) else now.language,
        )

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Say a text that is there as a whole."""
        return _KokoroChunkedStream(self, text, conn_options)

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.SynthesizeStream:
        """Say a text while it is being written."""
        return _KokoroStream(self, conn_options)

    async def aclose(self) -> None:
        """Let go of connections. The weights stay for other instances."""
        await self._synthesizer.aclose()

    def _speech(self, emitter: tts.AudioEmitter, conn_options: APIConnectOptions) -> _Speech:
        return _Speech(self._synthesizer, self._wording, self._pace, emitter, conn_options)


class _KokoroStream(tts.SynthesizeStream):
    def __init__(self, kokoro: KokoroTTS, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=kokoro, conn_options=conn_options)
        self._kokoro = kokoro

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=SAMPLE_RATE,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        output_emitter.start_segment(segment_id=utils.shortuuid())
        speech = self._kokoro._speech(output_emitter, self._conn_options)
        tasks = [
            asyncio.create_task(self._read(speech), name="KokoroStream.read"),
            asyncio.create_task(speech.run(self._mark_started), name="KokoroStream.speak"),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await utils.aio.cancel_and_wait(*tasks)

    async def _read(self, speech: _Speech) -> None:
        async for item in self._input_ch:
            if isinstance(item, str):
                speech.push(item)
            else:
                speech.end()  # one stream is one segment: nothing comes after a flush
        speech.end()


class _KokoroChunkedStream(tts.ChunkedStream):
    def __init__(self, kokoro: KokoroTTS, text: str, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=kokoro, input_text=text, conn_options=conn_options)
        self._kokoro = kokoro

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=SAMPLE_RATE,
            num_channels=1,
            mime_type="audio/pcm",
        )
        speech = self._kokoro._speech(output_emitter, self._conn_options)
        speech.push(self.input_text)
        speech.end()
        await speech.run(lambda: None)


class _Speech:
    """One answer: takes its text, says it piece by piece, lets the audio out at the right time."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        wording: Wording,
        pace: Pace,
        emitter: tts.AudioEmitter,
        conn_options: APIConnectOptions,
    ) -> None:
        self._synthesizer = synthesizer
        self._wording = wording
        self._pace = pace
        self._conn_options = conn_options
        self._pieces = Pieces(english=wording.pronunciation.startswith("en"))
        self._more = asyncio.Event()
        self._outlet = _Outlet(emitter)
        self._clock = asyncio.get_running_loop().time

    def push(self, text: str) -> None:
        """More text."""
        self._pieces.push(text)
        self._more.set()

    def end(self) -> None:
        """No more text."""
        self._pieces.end()
        self._more.set()

    async def run(self, started: Callable[[], None]) -> None:
        """Say all of it. ``started`` is called when a piece is about to be synthesised."""
        try:
            while not self._pieces.exhausted:
                self._more.clear()
                piece = self._pieces.take(self._pace, self._outlet.in_hand)
                if piece is None:
                    await self._more.wait()
                    continue
                started()
                await self._say(piece)
            self._outlet.finish()
        finally:
            self._outlet.cancel()

    async def _say(self, piece: str) -> None:
        text = spoken(piece)
        if not text:
            self._outlet.put(piece, b"")
            return
        if text[-1].isalnum() and not self._pieces.exhausted:
            text += ","  # the sentence goes on: without it Kokoro would let the voice fall
        begun = self._clock()
        options = self._conn_options
        if self._outlet.in_hand is None:
            # While nothing was heard, the stream itself tries again (livekit.agents.tts).
            options = dataclasses.replace(options, max_retry=0)
        audio = await self._synthesizer.speak(text, self._wording, options)
        seconds = len(audio) / _BYTES_PER_SECOND
        hold = 0.0
        if audio:
            self._pace.learn(piece, seconds, self._clock() - begun)
            if self._outlet.in_hand is None:
                hold = min(self._pieces.hold(self._pace, seconds), _LONGEST_HOLD)
        self._outlet.put(piece, audio, hold)


class _Outlet:
    """Lets audio out to the caller, and knows how much of it is still to be heard."""

    def __init__(self, emitter: tts.AudioEmitter) -> None:
        self._emitter = emitter
        self._loop = asyncio.get_running_loop()
        self._ends_at: float | None = None
        self._length = 0.0
        self._pause = 0.0
        self._held: tuple[str, bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_hand(self) -> float | None:
        """Seconds until the caller will have heard all; None before the first audio."""
        if self._ends_at is None:
            return None
        return max(0.0, self._ends_at - self._loop.time())

    def put(self, text: str, audio: bytes, hold: float = 0.0) -> None:
        """Take in a piece.

        Args:
            text: What is said.
            audio: How; may be empty.
            hold: Seconds to keep it back, unless the next piece is here before.
        """
        self._release()
        if not audio:
            self._send(text, audio)
            return
        now = self._loop.time()
        late = 0.0 if self._ends_at is None else max(0.0, now - self._ends_at)
        audio = _silence(max(0.0, self._pause - late)) + audio
        self._pause = pause_after(text)
        self._ends_at = max(self._ends_at or now, now) + hold + len(audio) / _BYTES_PER_SECOND
        if hold:
            self._held = (text, audio)
            self._timer = self._loop.call_later(hold, self._release)
        else:
            self._send(text, audio)

    def finish(self) -> None:
        """All is said: let out what is left."""
        self._release()
        if not self._length:
            self._send("", _NO_SOUND)

    def cancel(self) -> None:
        """Let nothing out any more."""
        self._held = None
        if self._timer is not None:
            self._timer.cancel()

    def _release(self) -> None:
        if self._held is None or self._timer is None:
            return
        early = max(0.0, self._timer.when() - self._loop.time())
        self._timer.cancel()
        self._ends_at = (self._ends_at or 0.0) - early
        (text, audio), self._held = self._held, None
        self._send(text, audio)

    def _send(self, text: str, audio: bytes) -> None:
        seconds = len(audio) / _BYTES_PER_SECOND
        if text:
            self._emitter.push_timed_transcript(
                TimedString(text, start_time=self._length, end_time=self._length + seconds)
            )
        if audio:
            self._length += seconds
            self._emitter.push(audio)
            self._emitter.flush()


class _EngineSynthesizer:
    """Kokoro in this process."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading

    @property
    def _engine(self) -> Engine[Any]:
        return kokoro_engine(self._loading)

    @property
    def loaded(self) -> bool:
        return self._engine.loaded

    def prewarm(self) -> None:
        self._engine.prewarm()

    async def ready(self) -> None:
        await answer(self._engine.ready())

    async def speak(self, text: str, wording: Wording, conn_options: APIConnectOptions) -> bytes:
        stopped = Stopped()
        work = self._engine.run(lambda model: speak(model, text, wording, stopped).tobytes())
        try:
            return await answer(work)
        finally:
            stopped.set()

    async def aclose(self) -> None:
        """Nothing to let go of: the engine is the process's."""


def _checked_speed(speed: float) -> float:
    if not _SLOWEST <= speed <= _FASTEST:
        raise ValueError(f"speed is {speed}; Kokoro speaks at {_SLOWEST} to {_FASTEST}")
    return speed


def _silence(seconds: float) -> bytes:
    return bytes(2 * int(seconds * SAMPLE_RATE))
