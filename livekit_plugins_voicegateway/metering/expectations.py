"""What a completion is expected to use, learned from what the same model answered before.

A request holds its expected cost of the budget before it is made. Numbers are learned on the
recorder's thread and read on the event loop, where an expectation costs a few microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .estimates import CHARACTERS_PER_TOKEN, MESSAGE_OVERHEAD

if TYPE_CHECKING:
    from livekit.agents.llm import ChatItem

__all__ = ["Expectations"]

FIRST_ANSWER = 150
"""Tokens expected of a model that has not answered yet: a spoken answer of a minute."""

_WEIGHT = 0.2


class Expectations:
    """Expected tokens of completions, for each project and model."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], float] = {}
        self._overheads: dict[tuple[str, str, str], float] = {}

    def answer_tokens(self, project: str, provider: str, model: str) -> int:
        """Tokens that the next answer will probably have."""
        return round(self._answers.get((project, provider, model), FIRST_ANSWER))

    def prompt_tokens(
        self, project: str, provider: str, model: str, items: Sequence[ChatItem]
    ) -> int:
        """Tokens of a prompt, by its characters and by what tools and the like added before."""
        overhead = self._overheads.get((project, provider, model), 0.0)
        return max(1, round(rough_tokens(items) + overhead))

    def learn(
        self,
        project: str,
        provider: str,
        model: str,
        *,
        items: Sequence[ChatItem],
        prompt_tokens: int,
        answer_tokens: int,
    ) -> None:
        """Take a finished completion into account."""
        key = (project, provider, model)
        answer = self._answers.get(key, float(answer_tokens))
        self._answers[key] = answer + _WEIGHT * (answer_tokens - answer)
        extra = prompt_tokens - rough_tokens(items)
        overhead = self._overheads.get(key, float(extra))
        self._overheads[key] = overhead + _WEIGHT * (extra - overhead)


def rough_tokens(items: Sequence[ChatItem]) -> int:
    """Count a prompt's tokens by its characters only: fast enough for a call's event loop."""
    characters = 0
    for item in items:
        if item.type == "message":
            for content in item.content:
                if isinstance(content, str):
                    characters += len(content)
        elif item.type == "function_call":
            characters += len(item.arguments)
        elif item.type == "function_call_output":
            characters += len(item.output)
    return characters // CHARACTERS_PER_TOKEN + MESSAGE_OVERHEAD * len(items)
