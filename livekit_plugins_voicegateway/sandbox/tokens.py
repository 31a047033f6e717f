"""The sandbox's own tokenizer: like a GPT's in shape and number, and independent of the gateway's.

Text is first cut as GPT-4's published pattern does it: words with the blank before them, digits by
threes, runs of punctuation, blanks. Then a word of more than eight letters is cut into even pieces
of four or five letters, and letters beyond ASCII into pairs. A prompt has four tokens of overhead
per message and three for the reply to come, as OpenAI's cookbook counts them ("How to count
tokens with tiktoken"). English prose comes out at four to five characters a token; OpenAI's rule of
thumb is four.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["PromptCache", "TOOL_CALL_OVERHEAD", "prompt_tokens", "text_tokens"]

TOOL_CALL_OVERHEAD = 4
"""Tokens of one tool call besides its name and arguments."""

IMAGE_TOKENS = 85
"""Tokens of one image at low detail, as OpenAI bills it."""

_PRETOKENS = re.compile(
    r"'(?:[sdmt]|ll|ve|re)(?![^\W\d_])"  # English contractions
    r"|[^\S\r\n]?[^\W\d_]+"  # a word, with the blank before it
    r"|\d{1,3}"
    r"| ?(?:[^\s\w]|_)+"  # punctuation
    r"|\s+(?!\S)|\s"
    r"|.",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST_WORD = 8
_PIECE = 5
_LONGEST_PUNCTUATION = 4


def text_tokens(text: str) -> list[str]:
    """Cut ``text`` into tokens; put together they are the text again."""
    return [piece for match in _PRETOKENS.finditer(text) for piece in _pieces(match.group())]


def prompt_tokens(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the tokens of a whole prompt: tools first, then messages, then the reply's opening.

    Args:
        messages: ``messages`` of a chat completion request.
        tools: ``tools`` of it; their JSON is counted.
    """
    tokens: list[str] = []
    for tool in tools:
        tokens += text_tokens(json.dumps(tool, separators=(",", ":")))
    for message in messages:
        tokens += ["<message>", str(message.get("role", "")), "<content>"]
        tokens += _content_tokens(message.get("content"))
        if name := message.get("name"):
            tokens += ["<name>", *text_tokens(str(name))]
        for call in message.get("tool_calls") or ():
            function = call.get("function", {})
            tokens += ["<call>"] * TOOL_CALL_OVERHEAD
            tokens += text_tokens(str(function.get("name", "")))
            tokens += text_tokens(str(function.get("arguments", "")))
        tokens.append("</message>")
    return [*tokens, "<message>", "assistant", "<content>"]


class PromptCache:
    """Remembers the beginnings of prompts, as OpenAI's prompt caching does.

    A prompt of 1024 tokens or more that begins as an earlier one did has that beginning cached,
    in steps of 128 tokens (OpenAI, "Prompt caching").
    """

    SMALLEST = 1024
    STEP = 128

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def look_up(self, owner: str, tokens: Sequence[str]) -> int:
        """Return how many tokens of this prompt are cached, and remember the prompt.

        Args:
            owner: Whose cache: the key and the model.
            tokens: The prompt.
        """
        cached = 0
        for length in range(self.SMALLEST, len(tokens) + 1, self.STEP):
            beginning = hash((owner, *tokens[:length]))
            if beginning in self._seen:
                cached = length
            self._seen.add(beginning)
        return cached


def _content_tokens(content: Any) -> list[str]:
    if content is None:
        return []
    if isinstance(content, str):
        return text_tokens(content)
    tokens: list[str] = []
    for part in content:
        if part.get("type") == "text":
            tokens += text_tokens(part["text"])
        else:
            tokens += ["<image>"] * IMAGE_TOKENS
    return tokens


def _pieces(pretoken: str) -> Iterator[str]:
    letters = pretoken.lstrip() if pretoken.strip() else pretoken
    if letters.isalpha():
        longest = _LONGEST_WORD if letters.isascii() else 2
        piece = _PIECE if letters.isascii() else 2
    else:
        longest = piece = _LONGEST_PUNCTUATION
    if len(letters) <= longest:
        yield pretoken
        return
    blank = pretoken[: len(pretoken) - len(letters)]
    count = math.ceil(len(letters) / piece)
    cuts = [round(number * len(letters) / count) for number in range(count + 1)]
    for number, (begin, end) in enumerate(itertools.pairwise(cuts)):
        yield (blank if number == 0 else "") + letters[begin:end]
