"""A telephone call with a real `AgentSession`, and neither telephone nor LiveKit server.

`hold_call` runs an agent inside a job's context, as a worker does, lets a recorded caller talk to
it, heard by a real voice activity detector, and returns what was said, what happened, and when.
The demo and the tests hold their calls with it, through the gateway or on the plugins directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from livekit.agents import Agent, AgentSession, CloseEvent, JobContext
from livekit.agents.llm import LLM
from livekit.agents.stt import STT
from livekit.agents.testing import fake_job_context
from livekit.agents.tts import TTS
from livekit.agents.utils import http_context
from livekit.agents.voice.events import (
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    SpeechCreatedEvent,
    UserInputTranscribedEvent,
)
from livekit.agents.voice.speech_handle import SpeechHandle
from livekit.agents.voice.transcription import TranscriptSynchronizer

from .line import Loudspeaker, RecordedCaller, Segment, Subtitles

__all__ = ["CallEvent", "CallEventName", "CallResult", "Turn", "TurnResult", "hold_call"]

_SessionEventName = Literal[
    "user_state_changed",
    "user_input_transcribed",
    "agent_state_changed",
    "speech_created",
    "conversation_item_added",
    "function_tools_executed",
    "agent_false_interruption",
    "error",
    "close",
]

CallEventName = (
    _SessionEventName
    | Literal["turn_began", "turn_ended", "agent_said"]
    | Literal["stt_metrics", "llm_metrics", "tts_metrics"]
)


@dataclass(frozen=True, slots=True)
class Turn:
    """Something the caller says, and when.

    Attributes:
        recording: WAV file of 16 kHz, 16 bits, mono.
        text: What is said in it.
        pause: Seconds of silence before it, from when the agent has finished.
        barge_in: Do not wait for the agent to finish, but begin when so many seconds of its reply
            were heard.
    """

    recording: Path
    text: str
    pause: float = 0.3
    barge_in: float | None = None


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Something that happened in a call.

    Attributes:
        at: Seconds since the call began.
        name: LiveKit's name of a session's event; ``turn_began`` and ``turn_ended`` when the
            caller begins and ends to speak; ``agent_said`` when the next piece of the agent's
            text is heard; ``<modality>_metrics`` for what a model reported.
        event: LiveKit's event or metrics; the `Turn` for the caller's own; the piece of text.
    """

    at: float
    name: CallEventName
    event: Any


@dataclass(slots=True)
class TurnResult:
    """What became of a turn.

    Attributes:
        turn: What the caller said.
        began_at: Seconds since the call began when the caller began to speak.
        ended_at: Seconds since the call began when the recording was over.
        transcript: What was heard, as it stands in the chat history.
        reply: What the agent answered, as far as it was heard; empty when it did not.
        interrupted: Whether the answer was cut short.
        speech_id: LiveKit's name for the answer.
        reply_after: Seconds from the end of the recording to the first audio of the answer.
    """

    turn: Turn
    began_at: float = 0.0
    ended_at: float = 0.0
    transcript: str = ""
    reply: str = ""
    interrupted: bool = False
    speech_id: str | None = None
    reply_after: float | None = None


@dataclass(frozen=True, slots=True)
class CallResult:
    """A call that is over.

    Attributes:
        room: Name of the LiveKit room.
        job_id: Id of the LiveKit job.
        started_at: Unix time in seconds when the session had started; events count from here.
        duration: Seconds until the session was closed.
        turns: One for each of the caller's turns.
        events: All that happened, in order.
        segments: What the loudspeaker was given to play, in order.
    """

    room: str
    job_id: str
    started_at: float
    duration: float
    turns: tuple[TurnResult, ...]
    events: tuple[CallEvent, ...]
    segments: tuple[Segment, ...]

    @property
    def transcripts(self) -> list[str]:
        """The final transcripts of the caller's speech, in order."""
        return [
            event.event.transcript
            for event in self.of("user_input_transcribed")
            if event.event.is_final
        ]

    @property
    def replies(self) -> list[str]:
        """The agent's messages as far as they were heard, in order."""
        items = [event.event.item for event in self.of("conversation_item_added")]
        messages = [item for item in items if item.type == "message"]
        return [item.text_content or "" for item in messages if item.role == "assistant"]

    @property
    def errors(self) -> list[Any]:
        """The errors that the session reported, recoverable ones too."""
        return [event.event.error for event in self.of("error")]

    def of(self, *names: CallEventName) -> list[CallEvent]:
        """The events of these names, in order."""
        return [event for event in self.events if event.name in names]


