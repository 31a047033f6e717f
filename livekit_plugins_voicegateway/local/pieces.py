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

_PHRASE_START: Final = re.compile(
    r"\s+(?=(?:about|after|although|and|because|before|between|but|by|during|for|from|if|or|since"
    r"|though|unless|until|when|where|which|while|who|with|within|without)\s)",
    re.IGNORECASE,
)
"""Where an English sentence without commas is cut: people draw breath before these words too."""

_SHORTEST: Final = 8
"""Characters of a clause; anything shorter is spoken with what follows it."""

_SHORTEST_PHRASE: Final = 20
"""Characters on either side of a cut between phrases."""

_LONGEST: Final = 200
"""Characters in one inference: memory grows with them (0.6 GB at this length)."""

_MARGIN: Final = 1.1
"""Work is expected to take this much longer than it took before."""

_ONSET: Final = 0.35
"""Seconds that the shortest text takes to say; beyond them it is so much for each character."""

_SILENCE: Final = 0.55
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

    per_character: float = 0.045
    work_per_second: float = 0.5

    def speech(self, text: str) -> float:
        """Seconds that ``text`` takes to say."""
        return _ONSET + self.per_character * len(text.strip())

    def work(self, text: str) -> float:
        """Seconds that ``text`` takes to synthesise."""
        return self.work_per_second * (self.speech(text) + _SILENCE)

    def learn(self, text: str, speech: float, work: float) -> None:
        """Take in what one piece took, in seconds."""
        if characters := len(text.strip()):
            measured = max(0.0, speech - _ONSET) / characters
            self.per_character += _LEARNING * (measured - self.per_character)
        self.work_per_second += _LEARNING * (work / (speech + _SILENCE) - self.work_per_second)


class Pieces:
    """The text of one answer, which comes in at one end and leaves in pieces at the other.

    Args:
        english: Cut long clauses between phrases too, at words of the English language.
    """

    def __init__(self, *, english: bool = False) -> None:
        self._english = english
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
        parts = self._parts()
        if not parts:
            return None
        count = _soonest(parts, pace) if in_hand is None else _fitting(parts, pace, in_hand)
        piece = "".join(parts[:count])
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
        parts = self._parts()
        while parts:
            count = _fitting(parts, pace, playing + wait - ready)
            piece = "".join(parts[:count])
            ready += _MARGIN * pace.work(piece)
            wait = max(wait, ready - playing - pause)
            playing += pause + pace.speech(piece)
            pause = pause_after(piece)
            parts = parts[count:]
        return wait

    def _parts(self) -> list[str]:
        """Clauses and phrases of the first sentence, as far as they are complete."""
        if not self._text.strip():
            return [self._text] if self._ended and self._text else []
        sentences = self._sentences.tokenize(self._text)
        complete = self._ended or len(sentences) > 1
        clauses = _cut(sentences[0], _CLAUSE_END)
        unfinished = "" if complete else clauses.pop()
        parts = _joined(clauses, _SHORTEST)
        if self._english:
            parts = [phrase for part in parts for phrase in _phrases(part)]
        if complete:
            return parts
        # What is too short to be spoken alone waits for what follows it.
        if parts and len(parts[-1].strip()) < _SHORTEST:
            unfinished = parts.pop() + unfinished
        if self._english:
            phrases = _joined(_cut(unfinished, _PHRASE_START)[:-1], _SHORTEST_PHRASE)
            if phrases and len(phrases[-1].strip()) < _SHORTEST_PHRASE:
                phrases.pop()
            parts += phrases
        return parts


def pause_after(text: str) -> float:
    """Seconds of silence that belong after a piece; Kokoro's own are cut off with the rest."""
    last = text.rstrip()[-1:]
    if last.isalnum():
        return 0.0
    return _SENTENCE_PAUSE if last and last in _SENTENCE_END else _CLAUSE_PAUSE


def _soonest(parts: list[str], pace: Pace) -> int:
    """How many parts go first, so that the caller hears something soonest."""
    best = (float("inf"), 1)
    for count in range(1, len(parts) + 1):
        first = "".join(parts[:count])
        heard = pace.work(first)
        if rest := "".join(parts[count : count + 1]):
            heard += max(0.0, _MARGIN * pace.work(rest) - pace.speech(first))
        best = min(best, (heard, count))
    return best[1]


def _fitting(parts: list[str], pace: Pace, in_hand: float) -> int:
    """How many parts can be synthesised within ``in_hand`` seconds; at least one."""
    count = 1
    while count < len(parts):
        piece = "".join(parts[: count + 1])
        if len(piece) > _LONGEST or _MARGIN * pace.work(piece) > in_hand:
            break
        count += 1
    return count


def _cut(text: str, boundary: re.Pattern[str]) -> list[str]:
    """Cut after each boundary; at least one part, which may be all."""
    parts = []
    start = 0
    for found in boundary.finditer(text):
        parts.append(text[start : found.end()])
        start = found.end()
    return [*parts, text[start:]]


def _phrases(clause: str) -> list[str]:
    return _joined(_cut(clause, _PHRASE_START), _SHORTEST_PHRASE)


def _joined(parts: list[str], shortest: int) -> list[str]:
    """Put parts that are too short to be spoken alone to their neighbours."""
    joined: list[str] = []
    for part in parts:
        if joined and min(len(joined[-1].strip()), len(part.strip())) < shortest:
            joined[-1] += part
        elif part:
            joined.append(part)
    return joined
