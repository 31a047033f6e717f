"""Whisper and Kokoro behind a speech server; one on loopback writes down what it is asked."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from livekit.agents import APIConnectOptions, APIError, stt, utils
from local_speech import Clip, events, finals, frames, silence
from support.machine import PATIENCE

from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT

ONCE = APIConnectOptions(max_retry=0, timeout=PATIENCE)


@dataclass
class SpeechServer:
    """What the server was asked, and what it is to answer."""

    base_url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    text: str = "Go forward."
    seconds: float = 0.5

    async def transcribe(self, request: web.Request) -> web.Response:
        """``POST /v1/audio/transcriptions``."""
        form = dict(await request.post())
        audio = form.pop("file").file.read()  # type: ignore[union-attr]
        with wave.open(io.BytesIO(audio)) as file:
            form |= {"rate": file.getframerate(), "seconds": file.getnframes() / 16_000}
        self.asked.append({"authorization": request.headers["Authorization"], **form})
        return web.json_response({"text": self.text}, status=self.status)

    async def speak(self, request: web.Request) -> web.Response:
        """``POST /v1/audio/speech``."""
        self.asked.append(
            {"authorization": request.headers["Authorization"], **await request.json()}
        )
        samples = np.full(int(self.seconds * 24_000), 1000, np.int16)
        return web.Response(body=samples.tobytes(), content_type="audio/pcm", status=self.status)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SpeechServer]:
    """A speech server, and a key of somebody else's in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-cloud")
    served = SpeechServer()
    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", served.transcribe)
    app.router.add_post("/v1/audio/speech", served.speak)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    served.base_url = f"http://127.0.0.1:{port}"
    async with utils.http_context.open():
        yield served
    await runner.cleanup()


async def test_an_utterance_is_found_here_and_transcribed_there(
    server: SpeechServer, robot: Clip
) -> None:
    whisper = WhisperSTT(
        "whisper-large-v3", base_url=server.base_url, language="en-GB", short_window=True
    )
    async with whisper.stream() as stream:
        for frame in frames(np.concatenate([silence(1), robot.samples, silence(1)])):
            stream.push_frame(frame)
        stream.end_input()
        heard = await events(stream)
    assert finals(heard) == ["Go forward."]
    assert [event.type for event in heard] == [
        stt.SpeechEventType.START_OF_SPEECH,
        stt.SpeechEventType.FINAL_TRANSCRIPT,
        stt.SpeechEventType.END_OF_SPEECH,
    ]
    (asked,) = server.asked
    assert (asked["model"], asked["language"], asked["rate"]) == ("whisper-large-v3", "en", 16_000)
    assert 2.0 < asked["seconds"] < 3.5
    assert (whisper.provider, whisper.model) == ("local", "whisper-large-v3")
    assert whisper.loaded
    assert not whisper.capabilities.interim_results
    await whisper.aclose()


async def test_the_servers_own_names_and_key_and_the_keyterms_are_sent(
    server: SpeechServer, robot: Clip
) -> None:
    whisper = WhisperSTT(
        "whisper-base",
        base_url=f"{server.base_url}/v1",
        api_key="key-of-the-server",
        server_model="Systran/faster-whisper-base",
    )
    whisper._update_session_keyterms(["Elinor", "Dashwood"])
    event = await whisper.recognize(list(frames(robot.samples)))
    assert event.alternatives[0].text == "Go forward."
    (asked,) = server.asked
    assert asked["model"] == "Systran/faster-whisper-base"
    assert asked["prompt"] == "Elinor, Dashwood"
    assert asked["authorization"] == "Bearer key-of-the-server"
    assert "language" not in asked
    await whisper.aclose()


async def test_a_server_without_a_key_is_not_sent_the_clouds(
    server: SpeechServer, robot: Clip
) -> None:
    whisper = WhisperSTT("whisper-base", base_url=server.base_url)
    kokoro = KokoroTTS(base_url=server.base_url)
    await whisper.recognize(list(frames(robot.samples)))
    async with kokoro.synthesize("Hello.") as stream:
        await stream.collect()
    assert [asked["authorization"] for asked in server.asked] == ["Bearer none"] * 2
    await whisper.aclose()
    await kokoro.aclose()


async def test_an_answer_is_cut_here_and_spoken_there(server: SpeechServer) -> None:
    kokoro = KokoroTTS(
        voice="bm_george", speed=1.5, base_url=server.base_url, server_model="tts-kokoro"
    )
    async with kokoro.stream() as stream:
        stream.push_text("Thank you for calling. Your order 📦 has shipped.")
        stream.end_input()
        spoken = [event async for event in stream]
    assert [(asked["input"], asked["voice"]) for asked in server.asked] == [
        ("Thank you for calling.", "bm_george"),
        ("Your order  has shipped.", "bm_george"),
    ]
    assert server.asked[0]["model"] == "tts-kokoro"
    assert server.asked[0]["speed"] == 1.5
    assert server.asked[0]["response_format"] == "pcm"
    assert sum(event.frame.duration for event in spoken) >= 2 * server.seconds
    assert kokoro.loaded
    await kokoro.aclose()


async def test_a_server_that_fails_is_an_error_of_the_request(
    server: SpeechServer, robot: Clip
) -> None:
    server.status = 400
    whisper = WhisperSTT("whisper-base", base_url=server.base_url)
    kokoro = KokoroTTS(base_url=server.base_url)
    with pytest.raises(APIError):
        await whisper.recognize(list(frames(robot.samples)), conn_options=ONCE)
    with pytest.raises(APIError):
        await kokoro.synthesize("Hello.", conn_options=ONCE).collect()
    await whisper.aclose()
    await kokoro.aclose()


async def test_a_server_that_keeps_failing_is_asked_as_often_as_the_caller_said(
    server: SpeechServer, robot: Clip
) -> None:
    server.status = 500
    whisper = WhisperSTT("whisper-base", base_url=server.base_url)
    kokoro = KokoroTTS(base_url=server.base_url)
    twice = APIConnectOptions(max_retry=1, retry_interval=0.0, timeout=PATIENCE)
    with pytest.raises(APIError):
        await whisper.recognize(list(frames(robot.samples)), conn_options=twice)
    assert len(server.asked) == 2
    server.asked.clear()
    stream = kokoro.stream(conn_options=twice)
    stream.push_text("Hello.")
    stream.end_input()
    with pytest.raises(APIError):
        async for _ in stream:
            pass
    await stream.aclose()
    assert len(server.asked) == 2
    await whisper.aclose()
    await kokoro.aclose()


async def test_a_server_that_fails_costs_an_utterance_and_not_the_stream(
    server: SpeechServer, robot: Clip
) -> None:
    whisper = WhisperSTT("whisper-base", base_url=server.base_url)
    errors: list[Any] = []
    whisper.on("error", errors.append)
    server.status = 400
    heard: list[stt.SpeechEvent] = []
    async with whisper.stream(conn_options=ONCE) as stream:
        for frame in frames(np.concatenate([robot.samples, silence(1)])):
            stream.push_frame(frame)
        async for event in stream:
            heard.append(event)
            if event.type != stt.SpeechEventType.END_OF_SPEECH:
                continue
            if server.status == 200:
                break
            server.status = 200
            for frame in frames(np.concatenate([robot.samples, silence(1)])):
                stream.push_frame(frame)
    assert finals(heard) == ["Go forward."]
    assert [error.recoverable for error in errors] == [True]
    await whisper.aclose()
