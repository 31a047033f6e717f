"""The two ends of a telephone line without a telephone: who speaks into it, and what is heard.

Both run by the clock, as a person and a loudspeaker do: silence is sent while nobody speaks, and
speech is over when its last sample was played, not when it was made.
"""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from livekit.agents.voice import io

from livekit import rtc

__all__ = ["Loudspeaker", "RecordedCaller", "Segment", "Subtitles"]

SAMPLE_RATE = 16000
"""Hz of the caller's audio: what the recordings have, and twice what a telephone has."""

FRAME = 0.02
"""Seconds of audio in a frame: WebRTC's 20 ms."""

_SAMPLES = int(SAMPLE_RATE * FRAME)
_SILENCE = bytes(2 * _SAMPLES)


class RecordedCaller(io.AudioInput):
    """A caller who is silent until told to `say` a recording.

    Args:
        pace: Seconds of audio per second; 1 is real time.
    """

    def __init__(self, *, pace: float = 1.0) -> None:
        super().__init__(label="RecordedCaller")
        self._pace = pace
        self._next_at: float | None = None
        self._speech = b""
        self._said = asyncio.Event()
        self._said.set()

    async def say(self, recording: Path) -> None:
        """Say a recording, and return when its last sample was sent.

        Args:
            recording: WAV file of 16 kHz, 16 bits, mono.

        Raises:
            ValueError: It is not such a file.
        """
        self._speech += read_recording(recording)
        self._said.clear()
        await self._said.wait()

    async def __anext__(self) -> rtc.AudioFrame:
        loop = asyncio.get_running_loop()
        if self._next_at is None:
            self._next_at = loop.time()
        await asyncio.sleep(self._next_at - loop.time())
        self._next_at += FRAME / self._pace
        samples, self._speech = self._speech[: 2 * _SAMPLES], self._speech[2 * _SAMPLES :]
        if not self._speech:
            self._said.set()
        return rtc.AudioFrame(samples.ljust(2 * _SAMPLES, b"\0"), SAMPLE_RATE, 1, _SAMPLES)


def read_recording(path: Path) -> bytes:
    """Return the samples of a WAV file of 16 kHz, 16 bits, mono.

    Raises:
        ValueError: It is not such a file.
    """
    with wave.open(str(path), "rb") as file:
        found = (file.getframerate(), 8 * file.getsampwidth(), file.getnchannels())
        if found != (SAMPLE_RATE, 16, 1):
            raise ValueError(
                f"{path}: expected 16000 Hz, 16 bits, 1 channel, not {found[0]} Hz, "
                f"{found[1]} bits, {found[2]} channels"
            )
        return file.readframes(file.getnframes())


@dataclass(slots=True, eq=False)
class Segment:
    """One stretch of the agent's speech.

    Attributes:
        frames: The audio, as the session handed it over.
        duration: Seconds of it.
        started_at: Unix time at which it began to play; None when it never did.
        played: Seconds of it that were played; as much as was known when it last changed.
        interrupted: Whether it was cut short.
        finished: Whether it is over, one way or the other.
    """

    frames: list[rtc.AudioFrame] = field(default_factory=list)
    duration: float = 0.0
    started_at: float | None = None
    played: float = 0.0
    interrupted: bool = False
    finished: bool = False

    @property
    def audio(self) -> bytes:
        """The samples of all frames, 16 bits."""
        return b"".join(bytes(frame.data) for frame in self.frames)


class Loudspeaker(io.AudioOutput):
    """Plays what the agent says, in the time that it takes, and can be interrupted.

    Nothing is audible: the frames are kept, and a playhead moves over them by the clock.

    Args:
        pace: Seconds of audio per second; 1 is real time.

    Attributes:
        segments: Everything that was ever to be played, in order.
    """

    def __init__(self, *, pace: float = 1.0) -> None:
        super().__init__(label="Loudspeaker", capabilities=io.AudioOutputCapabilities(pause=True))
        self.segments: list[Segment] = []
        self._pace = pace
        self._current: Segment | None = None
        self._flushed = False
        self._dropping = False
        self._paused = False
        self._moving_since: float | None = None
        self._dry: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Take a frame, to be played after those before it."""
        await super().capture_frame(frame)
        if self._dropping:
            return
        segment = self._current
        if segment is None:
            segment = self._current = Segment()
            self._flushed = False
            self.segments.append(segment)
        self._stop()
        segment.frames.append(frame)
        segment.duration += frame.duration
        self._move()

    def flush(self) -> None:
        """Take note that the segment has no more frames."""
        super().flush()
        self._dropping = False
        self._flushed = True
        if self._current is not None and self._dry is None and not self._paused:
            self._run_dry()

    def clear_buffer(self) -> None:
        """Stop, and forget what was not played yet."""
        segment = self._current
        if segment is None:
            return
        self._stop()
        self._dropping = not self._flushed
        segment.interrupted = True
        self._finish(segment)

    def pause(self) -> None:
        """Stop for a moment."""
        super().pause()
        self._stop()
        self._paused = True

    def resume(self) -> None:
        """Go on where it was paused."""
        super().resume()
        self._paused = False
        self._move()

    async def until_heard(self, seconds: float) -> None:
        """Return when so much of the segment that plays now, or next, was heard.

        A segment that ends sooner counts as heard.

        Args:
            seconds: Seconds of its audio.
        """
        segment = self._current
        while segment is None:
            await self._next_change()
            segment = self._current
        while not segment.finished:
            missing = seconds - segment.played - self._moved()
            if missing <= 0:
                return
            if self._moving_since is None:
                await self._next_change()
            else:
                await asyncio.sleep(missing / self._pace)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _move(self) -> None:
        """Let the playhead move on, if there is something to play."""
        segment = self._current
        if segment is None or self._paused or self._moving_since is not None:
            return
        if segment.started_at is None:
            segment.started_at = time.time()
            self.on_playback_started(created_at=segment.started_at)
        loop = asyncio.get_running_loop()
        self._moving_since = loop.time()
        left = (segment.duration - segment.played) / self._pace
        self._dry = loop.call_later(left, self._run_dry)
        self._changed.set()

    def _stop(self) -> None:
        """Hold the playhead where it is."""
        if self._dry is not None:
            self._dry.cancel()
            self._dry = None
        if self._current is not None:
            moved = self._current.played + self._moved()
            self._current.played = min(moved, self._current.duration)
        self._moving_since = None
        self._changed.set()

    def _moved(self) -> float:
        if self._moving_since is None:
            return 0.0
        return (asyncio.get_running_loop().time() - self._moving_since) * self._pace

    def _run_dry(self) -> None:
        """All audio that there is was played."""
        self._stop()
        segment = self._current
        if segment is None:
            return
        segment.played = segment.duration
        if self._flushed:
            self._finish(segment)

    def _finish(self, segment: Segment) -> None:
        segment.finished = True
        self._current = None
        self._flushed = False
        self.on_playback_finished(playback_position=segment.played, interrupted=segment.interrupted)


class Subtitles(io.TextOutput):
    """What the agent says, as it is heard.

    Args:
        show: Told of each next piece of text.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(label="Subtitles", next_in_chain=None)
        self._show = show

    async def capture_text(self, text: str) -> None:
        """Take the next piece of text."""
        self._show(text)

    def flush(self) -> None:
        """Nothing is held back."""
