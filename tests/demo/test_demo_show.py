"""What is on the terminal while the demo's conversations are held."""

from __future__ import annotations

from io import StringIO

import pytest
from demo_calls import YOUNG_MAN, turn
from rich.console import Console

from livekit_plugins_voicegateway.demo.call import CallEvent
from livekit_plugins_voicegateway.demo.script import CONVERSATIONS
from livekit_plugins_voicegateway.demo.show import Show
from livekit_plugins_voicegateway.projects import Project

PROJECTS = {
    "production": Project("production", tags=("production",)),
    "staging": Project("staging", tags=("staging",)),
}


def on_a_terminal(show: Show, width: int = 60) -> str:
    console = Console(file=StringIO(), force_terminal=True, width=width, color_system=None)
    console.print(show)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_for_each_conversation_who_says_what(
    capsys: pytest.CaptureFixture[str],
) -> None:
    production, staging = CONVERSATIONS
    show = Show(CONVERSATIONS, PROJECTS)
    with show:
        show.event(production, CallEvent(1.0, "turn_began", turn(YOUNG_MAN)))
        show.event(staging, CallEvent(1.0, "agent_said", "Chapter "))
        show.event(staging, CallEvent(1.2, "agent_said", "one"))

    _, first, second = on_a_terminal(show).rstrip("\n").split("\n")

    assert first.split()[1:] == ["production", "turn", "1", "of", "3", "caller"]
    assert second.split()[1:] == ["staging", "turn", "0", "of", "2", "agent", "Chapter", "one"]


def test_of_a_long_answer_the_newest_words_stay_in_sight() -> None:
    production, _ = CONVERSATIONS
    show = Show(CONVERSATIONS, PROJECTS)
    for word in ("once", *["upon"] * 30, "finally"):
        show.event(production, CallEvent(1.0, "agent_said", f"{word} "))

    lines = on_a_terminal(show, width=60).splitlines()

    assert lines[1].rstrip().endswith("upon finally")
    assert max(map(len, lines)) <= 60


def test_through_a_pipe_an_interruption_is_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    production, _ = CONVERSATIONS
    show = Show(CONVERSATIONS, PROJECTS)
    show.event(production, CallEvent(18.23, "turn_began", turn(YOUNG_MAN, barge_in=1.5)))

    assert capsys.readouterr().out.split() == ["18.2", "s", "production", "caller", "interrupts:"]
