"""`WhisperSTT`: whisper as a LiveKit STT, on this machine or behind a speech server of its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from livekit.agents import APIConnectOptions, LanguageCode, stt, utils, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import AudioBuffer, is_given

from livekit import rtc

from .engines import answer
from .weights import whisper_size
from .whisper_engine import SAMPLE_RATE, Loading, Question, Transcript, hear, whisper_engine
from .whisper_stream import WhisperStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .engines import Engine

__all__ = ["Recognizer", "WhisperSTT"]

_SHORT_WINDOW_THREADS = 1
_FULL_WINDOW_THREADS = 4


class Recognizer(Protocol):
    """What turns one utterance into text: whisper in this process, or a server."""

    @property
    def loaded(self) -> bool:
        """Whether an utterance would be answered without loading weights first."""

    @property
    def idle(self) -> bool:
        """Whether an utterance would be answered without waiting for another."""

    def prewarm(self) -> None:
        """Start to get ready, in the background."""

    async def ready(self) -> None:
        """Wait until it is ready; raises APIError when it cannot be."""

    async def hear(
        self, audio: NDArray[np.float32], question: Question, conn_options: APIConnectOptions
    ) -> Transcript:
        """Transcribe float32 samples of 16 kHz, mono; raises APIError."""

    async def aclose(self) -> None:
        """Let go of connections."""


class WhisperSTT(stt.STT[Literal["metrics_collected", "error"]]):
    """Speech to text with whisper.

    Args:
        model: ``whisper-<size>``, for instance ``whisper-base`` or ``whisper-large-v3``.
        language: What is spoken, in any usual form (``en``, ``en-GB``, ``english``). None: whisper
            finds out, anew for each utterance.
        weights: Folder with the model's files, or one that holds ``whisper-<size>``. None: Hugging
            Face's cache, where ``voicegw download-files`` puts them.
        device: ``cpu``, ``cuda``, or ``auto``: the GPU when there is one.
        compute_type: CTranslate2's arithmetic; None: ``int8`` on a CPU, ``float16`` on a GPU.
        cpu_threads: Threads of one inference; None: 1 with ``short_window`` (its matrices are too
            small for more), else up to 4.
        beam_size: Candidates kept while decoding.
        short_window: Encode the utterance and some silence instead of always 30 s: about five
            times faster on a CPU, and interim transcripts become possible. Where the answer looks
            wrong, the full window is taken after all.
        vad: What finds utterances in a stream. None: LiveKit's bundled silero with
            ``min_silence_duration``.
        min_silence_duration: Seconds of silence that end an utterance; not used when ``vad`` is
            given.
        base_url: An OpenAI-compatible speech server that does the work instead of this process.
        api_key: That server's key, where it wants one.
        server_model: That server's name for the model; None: the same as ``model``.
    """

    def __init__(
        self,
        model: str = "whisper-base",
        *,
        language: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        compute_type: str | None = None,
        cpu_threads: int | None = None,
        beam_size: int = 1,
        short_window: bool = False,
        vad: vad.VAD | None = None,
        min_silence_duration: float = 0.25,
        base_url: str | None = None,
        api_key: str | None = None,
        server_model: str | None = None,
    ) -> None:
        size = whisper_size(model)
        self._model = f"whisper-{size}"
        self._language = LanguageCode(language) if language else None
        if self._language and size.endswith(".en") and self._language.language != "en":
            raise ValueError(
                f"local/{self._model} understands English only, not {language!r}: "
                f"use local/{self._model.removesuffix('.en')}"
            )
        self._beam_size = beam_size
        self._short_window = short_window and base_url is None
        self._vad = vad
        self._min_silence = min_silence_duration
        self._keyterms: tuple[str, ...] = ()
        self._recognizer: Recognizer
        if base_url:
            from .speech_server import ServerRecognizer

            self._recognizer = ServerRecognizer(
                base_url, api_key=api_key, model=server_model or self._model
            )
        else:
            threads = cpu_threads or (
                _SHORT_WINDOW_THREADS
                if short_window
                else min(_FULL_WINDOW_THREADS, os.cpu_count() or 1)
            )
            folder = Path(weights) if weights else None
            self._recognizer = _EngineRecognizer(
                Loading(size, folder, device, compute_type, threads)
            )
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True,
                interim_results=self._short_window,
                aligned_transcript="chunk",
                keyterms=True,
            )
        )

    @property
    def model(self) -> str:
        """``whisper-<size>``."""
        return self._model

    @property
    def provider(self) -> str:
        """``local``."""
        return "local"

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory, so that an utterance would not wait for them."""
        return self._recognizer.loaded

    def prewarm(self) -> None:
        """Start loading the weights, in the background. A failure is logged."""
        self._recognizer.prewarm()

    async def ready(self) -> None:
        """Wait until the weights are loaded and warm.

        Raises:
            APIError: They cannot be. The cause is a `WeightsMissingError`, where it is that.
        """
        await self._recognizer.ready()

    def update_options(self, *, language: NotGivenOr[str | None] = NOT_GIVEN) -> None:
        """Change the language, from the next utterance on; None: it is detected."""
        if is_given(language):
            self._language = LanguageCode(language) if language else None

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> WhisperStream:
        """Start to listen. Starts loading the weights, if nobody did."""
        from livekit.agents import inference

        detector = self._vad or inference.VAD(min_silence_duration=self._min_silence)
        return WhisperStream(
            stt=self,
            recognizer=self._recognizer,
            vad=detector,
            language=LanguageCode(language) if is_given(language) and language else None,
            drafts=self._short_window,
            conn_options=conn_options,
        )

    def question(self, language: LanguageCode | None = None, *, draft: bool = False) -> Question:
        """How the next utterance is to be transcribed; `WhisperStream` asks."""
        spoken = language or self._language
        return Question(
            language=spoken.language if spoken else None,
            beam_size=self._beam_size,
            short_window=self._short_window,
            keyterms=self._keyterms,
            draft=draft,
        )

    async def aclose(self) -> None:
        """Let go of connections. The weights stay for other instances."""
        await self._recognizer.aclose()

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        audio = as_samples(utils.merge_frames(buffer))
        spoken = LanguageCode(language) if is_given(language) and language else None
        once = dataclasses.replace(conn_options, max_retry=0)  # STT.recognize tries again itself
        heard = await self._recognizer.hear(audio, self.question(spoken), once)
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            alternatives=[
                stt.SpeechData(
                    language=LanguageCode(heard.language),
                    text=heard.text,
                    end_time=len(audio) / SAMPLE_RATE,
                    confidence=heard.confidence,
                )
            ],
        )

    def _update_session_keyterms(self, keyterms: Sequence[str]) -> None:
        self._keyterms = tuple(keyterms)


