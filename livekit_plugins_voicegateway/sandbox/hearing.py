"""How the sandbox "hears": audio goes in, transcripts come out, without a speech recogniser.

Speech is told from silence by its loudness. Its words are those of a known clip where the audio is
found in one (`clips`), else the next text of a list that the test wrote. Everything goes by the
time of the audio, not by the clock, so that the same audio gives the same events at any speed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from ..log import logger
from .clips import (
    STEPS_PER_SECOND,
    WINDOW,
    Bands,
    Clip,
    Match,
    Samples,
    Steps,
    Word,
    find,
    pcm_to_samples,
    spread,
)

__all__ = ["Event", "Listener", "Result", "SpeechStarted", "UtteranceEnded"]

_CHARACTERS_PER_STEP = 15 / STEPS_PER_SECOND
_ONSET = 3  # steps of speech in a row that begin an utterance
_LEAD = 10  # steps before the onset that belong to it
_SEARCH = 10  # steps between two searches
_ENOUGH_SPEECH = 10  # steps of speech that make it more than a click
_REACH = 100  # steps before a place was found that are taken to belong to it
_FOUND = 0.88
_STILL_THERE = 0.75


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began ``at`` this second of the stream."""

    at: float


@dataclass(frozen=True, slots=True)
class Result:
    """Words that were heard, with their times in seconds of the stream.

    Attributes:
        words: Since the last final result.
        start: Where the audio begins that this is the transcript of.
        end: Where it ends.
        final: Whether these words will not be sent again.
        endpoint: Whether the speaker has paused.
    """

    words: tuple[Word, ...]
    start: float
    end: float
    final: bool = False
    endpoint: bool = False


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """No word for the time that was asked for, after one that ended at this second."""

    last_word_end: float


Event: TypeAlias = SpeechStarted | Result | UtteranceEnded


