"""What the sandboxed chat models answer: replies, and the three ways to script them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["ChatRequest", "Reply", "Script", "ToolCall", "content_text"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the agent's tools.

    Attributes:
        name: Name of the tool.
        arguments: Its arguments; a string is sent as it stands, also when it is no JSON.
    """

    name: str
    arguments: Mapping[str, object] | str = "{}"

    @property
    def json(self) -> str:
        """The arguments as they go over the wire."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says, and which tools it calls; several calls are parallel ones."""

    text: str = ""
    tool_calls: Sequence[ToolCall] = ()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a script may look at to choose a reply.

    Attributes:
        model: The model that was asked for.
        messages: ``messages`` as received.
        tools: Names of the tools offered.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: tuple[str, ...]

    @property
    def last_text(self) -> str:
        """Text of the last message: what the user said, or what a tool returned."""
        return content_text(self.messages[-1].get("content")) if self.messages else ""


Script: TypeAlias = (
    Sequence[Reply | str] | Mapping[str, Reply | str] | Callable[[ChatRequest], Reply | str]
)
"""How replies are chosen.

- A sequence: one after the other, from the start again after the last. Every accepted request takes
  one, a retry or a discarded preemptive generation too.
- A mapping: the first whose key occurs in the last message, upper or lower case alike. The key
  ``""`` occurs in every text. Fit for whole conversations: a tool's result is a message as well.
- A function of the request.
"""


class Replies:
    """A script and how far it was read."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._given = 0

    def choose(self, request: ChatRequest) -> Reply:
        """Return the reply to this request; one that says so when the script has none."""
        reply = self._find(request)
        return Reply(reply) if isinstance(reply, str) else reply

    def _find(self, request: ChatRequest) -> Reply | str:
        if callable(self.script):
            return self.script(request)
        if isinstance(self.script, Mapping):
            said = request.last_text.lower()
            for key, reply in self.script.items():
                if key.lower() in said:
                    return reply
        elif self.script:
            reply = self.script[self._given % len(self.script)]
            self._given += 1
            return reply
        return "The sandbox has no reply for this."


def content_text(content: Any) -> str:
    """Return the text of a message's content, be it a string or a list of parts."""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content or () if part.get("type") == "text")
