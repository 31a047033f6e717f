"""The other end of ``python -m livekit.agents console --connect-addr``: what LiveKit's CLI is.

LiveKit's console connects to a TCP server and exchanges protobuf messages with it, each behind four
bytes of length (``voice/remote_session.py``). This server speaks a recording into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from livekit.protocol.agent_pb import agent_session as pb

from livekit import rtc
from livekit_plugins_voicegateway.demo.line import RecordedCaller

RATE = 48000


class ConsoleLine:
    """One connection of a console.

    Attributes:
        heard: Samples of the agent's speech, 48 kHz.
        messages: What was said by either side, as it stands in the chat history.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard = b""
        self.messages: list[str] = []
        self._reader = reader
        self._writer = writer
        self._changed = asyncio.Event()
        self._caller = RecordedCaller()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def say(self, recording: Path) -> None:
        """Speak, in real time."""
        await self._caller.say(recording)

    async def until_said(self, text: str) -> None:
        """Wait until somebody has said this."""
        while text not in self.messages:
            self._changed.clear()
            await self._changed.wait()

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _send(self) -> None:
        resampler = rtc.AudioResampler(input_rate=16000, output_rate=RATE)
        async for frame in self._caller:
            for sent in resampler.push(frame):
                audio = pb.AgentSessionMessage.ConsoleIO.AudioFrame(
                    data=bytes(sent.data),
                    sample_rate=RATE,
                    num_channels=1,
                    samples_per_channel=sent.samples_per_channel,
                )
                self._write(pb.AgentSessionMessage(audio_input=audio))

    async def _receive(self) -> None:
        while True:
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            message = pb.AgentSessionMessage.FromString(await self._reader.readexactly(length))
            kind = message.WhichOneof("message")
            if kind == "audio_output":
                self.heard += message.audio_output.data
            elif kind == "audio_playback_flush":
                finished = pb.AgentSessionMessage.ConsoleIO.AudioPlaybackFinished()
                self._write(pb.AgentSessionMessage(audio_playback_finished=finished))
            elif kind == "event":
                item = message.event.conversation_item_added.item
                self.messages += [content.text for content in item.message.content]
                self._changed.set()

    def _write(self, message: pb.AgentSessionMessage) -> None:
        data = message.SerializeToString()
        self._writer.write(struct.pack(">I", len(data)) + data)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, asyncio.Future[ConsoleLine]]]:
    """Wait for a console: where it is to connect to, and its connection once it has."""
    line: asyncio.Future[ConsoleLine] = asyncio.get_running_loop().create_future()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.set_result(ConsoleLine(reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}", line
    finally:
        if line.done() and not line.cancelled():  # it is cancelled when nobody waits any more
            await line.result().aclose()
        server.close()
        await server.wait_closed()
