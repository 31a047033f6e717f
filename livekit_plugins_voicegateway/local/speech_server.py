"""Whisper and Kokoro behind an OpenAI-compatible speech server, instead of in this process.

A host with many job processes loads the weights once that way. The requests are made by the
OpenAI plugin; finding utterances and cutting text into pieces stay the same as without a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import openai
from livekit.agents import APIConnectOptions, LanguageCode

from livekit import rtc
from livekit.plugins import openai as openai_plugin

from .whisper_engine import SAMPLE_RATE, Question, Transcript

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .kokoro_engine import Wording

__all__ = ["ServerRecognizer", "ServerSynthesizer"]

_NO_KEY = "none"
"""Servers without keys ignore it; the OpenAI client insists on one, and would otherwise send the
key of OPENAI_API_KEY."""


class ServerRecognizer:
    """Transcription by ``POST /v1/audio/transcriptions``.

    Args:
        base_url: The server, with or without ``/v1``.
        api_key: Its key; None: it wants none.
        model: Its name for the model.
    """

    loaded = True
    idle = True

    def __init__(self, base_url: str, *, api_key: str | None, model: str) -> None:
        self._client = _client(base_url, api_key)
        self._stt = openai_plugin.STT(
            model=model, language="", client=self._client, use_realtime=False
        )

    def prewarm(self) -> None:
        """Nothing to load here."""

    async def ready(self) -> None:
        """Nothing to wait for here."""

    async def hear(
        self, audio: NDArray[np.float32], question: Question, conn_options: APIConnectOptions
    ) -> Transcript:
        """Transcribe one utterance.

        Raises:
            APIError: The server refused, failed or could not be reached.
        """
        samples = (audio * 32767).astype(np.int16)
        frame = rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, len(samples))
        self._stt.update_options(prompt=", ".join(question.keyterms))
        event = await self._stt.recognize(
            frame, language=question.language or "", conn_options=conn_options
        )
        heard = event.alternatives[0]
        language = LanguageCode(heard.language or question.language or "").language
        return Transcript(heard.text.strip(), language, 1.0 if heard.text.strip() else 0.0)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._stt.aclose()
        await self._client.close()


class ServerSynthesizer:
    """Synthesis by ``POST /v1/audio/speech``.

    Args:
        base_url: The server, with or without ``/v1``.
        api_key: Its key; None: it wants none.
        model: Its name for the model.
    """

    loaded = True

    def __init__(self, base_url: str, *, api_key: str | None, model: str) -> None:
        self._client = _client(base_url, api_key)
        self._tts = openai_plugin.TTS(model=model, client=self._client, response_format="pcm")

    def prewarm(self) -> None:
        """Nothing to load here."""

    async def ready(self) -> None:
        """Nothing to wait for here."""

    async def speak(self, text: str, wording: Wording, conn_options: APIConnectOptions) -> bytes:
        """Say one piece of text: 16-bit samples of 24 kHz, mono.

        Raises:
            APIError: The server refused, failed or could not be reached.
        """
        self._tts.update_options(voice=wording.voice, speed=wording.speed)
        async with self._tts.synthesize(text, conn_options=conn_options) as stream:
            return b"".join([event.frame.data.tobytes() async for event in stream])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._tts.aclose()
        await self._client.close()


def _client(base_url: str, api_key: str | None) -> openai.AsyncClient:
    if urlsplit(base_url).path in ("", "/"):
        base_url = base_url.rstrip("/") + "/v1"
    return openai.AsyncClient(base_url=base_url, api_key=api_key or _NO_KEY, max_retries=0)
