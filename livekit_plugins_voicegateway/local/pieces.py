"""Cutting an answer into the pieces that Kokoro speaks one after the other.

A whole sentence sounds best, and a short piece sounds soonest. So the first clause goes ahead
alone, and after it as much as can be synthesised while the caller still hears what went before.
How fast this machine is, and how long a text takes to say, is learned from what it spoke already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from livekit.agents.tokenize import blingfire

__all__ = ["Pace", "Pieces", "pause_after"]

_CLAUSE_END: Final = re.compile(r"(?<=[,;:)])\s+|\s+(?=[—–-]\s)|(?<=[，、；：])")
_SHORTEST: Final = 8
"""Characters; anything shorter is spoken with what follows it."""

_LONGEST: Final = 200
"""Characters in one inference: memory grows with them (0.6 GB at this length)."""

_MARGIN: Final = 1.2
"""Work is expected to take this much longer than it took before."""

_PADDING: Final = 0.6
"""Seconds of silence that Kokoro computes around every piece, and that are cut off."""

_LEARNING: Final = 0.3

_SENTENCE_END: Final = ".!?…。！？"
_SENTENCE_PAUSE: Final = 0.25
_CLAUSE_PAUSE: Final = 0.1


@dataclass(slots=True)
class Pace:
    """How long texts take to say and to synthesise, on this machine at present.

    Attributes:
        per_character: Seconds of speech for one character.
        work_per_second: Seconds of work for one second of computed audio. The values at the start
            are for two cores.
    """

    per_character: float = 0.06
    work_per_second: float = 0.55

    def speech(self, text: str) -> float:
        """Seconds that ``text`` takes to say."""
        return self.per_character * len(text.strip())

    def work(self, text: str) -> float:
        """Seconds that ``text`` takes to synthesise."""
        return self.work_per_second * (self.speech(text) + _PADDING)

    def learn(self, text: str, speech: float, work: float) -> None:
        """Take in what one piece took, in seconds."""
        if characters := len(text.strip()):
            self.per_character += _LEARNING * (speech / characters - self.per_character)
        self.work_per_second += _LEARNING * (work / (speech + _PADDING) - self.work_per_second)


class Pieces:
    """The text of one answer, which comes in at one end and leaves in pieces at the other."""

    def __init__(self) -> None:
        self._text = ""
        self._ended = False
        self._pause = 0.0
        self._sentences = blingfire.SentenceTokenizer(
            min_sentence_len=_SHORTEST, retain_format=True
        )

    @property
    def exhausted(self) -> bool:
        """Whether no text is left and none will come."""
        return self._ended and not self._text

    def push(self, text: str) -> None:
        """Append text as it comes from the LLM."""
        self._text += text

    def end(self) -> None:
        """No more text will come."""
        self._ended = True

    def take(self, pace: Pace, in_hand: float | None) -> str | None:
        """Take the next piece.

        Args:
            pace: How fast this machine is.
            in_hand: Seconds of speech that the caller has still to hear; None: nothing was spoken
                yet.

        Returns:
            The piece, with its white space, so that all pieces together are the text; None: wait
            for more text.
        """
        clauses = self._clauses()
        if not clauses:
            return None
        count = self._first(clauses, pace) if in_hand is None else _fitting(clauses, pace, in_hand)
        piece = "".join(clauses[:count])
        self._text = self._text[len(piece) :]
        self._pause = pause_after(piece)
        return piece

    def hold(self, pace: Pace, in_hand: float) -> float:
        """Seconds to wait before speech that is in hand is let out.

        So long that the caller hears no more of a pause between it and the rest of the sentence
        than belongs there.
        """
        wait = 0.0
        ready = 0.0
        playing = in_hand
        pause = self._pause
        clauses = self._clauses()
        while clauses:
            count = _fitting(clauses, pace, playing + wait - ready)
            piece = "".join(clauses[:count])
            ready += _MARGIN * pace.work(piece)
            wait = max(wait, ready - playing - pause)
            playing += pause + pace.speech(piece)
            pause = pause_after(piece)
            clauses = clauses[count:]
        return wait

    def _first(self, clauses: list[str], pace: Pace) -> int:
        """How many clauses go first, so that the caller hears something soonest."""
        best = (float("inf"), 1)
        for count in range(1, len(clauses) + 1):
            first = "".join(clauses[:count])
            soonest = pace.work(first)
            if rest := "".join(clauses[count : count + 1]):
                soonest += max(0.0, _MARGIN * pace.work(rest) - pace.speech(first))
            best = min(best, (soonest, count))
        return best[1]

    def _clauses(self) -> list[str]:
        """The clauses of the first sentence that are complete."""
        if not self._text.strip():
            if self._ended and self._text:
                return [self._text]
            return []
        sentences = self._sentences.tokenize(self._text)
        sentence = sentences[0]
        complete = self._ended or len(sentences) > 1
        if complete:
            return _joined(_split(sentence))
        clauses = _joined(_split(sentence)[:-1])
        if clauses and len(clauses[-1].strip()) < _SHORTEST:
            clauses.pop()
        return clauses


def pause_after(text: str) -> float:
    """Seconds of silence that belong after a piece; Kokoro's own are cut off with the rest."""
    return _SENTENCE_PAUSE if text.rstrip()[-1:] in _SENTENCE_END else _CLAUSE_PAUSE


def _fitting(clauses: list[str], pace: Pace, in_hand: float) -> int:
    """How many clauses can be synthesised within ``in_hand`` seconds; at least one."""
    count = 1
    while count < len(clauses):
        piece = "".join(clauses[: count + 1])
        if len(piece) > _LONGEST or _MARGIN * pace.work(piece) > in_hand:
            break
        count += 1
    return count


def _split(sentence: str) -> list[str]:
    parts = []
    start = 0
    for boundary in _CLAUSE_END.finditer(sentence):
        parts.append(sentence[start : boundary.end()])
        start = boundary.end()
    parts.append(sentence[start:])
    return [part for part in parts if part]


def _joined(parts: list[str]) -> list[str]:
    """Put parts that are too short to be spoken alone to their neighbours."""
    joined: list[str] = []
    for part in parts:
        if joined and min(len(joined[-1].strip()), len(part.strip())) < _SHORTEST:
            joined[-1] += part
        else:
            joined.append(part)
    return joined