async def hold_call(
    *,
    stt: STT[Any],
    llm: LLM[Any],
    tts: TTS[Any],
    turns: Sequence[Turn],
    agent: Agent | None = None,
    greeting: str | None = None,
    room: str = "call",
    job_id: str = "job-call",
    job_metadata: str = "",
    pace: float = 1.0,
    patience: float = 10.0,
    on_event: Callable[[CallEvent], None] | None = None,
) -> CallResult:
    """Let a recorded caller talk to an agent.

    The session is LiveKit's own with its bundled voice activity detector, which decides on turns
    and interruptions too, so that nothing is fetched and nobody but the three models is called.

    Args:
        stt: Hears the caller. Closed when the call is over, as the other two are.
        llm: Answers.
        tts: Speaks.
        turns: What the caller says, in order.
        agent: The agent; one without tools when left out.
        greeting: What the agent says first, if anything.
        room: Name of the LiveKit room that the job is said to be for.
        job_id: Id that the job is said to have.
        job_metadata: Metadata that the job is said to have.
        pace: Seconds of the caller's and the agent's audio per second. LiveKit counts its own
            delays by the clock, so at another pace than 1 its timings mean little.
        patience: Seconds that the caller waits for an answer before saying the next thing.
        on_event: Told of each event when it happens; must not raise.

    Returns:
        What was said, what happened, and when.
    """
    models = _Models(stt, llm, tts)
    with fake_job_context(job_id=job_id, job_metadata=job_metadata) as job:
        job.job.room.name = room
        async with http_context.open():
            call = _Call(turns, pace=pace, patience=patience, on_event=on_event)
            try:
                await call.hold(models, agent or Agent(instructions=_INSTRUCTIONS), greeting)
            finally:
                await models.aclose()
                await _end(job)
    return CallResult(
        room=room,
        job_id=job_id,
        started_at=call.started_at,
        duration=call.duration,
        turns=tuple(call.results),
        events=tuple(call.events),
        segments=tuple(call.loudspeaker.segments),
    )


async def _end(job: JobContext) -> None:
    """End a job as its process does (``_shutdown_job`` in ``ipc/job_proc_lazy_main.py``)."""
    await asyncio.gather(*(callback("the call is over") for callback in job._shutdown_callbacks))
    await job._on_cleanup()


@dataclass(frozen=True, slots=True)
class _Models:
    stt: STT[Any]
    llm: LLM[Any]
    tts: TTS[Any]

    async def aclose(self) -> None:
        await self.stt.aclose()
        await self.llm.aclose()
        await self.tts.aclose()


_INSTRUCTIONS = "You are on the telephone. Answer in one or two short sentences."


