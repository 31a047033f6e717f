"""A plugin without a provider: events as fast as they are read, so that only the layers show.

It stands where a network would drown what one event costs. Each event passes alone
through all layers before the next one is made, as it does when it comes from a network: an event
that finds others waiting costs less than one that has to wake every task on its way.
"""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import llm, stt, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN

from livekit import rtc

__all__ = ["CHUNK", "FRAME", "SPEECH", "Baton", "SyntheticLLM", "SyntheticSTT", "SyntheticTTS"]

FRAME = rtc.AudioFrame(bytes(2_400), 24_000, 1, 1_200)
"""50 ms, as LiveKit's RoomIO gives audio to a session, which pushes it into an STT stream."""

SPEECH = rtc.AudioFrame(bytes(9_600), 24_000, 1, 4_800)
"""200 ms, the size to which LiveKit's AudioEmitter cuts what a plugin pushes."""

CHUNK = llm.ChatChunk(id="synthetic", delta=llm.ChoiceDelta(role="assistant", content=" word"))


class Baton:
    """Passed from whoever reads an event to whoever makes the next one."""

    def __init__(self) -> None:
        self._given = 0
        self._waiting: asyncio.Future[None] | None = None

    def give(self) -> None:
        """Let the other side go on."""
        if self._waiting is not None:
            if not self._waiting.done():
                self._waiting.set_result(None)
            self._waiting = None
        else:
            self._given += 1

    async def take(self) -> None:
        """Wait until the other side has had its turn."""
        if self._given:
            self._given -= 1
            return
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def reset(self) -> None:
        """Forget all turns that nobody took."""
        self._given, self._waiting = 0, None


class SyntheticSTT(stt.STT[Any]):
    """Hears nothing; hands the baton on for each frame that reaches the provider's side."""

    def __init__(self, baton: Baton) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.baton = baton

    async def _recognize_impl(self, *_args: Any, **_options: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(
        self, *, language: Any = NOT_GIVEN, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS
    ) -> stt.RecognizeStream:
        return _RecognizeStream(stt=self, conn_options=conn_options)


class _RecognizeStream(stt.RecognizeStream):
    _stt: SyntheticSTT

    async def _run(self) -> None:
        baton = self._stt.baton
        async for data in self._input_ch:
            if isinstance(data, rtc.AudioFrame):
                baton.give()


class SyntheticLLM(llm.LLM[Any]):
    """Answers with ``events`` chunks, ``pace`` seconds apart or one for each turn of the baton."""

    def __init__(self, baton: Baton) -> None:
        super().__init__()
        self.baton = baton
        self.events = 1
        self.pace: float | None = None

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: Any = DEFAULT_API_CONNECT_OPTIONS,
        **_options: Any,
    ) -> llm.LLMStream:
        return _LLMStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _LLMStream(llm.LLMStream):
    _llm: SyntheticLLM

    async def _run(self) -> None:
        model = self._llm
        for _ in range(model.events):
            self._event_ch.send_nowait(CHUNK)
            if model.pace is None:
                await model.baton.take()
            else:
                await asyncio.sleep(model.pace)


class SyntheticTTS(tts.TTS[Any]):
    """Speaks ``events`` frames, ``pace`` seconds apart or one for each turn of the baton."""

    def __init__(self, baton: Baton) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True), sample_rate=24_000, num_channels=1
        )
        self.baton = baton
        self.events = 1
        self.pace: float | None = None

    def synthesize(self, text: str, **_options: Any) -> tts.ChunkedStream:
        raise NotImplementedError

    def stream(self, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> tts.SynthesizeStream:
        return _SynthesizeStream(tts=self, conn_options=conn_options)


class _SynthesizeStream(tts.SynthesizeStream):
    _tts: SyntheticTTS

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        model = self._tts
        output_emitter.initialize(
            request_id="synthetic",
            sample_rate=model.sample_rate,
            num_channels=model.num_channels,
            mime_type="audio/pcm",
            stream=True,
        )
        output_emitter.start_segment(segment_id="synthetic")
        async for _ in self._input_ch:
            pass
        self._mark_started()
        for _ in range(model.events):
            output_emitter.push_frame(SPEECH)
            if model.pace is None:
                await model.baton.take()
            else:
                await asyncio.sleep(model.pace)
