"""An answer is cut where a caller would hear a breath, soon at first and in larger pieces after."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from livekit_plugins_voicegateway.local.pieces import Pace, Pieces, pause_after

PACE = Pace(per_character=0.045, work_per_second=0.5)
BALANCE = (
    "Of course, I can help you with that. Your balance is forty two dollars, and the next "
    "payment is due on the third of September. Is there anything else?"
)


def taken(
    text: str, in_hand: float | None, pace: Pace = PACE, *, english: bool = False
) -> list[str]:
    """All pieces of a text that is there as a whole, after the first with ``in_hand`` seconds."""
    pieces = Pieces(english=english)
    pieces.push(text)
    pieces.end()
    result = []
    while not pieces.exhausted:
        piece = pieces.take(pace, in_hand if result else None)
        assert piece is not None
        result.append(piece)
    return result


def test_the_first_clause_goes_ahead_alone() -> None:
    assert taken(BALANCE, in_hand=10.0)[0] == "Of course, "


def test_the_first_clause_goes_before_the_rest_of_its_sentence_is_written() -> None:
    pieces = Pieces()
    pieces.push("Of course")
    assert pieces.take(PACE, None) is None
    pieces.push(", I")
    assert pieces.take(PACE, None) == "Of course, "
    assert pieces.take(PACE, 1.0) is None


def test_what_follows_is_as_long_as_the_caller_has_still_something_to_hear() -> None:
    assert taken(BALANCE, in_hand=10.0) == [
        "Of course, ",
        "I can help you with that.",
        " Your balance is forty two dollars, and the next payment is due on the third "
        "of September.",
        " Is there anything else?",
    ]
    assert taken(BALANCE, in_hand=0.5)[2:4] == [
        " Your balance is forty two dollars, ",
        "and the next payment is due on the third of September.",
    ]


def test_a_long_english_clause_is_cut_before_a_word_that_begins_a_phrase() -> None:
    text = "I would be happy to help you with that billing question today."
    assert taken(text, in_hand=0.0, english=True) == [
        "I would be happy to help you ",
        "with that billing question today.",
    ]
    assert taken(text, in_hand=0.0) == [text]


def test_the_first_phrase_goes_before_the_rest_of_its_sentence_is_written() -> None:
    pieces = Pieces(english=True)
    pieces.push("I would be happy to help you with")
    assert pieces.take(PACE, None) is None
    pieces.push(" that")
    assert pieces.take(PACE, None) == "I would be happy to help you "


def test_a_short_english_clause_is_left_whole() -> None:
    text = "I can help you with that and more."
    assert taken(text, in_hand=0.0, english=True) == [text]


@pytest.mark.parametrize(
    ("piece", "pause"), [("Goodbye.", 0.25), ("Well, ", 0.1), ("help you ", 0.0), (" ", 0.1)]
)
def test_the_pause_after_a_piece_is_the_one_that_its_mark_asks_for(
    piece: str, pause: float
) -> None:
    assert pause_after(piece) == pause


def test_a_word_that_would_be_over_at_once_is_spoken_with_what_follows() -> None:
    assert taken("Yes, we are open until eight today.", in_hand=0.0)[0] == (
        "Yes, we are open until eight today."
    )


def test_a_first_clause_whose_rest_takes_too_long_does_not_go_alone() -> None:
    slow = Pace(per_character=0.045, work_per_second=3.0)
    text = "Well then, you are through. Goodbye for now."
    assert taken(text, in_hand=0.0, pace=PACE)[0] == "Well then, "
    assert taken(text, in_hand=0.0, pace=slow)[0] == "Well then, you are through."


@pytest.mark.parametrize("text", ["It costs 1,000 dollars at 5:30 today.", "Dr. Smith is in."])
def test_numbers_and_abbreviations_are_not_cut(text: str) -> None:
    assert taken(text, in_hand=0.0) == [text]


def test_languages_without_spaces_are_cut_at_their_own_commas() -> None:
    text = "もちろんです、お手伝いします、少々お待ちください。"
    assert len(taken(text, in_hand=0.0)) > 1


def test_no_piece_is_longer_than_an_inference_may_be_while_it_can_be_cut() -> None:
    text = ", ".join(["and this goes on and on"] * 40) + "."
    assert max(len(piece) for piece in taken(text, in_hand=1000.0)) <= 200


def test_speech_is_held_back_until_its_sentence_can_be_said_without_a_pause() -> None:
    pieces = Pieces()
    pieces.push("Of course, your")
    assert pieces.take(PACE, None) == "Of course, "
    pieces.push(" balance today is forty two dollars and eleven cents.")
    pieces.end()
    work = 1.1 * PACE.work("your balance today is forty two dollars and eleven cents.")
    assert pieces.hold(PACE, in_hand=0.6) == pytest.approx(work - 0.6 - 0.1)
    assert pieces.hold(PACE, in_hand=5.0) == 0.0


def test_nothing_is_held_back_for_text_that_is_not_there_yet() -> None:
    pieces = Pieces()
    pieces.push("Of course, your balance today")
    assert pieces.take(PACE, None) == "Of course, "
    assert pieces.hold(PACE, in_hand=0.6) == 0.0


def test_the_pace_follows_what_was_measured() -> None:
    pace = Pace()
    for _ in range(50):
        pace.learn("twenty characters ok", speech=2.0, work=5.2)
    assert pace.speech("twenty characters ok") == pytest.approx(2.0, rel=0.01)
    assert pace.work("twenty characters ok") == pytest.approx(5.2, rel=0.01)


@given(
    st.lists(
        st.one_of(st.text(alphabet="ab ,.;:!?-—\n😀、。)", max_size=12), st.just(" with a ")),
        max_size=20,
    ),
    st.sampled_from([0.0, 1.0, 30.0]),
    st.booleans(),
)
def test_the_pieces_together_are_the_text_however_it_comes_in(
    tokens: list[str], in_hand: float, english: bool
) -> None:
    pieces = Pieces(english=english)
    result = []
    for token in tokens:
        pieces.push(token)
        if piece := pieces.take(PACE, in_hand if result else None):
            result.append(piece)
    pieces.end()
    while not pieces.exhausted:
        piece = pieces.take(PACE, in_hand)
        assert piece
        result.append(piece)
    assert "".join(result) == "".join(tokens)