class _Call:
    """One call while it runs."""

    def __init__(
        self,
        turns: Sequence[Turn],
        *,
        pace: float,
        patience: float,
        on_event: Callable[[CallEvent], None] | None,
    ) -> None:
        self.caller = RecordedCaller(pace=pace)
        self.loudspeaker = Loudspeaker(pace=pace)
        self.results = [TurnResult(turn) for turn in turns]
        self.events: list[CallEvent] = []
        self.started_at = 0.0
        self.duration = 0.0
        self._pace = pace
        self._patience = patience
        self._on_event = on_event
        self._changed = asyncio.Event()
        self._talking: asyncio.Task[None] | None = None
        self._turn: TurnResult | None = None
        self._speeches: list[SpeechHandle] = []  # the agent's, since the newest turn began
        self._caller_heard = False
        self._committed_at = 0.0

    async def hold(self, models: _Models, agent: Agent, greeting: str | None) -> None:
        """Start a session, let the caller say all turns, and close the session."""
        session: AgentSession[None] = AgentSession(
            stt=models.stt,
            llm=models.llm,
            tts=models.tts,
            # LiveKit's default detectors of turns and interruptions ask LiveKit's cloud
            turn_handling={"turn_detection": "vad", "interruption": {"mode": "vad"}},
            aec_warmup_duration=None,  # a recording has no echo; the caller may interrupt at once
            user_away_timeout=None,
        )
        speech = TranscriptSynchronizer(
            next_in_chain_audio=self.loudspeaker,
            next_in_chain_text=Subtitles(self._noting("agent_said")),
            speed=self._pace,
        )
        session.input.audio = self.caller
        session.output.audio = speech.audio_output
        session.output.transcription = speech.text_output
        self._listen(session, models)
        self.started_at = time.time()
        try:
            await session.start(agent, record=False)
            self._talking = asyncio.create_task(self._converse(session, greeting))
            # wait() rather than await: the task is cancelled where the session closes by itself
            await asyncio.wait({self._talking})
            if not self._talking.cancelled():
                self._talking.result()
        finally:
            self._hang_up()
            await session.aclose()
            await speech.aclose()
            self.duration = self._now()

    def _hang_up(self) -> None:
        if self._talking is not None:
            self._talking.cancel()

    async def _converse(self, session: AgentSession[None], greeting: str | None) -> None:
        if greeting is not None:
            await session.say(greeting)
        for result in self.results:
            turn = result.turn
            if turn.barge_in is None:
                await self._until_answered()
                await asyncio.sleep(turn.pause / self._pace)
            else:
                await self._patiently(self.loudspeaker.until_heard(turn.barge_in))
            self._turn, self._speeches, self._caller_heard = result, [], False
            result.began_at = self._now()
            self._note("turn_began", turn)
            await self.caller.say(turn.recording)
            result.ended_at = self._now()
            self._note("turn_ended", turn)
        await self._until_answered()

    async def _until_answered(self) -> None:
        """Wait until the newest turn was heard and answered, or nobody will."""
        if self._turn is not None:
            await self._patiently(self._until(lambda: self._caller_heard))
        await self._until(lambda: all(speech.done() for speech in self._speeches))

    async def _patiently(self, waiting: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiting, self._patience)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _now(self) -> float:
        return time.time() - self.started_at

    def _listen(self, session: AgentSession[None], models: _Models) -> None:
        names: tuple[_SessionEventName, ...] = get_args(_SessionEventName)
        for name in names:
            session.on(name, self._noting(name))
        models.stt.on("metrics_collected", self._noting("stt_metrics"))
        models.llm.on("metrics_collected", self._noting("llm_metrics"))
        models.tts.on("metrics_collected", self._noting("tts_metrics"))

    def _noting(self, name: CallEventName) -> Callable[[Any], None]:
        def note(event: Any) -> None:
            self._note(name, event)

        return note

    def _note(self, name: CallEventName, event: Any) -> None:
        noted = CallEvent(self._now(), name, event)
        self.events.append(noted)
        self._follow(noted)
        self._changed.set()
        if self._on_event is not None:
            self._on_event(noted)

    def _follow(self, noted: CallEvent) -> None:
        """Put what happened to the turn that it belongs to."""
        event, turn = noted.event, self._turn
        if isinstance(event, CloseEvent):
            self._hang_up()
        elif isinstance(event, SpeechCreatedEvent):
            self._speeches.append(event.speech_handle)
            event.speech_handle.add_done_callback(functools.partial(self._speech_done, turn))
        elif isinstance(event, UserInputTranscribedEvent):
            self._caller_heard = False  # there are words that no turn was made of yet
        elif turn is None:
            return
        elif isinstance(event, ConversationItemAddedEvent):
            item = event.item
            if item.type == "message" and item.role == "user":
                self._caller_heard = True
                turn.transcript = _joined(turn.transcript, item.text_content)
        elif isinstance(event, AgentStateChangedEvent):
            answering = event.new_state == "speaking" and turn.ended_at > 0
            if answering and turn.reply_after is None:
                turn.reply_after = noted.at - turn.ended_at

    def _speech_done(self, turn: TurnResult | None, speech: SpeechHandle) -> None:
        messages = [item for item in speech.chat_items if item.type == "message"]
        reply = _joined(*(item.text_content for item in messages if item.role == "assistant"))
        if turn is not None and reply:
            turn.reply = _joined(turn.reply, reply)
            turn.interrupted = speech.interrupted
            turn.speech_id = speech.id
        self._changed.set()


def _joined(*texts: str | None) -> str:
    return " ".join(text.strip() for text in texts if text)
