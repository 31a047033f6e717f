"""Estimates for what a provider did not report: tokens of an interrupted or silent completion.

No provider reports the usage of a stream that was closed early, and no tokenizer is at hand for
most models, so tokens are counted by rule and the rule is corrected by what the same model
reported for earlier requests. Estimates are made on the recorder's thread, never in a call.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .usage import Quantities

if TYPE_CHECKING:
    from livekit.agents.llm import ChatItem, Tool

__all__ = [
    "Calibration",
    "Prompt",
    "calibration_for",
    "estimate_speech_tokens",
    "estimate_text_tokens",
]

MESSAGE_OVERHEAD = 4
"""Tokens around each message: OpenAI's cookbook counts 3, and 1 for the role."""

REPLY_OVERHEAD = 3
"""Tokens that prime the reply, by the same source."""

IMAGE_TOKENS = 765
"""A 1024 x 1024 picture at high detail on gpt-4o, by OpenAI's vision guide."""

AUDIO_TOKENS_PER_SECOND = 10
"""Audio in a prompt: OpenAI's realtime guide counts one token per 100 ms."""

_PIECES = re.compile(
    r"(?P<word>[A-Za-z]+(?:'[a-z]+)?)"
    r"|(?P<digits>[0-9]{1,3})"
    r"|(?P<wide>[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
    r"|(?P<script>[^\W_a-zA-Z0-9]+)"
    r"|(?P<mark>[^\w\s]|_)"
)


def estimate_text_tokens(text: str) -> int:
    """Estimate how many tokens a GPT-like tokenizer makes of ``text``.

    A Latin word is one token up to nine letters and one more for each further seven; up to three
    digits, a punctuation mark and a CJK character are one each; other scripts take one token for
    about every two and a half letters.
    """
    tokens = 0.0
    for match in _PIECES.finditer(text):
        kind, length = match.lastgroup, match.end() - match.start()
        if kind == "word":
            tokens += 1 + max(0, math.ceil((length - 9) / 7))
        elif kind == "script":
            tokens += max(1.0, length / 2.5)
        else:
            tokens += 1
    return math.ceil(tokens)


class Calibration:
    """How far the rule is off for one model, learned from what the model reported.

    Attributes:
        prompt: Factor to apply to an estimated prompt.
        completion: Factor to apply to an estimated answer.
    """

    __slots__ = ("completion", "prompt")

    _WEIGHT = 0.3
    _BOUNDS = (0.4, 3.0)

    def __init__(self) -> None:
        self.prompt = 1.0
        self.completion = 1.0

    def learn(self, *, prompt: tuple[int, int], completion: tuple[int, int]) -> None:
        """Move the factors towards what was reported.

        Args:
            prompt: Estimated and reported prompt tokens.
            completion: Estimated and reported completion tokens; short answers say little and
                are left out.
        """
        if prompt[0] > 0 and prompt[1] > 0:
            self.prompt = self._moved(self.prompt, prompt[1] / prompt[0])
        if completion[0] >= 8 and completion[1] > 0:
            self.completion = self._moved(self.completion, completion[1] / completion[0])

    def _moved(self, factor: float, seen: float) -> float:
        low, high = self._BOUNDS
        return factor + self._WEIGHT * (min(max(seen, low), high) - factor)


_calibrations: dict[tuple[str, str], Calibration] = {}
_calibrations_lock = threading.Lock()


def calibration_for(provider: str, model: str) -> Calibration:
    """The calibration of one model in this process."""
    with _calibrations_lock:
        return _calibrations.setdefault((provider, model), Calibration())


class Prompt:
    """What a completion was asked: kept until somebody must estimate its tokens."""

    __slots__ = ("_estimate", "_tools", "calibration", "items")

    def __init__(
        self, items: Sequence[ChatItem], tools: Sequence[Tool], calibration: Calibration
    ) -> None:
        self.items = items
        self._tools = tools
        self._estimate: int | None = None
        self.calibration = calibration

    def estimate(self) -> int:
        """Tokens of messages and tools by rule, before calibration."""
        if self._estimate is None:
            self._estimate = (
                REPLY_OVERHEAD + sum(map(_item_tokens, self.items)) + _tool_tokens(self._tools)
            )
        return self._estimate


def _item_tokens(item: ChatItem) -> int:
    if item.type == "message":
        tokens = MESSAGE_OVERHEAD
        for content in item.content:
            if isinstance(content, str):
                tokens += estimate_text_tokens(content)
            elif content.type == "image_content":
                tokens += IMAGE_TOKENS
            elif content.type == "audio_content":
                seconds = sum(frame.duration for frame in content.frame)
                tokens += math.ceil(seconds * AUDIO_TOKENS_PER_SECOND)
        return tokens
    if item.type == "function_call":
        return MESSAGE_OVERHEAD + estimate_text_tokens(item.name + " " + item.arguments)
    if item.type == "function_call_output":
        return MESSAGE_OVERHEAD + estimate_text_tokens(item.output)
    return 0


def _tool_tokens(tools: Sequence[Tool]) -> int:
    if not tools:
        return 0
    from livekit.agents import llm

    schemas = llm.ToolContext(list(tools)).parse_function_tools("openai", strict=True)
    return estimate_text_tokens(json.dumps(schemas))


TRANSCRIBED_TOKENS_PER_SECOND = 1000 / 60
"""Audio tokens per second of speech heard by gpt-4o-transcribe: OpenAI's published estimate of
$0.006 per minute, at $6 per million audio tokens."""

SPOKEN_TOKENS_PER_SECOND = 1250 / 60
"""Audio tokens per second of speech made by gpt-4o-mini-tts: OpenAI's published estimate of
$0.015 per minute, at $12 per million audio tokens."""

CHARACTERS_PER_TOKEN = 4
"""Characters of English text per token, by OpenAI's help pages."""


def estimate_speech_tokens(modality: str, quantities: Quantities) -> Quantities:
    """Fill in the tokens of a speech model that is priced by tokens and reported none.

    Args:
        modality: ``stt`` or ``tts``.
        quantities: What was measured: seconds of audio, and characters of a synthesis.
    """
    if modality == "stt":
        return replace(
            quantities,
            input_tokens=round(quantities.audio_seconds * TRANSCRIBED_TOKENS_PER_SECOND),
        )
    return replace(
        quantities,
        input_tokens=math.ceil(quantities.characters / CHARACTERS_PER_TOKEN),
        output_tokens=round(quantities.audio_seconds * SPOKEN_TOKENS_PER_SECOND),
    )