class _EngineRecognizer:
    """Whisper in this process."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading

    @property
    def _engine(self) -> Engine[Any]:
        return whisper_engine(self._loading)

    @property
    def loaded(self) -> bool:
        return self._engine.loaded

    @property
    def idle(self) -> bool:
        return self._engine.idle

    def prewarm(self) -> None:
        self._engine.prewarm()

    async def ready(self) -> None:
        await answer(self._engine.ready())

    async def hear(
        self, audio: NDArray[np.float32], question: Question, conn_options: APIConnectOptions
    ) -> Transcript:
        return await answer(self._engine.run(lambda model: hear(model, audio, question)))

    async def aclose(self) -> None:
        """Nothing to let go of: the engine is the process's."""


def as_samples(frame: rtc.AudioFrame) -> NDArray[np.float32]:
    """A frame of any rate and any number of channels as whisper hears it."""
    samples = np.asarray(frame.data, dtype=np.int16)
    if frame.num_channels > 1:
        samples = samples.reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
    if frame.sample_rate != SAMPLE_RATE:
        resampler = rtc.AudioResampler(
            frame.sample_rate, SAMPLE_RATE, quality=rtc.AudioResamplerQuality.HIGH
        )
        mono = rtc.AudioFrame(samples.tobytes(), frame.sample_rate, 1, len(samples))
        parts = [*resampler.push(mono), *resampler.flush()]
        samples = np.concatenate([np.asarray(part.data, dtype=np.int16) for part in parts])
    return samples.astype(np.float32) / np.float32(32768)
