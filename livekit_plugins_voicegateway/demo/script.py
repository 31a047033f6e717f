"""What is said in the demo: who pays for which conversation, what callers say, what models answer.

The callers read from Jane Austen's "Sense and Sensibility", chapter 1, in recordings of LibriVox;
the agent is a reading companion. Its answers are the sandbox's, so they are written here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from . import local_models
from .call import Turn

__all__ = [
    "CONVERSATIONS",
    "DEVELOPMENT",
    "INSTRUCTIONS",
    "PROJECTS",
    "REPLIES",
    "SPEECH",
    "Conversation",
    "conversations",
    "recordings",
]

SPEECH = Path(__file__).parent / "speech"
"""The recordings, and what is said in each."""

INSTRUCTIONS = (
    "You are a reading companion on the telephone. The caller reads to you from Jane Austen's "
    "'Sense and Sensibility'. Say something about it, in a sentence or two."
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One call of the demo.

    Attributes:
        project: Id of the project that pays for it.
        stt: Model string.
        llm: Model string.
        tts: Model string.
        greeting: What the agent says first.
        turns: What the caller says.
        spent_in: Turn, from 1, in which the project's budget is spent; None for none.
    """

    project: str
    stt: str
    llm: str
    tts: str
    greeting: str
    turns: tuple[Turn, ...]
    spent_in: int | None = None

    @property
    def is_local(self) -> bool:
        """Whether all its models run on this machine."""
        return self.stt == local_models.STT

    @property
    def room(self) -> str:
        """Name of the room it is held in."""
        return f"demo-{self.project}"

    @property
    def job_id(self) -> str:
        """Id of the job that holds it."""
        return f"job-demo-{self.project}"

    @property
    def models(self) -> tuple[str, str, str]:
        """The three model strings."""
        return self.stt, self.llm, self.tts


def recordings() -> dict[Path, str]:
    """Return every recording with what is said in it."""
    texts: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text(encoding="utf-8"))
    return {SPEECH / name: text for name, text in texts.items()}


def _turn(name: str, *, barge_in: float | None = None) -> Turn:
    recording = SPEECH / name
    return Turn(recording, recordings()[recording], barge_in=barge_in)


PROJECTS: dict[str, dict[str, object]] = {
    "production": {
        "name": "Production",
        "description": "The number that customers call",
        "daily_budget": 5.00,
        "budget_action": "throttle",
        "tags": ["production"],
    },
    "staging": {
        "name": "Staging",
        "description": "Where other models are tried",
        "daily_budget": 1.00,
        "budget_action": "warn",
        "tags": ["staging"],
    },
    "development": {
        "name": "Development",
        "description": "Local models only",
        "daily_budget": 0,
        "budget_action": "block",
        "tags": ["development"],
    },
}
"""The projects as they stand in the demo's voicegw.yaml, without their keys."""

CONVERSATIONS = (
    Conversation(
        project="production",
        stt="deepgram/nova-3",
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
        greeting="Good evening! Where were we?",
        turns=(
            _turn("austen-0880.wav"),
            _turn("austen-0890.wav"),
            _turn("go-forward.wav", barge_in=1.5),
        ),
    ),
    Conversation(
        project="staging",
        stt="deepgram/nova-2",
        llm="openai/gpt-4o-mini",
        tts="cartesia/sonic-2",
        greeting="Chapter one, please.",
        turns=(_turn("austen-0870.wav"), _turn("austen-0930.wav")),
    ),
)
"""Held side by side. In the first, the caller interrupts a long answer."""

PRODUCTION_SPENT = replace(
    CONVERSATIONS[0],
    turns=(*CONVERSATIONS[0].turns, _turn("austen-0920.wav")),
    spent_in=4,
)
"""Production's conversation where there are local models: its budget is spent while the caller
speaks for the last time."""

DEVELOPMENT = Conversation(
    project="development",
    stt=local_models.STT,
    llm=local_models.LLM,
    tts=local_models.TTS,
    greeting="Hello.",
    turns=(_turn("go-forward.wav"),),
)
"""Held where there are local models, and short: it is over before production needs them, for two
calls at once with local models are too much for two cores."""


def conversations(local: bool) -> tuple[Conversation, ...]:
    """Return the conversations that are held side by side.

    Args:
        local: Whether there are local models.
    """
    if not local:
        return CONVERSATIONS
    return PRODUCTION_SPENT, *CONVERSATIONS[1:], DEVELOPMENT


REPLIES = {
    "ill-disposed young man": (
        "That is praise of a very careful kind. I suspect there is more to the sentence."
    ),
    "cold-hearted": (
        "There it is, and how politely she does it! She lends him a good character for one "
        "sentence. In the next she takes it back, with the single word unless. You will meet this "
        "trick again in the book. First comes the verdict of the neighbours. They judge a man by "
        "his dinners and his carriage. Then there is a pause, and the author judges him. She looks "
        "at what he does for his sisters. You will hear it in the second chapter. His wife talks "
        "his conscience down, step by step. It begins with three thousand pounds. It ends with a "
        "present of fish and game. And he thanks her for it, which is the best of it. But before "
        "we come to that, I must explain the law. The estate was left from uncle to nephew."
    ),
    "ten meters": "I have no wheels, but I can go forward ten lines.",
    "prudently": "Keep an eye on that word, prudently. It will cost his sisters dearly.",
    "more amiable woman": "He chose a wife who was more himself than he was.",
    "amiable himself": "Might have been! So it is all his wife's doing, if we believe her.",
}
"""What the models answer, by what the caller says: see `sandbox.Script`."""