class Listener:
    """Hears one stream.

    Args:
        sample_rate: In Hz.
        channels: Interleaved channels; their mean is heard.
        clips: Recordings that are recognised.
        texts: What to hear in speech that is in no clip; each utterance takes one from the left,
            and gives it back when it is not heard to its end.
        pause: Seconds of silence that end an utterance; None lets only `finish` end it.
        utterance_end: Seconds without a word after which `UtteranceEnded` comes; None for never.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        *,
        clips: Sequence[Clip],
        texts: deque[str],
        pause: float | None,
        utterance_end: float | None = None,
    ) -> None:
        self._channels = channels
        self._steps = Steps(sample_rate)
        self._clips = clips
        self._texts = texts
        self._pause = None if pause is None else round(pause * STEPS_PER_SECOND)
        self._utterance_end = utterance_end
        self._last_word_end: float | None = None
        self._rest = b""  # half a sample, if the last audio ended in one
        self._now = 0  # steps heard
        self._finished = 0  # the step before which all is final
        self._in_a_row = 0  # steps of speech up to now
        self._utterance: _Utterance | None = None
        self._recent_speech: deque[bool] = deque(maxlen=WINDOW)
        self._recent: deque[Samples] = deque(maxlen=WINDOW)

    def hear(self, pcm: bytes) -> list[Event]:
        """Take the next audio, 16-bit samples, and return what was understood by it."""
        events: list[Event] = []
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % (2 * self._channels)
        pcm, self._rest = pcm[:whole], pcm[whole:]
        speech, steps = self._steps.cut(pcm_to_samples(pcm, self._channels))
        for is_speech, step in zip(speech.tolist(), steps, strict=True):
            self._recent_speech.append(is_speech)
            self._recent.append(step)
            self._now += 1
            self._in_a_row = self._in_a_row + 1 if is_speech else 0
            self._step(is_speech, events)
        return events

    def finish(self) -> list[Event]:
        """Make final what was heard up to now, as if the speaker had paused."""
        if self._utterance is None:
            return []
        events: list[Event] = []
        self._end_utterance(events, endpoint=False)
        return events

    def give_back(self) -> None:
        """Give back the text of an utterance that was not heard to its end."""
        if self._utterance is not None and self._utterance.text is not None:
            self._texts.appendleft(self._utterance.text)
        self._utterance = None

    def _step(self, is_speech: bool, events: list[Event]) -> None:
        utterance = self._utterance
        if utterance is None:
            if self._in_a_row >= _ONSET:
                self._begin_utterance(events)
            else:
                self._watch_for_end(events)
            return
        if is_speech:
            utterance.speech.append(self._now - 1)
        if (self._now - utterance.begin) % _SEARCH == 0:
            self._listen_on(utterance, events)
        silent = self._now - 1 - utterance.speech[-1]
        if self._pause is not None and silent >= self._pause:
            self._end_utterance(events, endpoint=True)

    def _begin_utterance(self, events: list[Event]) -> None:
        onset = self._now - _ONSET
        self._utterance = _Utterance(
            begin=max(self._finished, onset - _LEAD), speech=list(range(onset, self._now))
        )
        if not self._clips:
            self._utterance.text = self._next_text()
        self._last_word_end = None
        events.append(SpeechStarted(onset / STEPS_PER_SECOND))

    def _listen_on(self, utterance: _Utterance, events: list[Event]) -> None:
        if self._clips:
            window = self._window() if self._now >= WINDOW else None
            heard = utterance.follow(self._clips, self._now, window)
        else:
            heard = utterance.guess_progress()
        if heard:
            events.append(self._result(utterance))

    def _end_utterance(self, events: list[Event], *, endpoint: bool) -> None:
        utterance = self._utterance
        assert utterance is not None
        was_speech = len(utterance.speech) >= _ENOUGH_SPEECH
        if self._clips:
            utterance.follow(self._clips, self._now, self._window(), ending=not endpoint)
            if not utterance.words and was_speech:
                utterance.text = self._next_text()
        if utterance.text is not None and was_speech:
            utterance.words = _in_seconds(spread(utterance.text, utterance.speech))
            utterance.text = None
        self.give_back()
        self._finished = self._now
        self._in_a_row = 0
        if utterance.words:
            self._last_word_end = utterance.words[-1].end
        events.append(self._result(utterance, final=True, endpoint=endpoint))

    def _watch_for_end(self, events: list[Event]) -> None:
        if self._utterance_end is None or self._last_word_end is None:
            return
        if self._now / STEPS_PER_SECOND - self._last_word_end >= self._utterance_end:
            events.append(UtteranceEnded(self._last_word_end))
            self._last_word_end = None

    def _window(self) -> Bands | None:
        """Return the last 400 ms, or None when there is too little speech in them."""
        if sum(self._recent_speech) < _ENOUGH_SPEECH:
            return None
        return self._steps.bands(np.stack(self._recent))

    def _next_text(self) -> str | None:
        if self._texts:
            return self._texts.popleft()
        logger.warning(
            "the sandbox heard speech and has no words for it: set `sandbox.deepgram.transcripts`,"
            " or add the recording with `sandbox.deepgram.add_clip`"
        )
        return None

    def _result(
        self, utterance: _Utterance, *, final: bool = False, endpoint: bool = False
    ) -> Result:
        return Result(
            words=tuple(utterance.words),
            start=utterance.begin / STEPS_PER_SECOND,
            end=self._now / STEPS_PER_SECOND,
            final=final,
            endpoint=endpoint,
        )


@dataclass(slots=True)
class _Utterance:
    """Speech that has begun and not ended.

    Attributes:
        begin: First step of the stream that belongs to it.
        speech: The steps that are speech.
        text: What to hear when it is in no clip.
        words: What was heard so far.
        place: Where in a clip the newest step is, while that is known.
        candidate: Where the last search found it, if not surely: the clip, and its first step in
            the stream.
        followed: Up to which step of the stream the clips were searched.
    """

    begin: int
    speech: list[int]
    text: str | None = None
    words: list[Word] = field(default_factory=list)
    place: Match | None = None
    candidate: tuple[Clip, int] | None = None
    followed: int = field(init=False)

    def __post_init__(self) -> None:
        self.followed = self.begin

    def follow(
        self, clips: Sequence[Clip], now: int, window: Bands | None, *, ending: bool = False
    ) -> bool:
        """Go on to step ``now`` in the clip, or look for another place; say if words were heard."""
        fresh = now - self.followed
        if self.place is not None:
            self.place = self.place._replace(end=self.place.end + fresh)
            if window is not None and not self._still_there(window):
                # Half of the window is other audio by now; that half is still to be found.
                self.place = None
                self.followed -= WINDOW // 2
        if self.place is None and window is not None:
            self.place = self._look_for_place(clips, window, now, sure=ending)
        if self.place is None:
            return False
        self.followed = now
        return self._add_words(self.place, now, fresh)

    def guess_progress(self) -> bool:
        """Hear so much of ``text`` as can have been said by now; say if there is a new word."""
        if self.text is None:
            return False
        said, words = 0, []
        for word in self.text.split():
            said += len(word)
            if said > len(self.speech) * _CHARACTERS_PER_STEP:
                break
            words.append(word)
        if len(words) <= len(self.words):
            return False
        self.words = _in_seconds(spread(" ".join(words), self.speech))
        return True

    def _look_for_place(
        self, clips: Sequence[Clip], window: Bands, now: int, *, sure: bool
    ) -> Match | None:
        """Return where the window is in a clip, once two searches in a row agree on it."""
        match, previous, self.candidate = find(clips, window), self.candidate, None
        if match is None or match.likeness < _FOUND:
            return None
        here = (match.clip, now - match.end)
        if sure or (previous and previous[0] is here[0] and abs(previous[1] - here[1]) <= 1):
            return match
        self.candidate = here
        return None

    def _still_there(self, window: Bands) -> bool:
        assert self.place is not None
        begin = self.place.end - len(window)
        likeness = self.place.clip.likeness(window)
        return 0 <= begin < len(likeness) and bool(likeness[begin] >= _STILL_THERE)

    def _add_words(self, place: Match, now: int, fresh: int) -> bool:
        """Add the words whose middle lies in the last ``fresh`` steps."""
        fresh = min(fresh, _REACH)
        shift = now - place.end
        before = len(self.words)
        for word in place.clip.words:
            middle = (word.start + word.end) / 2
            if place.end - fresh <= middle < place.end:
                self.words += _in_seconds([Word(word.text, word.start + shift, word.end + shift)])
        return len(self.words) > before


def _in_seconds(words: Sequence[Word]) -> list[Word]:
    return [Word(w.text, w.start / STEPS_PER_SECOND, w.end / STEPS_PER_SECOND) for w in words]
