"""How the demo looks: conversations while they are held, then the tables.

On a terminal the words appear as they are said; through a pipe or in a log each sentence is a line
of its own, without control codes.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from livekit.agents.voice.events import ConversationItemAddedEvent, UserInputTranscribedEvent
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..cli.formats import dollars
from ..cli.tables import ACCENT_STYLES, Cell, Column, Page
from ..metering.usage import NANOS_PER_DOLLAR, Modality, UsageRow
from ..projects import Project
from .call import CallEvent, Turn
from .reckoning import Comparison, TurnCost, add
from .script import Conversation

__all__ = ["Show", "show_comparisons", "show_costs", "show_spending"]

_NAME = 11
_WHO = 6
_PIPE_WIDTH = 100_000
_LONGEST_WORDS = 30


@dataclass(slots=True)
class _State:
    """Where a conversation is now."""

    turn: int = 0
    who: str = ""
    words: str = ""


class Show:
    """Shows conversations while they are held. A context manager.

    Args:
        conversations: Those that will be held.
        projects: Their projects, by id.
    """

    def __init__(
        self, conversations: Sequence[Conversation], projects: Mapping[str, Project]
    ) -> None:
        self._conversations = conversations
        self._styles = {each.id: ACCENT_STYLES[each.accent] for each in projects.values()}
        self._states = {conversation.project: _State() for conversation in conversations}
        self._spinner = Spinner("dots")
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        if not self._console.is_terminal:
            self._console.width = _PIPE_WIDTH
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=10, transient=True)

    def __enter__(self) -> Show:
        for conversation in self._conversations:
            self._line("", conversation.project, "models", "  ".join(conversation.models))
        self._console.print()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, conversation: Conversation, noted: CallEvent) -> None:
        """Show something that happened in a conversation."""
        state, event = self._states[conversation.project], noted.event
        if noted.name == "turn_began":
            state.turn += 1
            if isinstance(event, Turn) and event.barge_in is not None:
                self._line(_at(noted), conversation.project, "caller", "interrupts:", "italic")
            state.who, state.words = "caller", ""
        elif isinstance(event, UserInputTranscribedEvent):
            state.who, state.words = "caller", event.transcript
        elif noted.name == "agent_said":
            state.words = (state.words if state.who == "agent" else "") + event
            state.who = "agent"
        elif isinstance(event, ConversationItemAddedEvent) and event.item.type == "message":
            self._item(conversation, noted)

    def note(self, conversation: Conversation, text: str) -> None:
        """Show something that was done from outside a conversation."""
        self._line("", conversation.project, "", text, "italic")

    def _item(self, conversation: Conversation, noted: CallEvent) -> None:
        item = noted.event.item
        who = "caller" if item.role == "user" else "agent"
        text = (item.text_content or "").strip()
        if item.interrupted:
            text += " –"
        self._line(_at(noted), conversation.project, who, text)
        state = self._states[conversation.project]
        if state.who == who:
            state.who, state.words = "", ""

    def _line(self, at: str, project: str, who: str, text: str, style: str = "") -> None:
        grid = Table.grid(padding=(0, 2, 0, 0))
        for width in (6, _NAME, _WHO):
            grid.add_column(width=width, no_wrap=True)
        grid.add_column()
        grid.add_row(
            Text(at, "dim", justify="right"),
            Text(project, self._styles[project]),
            Text(who, "dim"),
            Text(text, style or ("bold" if who == "caller" else "")),
        )
        self._console.print(grid)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text()
        for conversation in self._conversations:
            state = self._states[conversation.project]
            line = Text(no_wrap=True, overflow="ellipsis")
            line.append_text(self._spinner.render(console.get_time()))  # type: ignore[arg-type]
            line.append(f" {conversation.project:{_NAME}}", self._styles[conversation.project])
            line.append(f"  turn {state.turn} of {len(conversation.turns)}  ", "dim")
            line.append(f"{state.who:{_WHO}}  ", "dim")
            room = max(10, options.max_width - line.cell_len - 1)
            line.append(state.words.strip()[-room:])
            yield line


def _at(noted: CallEvent) -> str:
    return f"{noted.at:.1f} s"


def show_costs(page: Page, project: Project, costs: Sequence[TurnCost]) -> None:
    """Add the table of what one conversation cost."""
    page.line()
    page.line(
        Cell(project.id, f"bold {ACCENT_STYLES[project.accent]}"), Cell("  cost by turn", "dim")
    )
    columns = [
        Column("Turn", "word"),
        Column("Answer", "word", rank=1, style="dim"),
        Column("STT", "money"),
        Column("LLM", "money"),
        Column("TTS", "money"),
        Column("Cost", "money", style="bold"),
    ]
    modalities: tuple[Modality, ...] = ("stt", "llm", "tts")
    rows = [
        [
            textwrap.shorten(cost.words, _LONGEST_WORDS, placeholder=" …") or "(greeting)",
            cost.speech_id or "",
            *(_money(cost.nanos[m]) if m in cost.nanos else "" for m in modalities),
            _money(add(cost.nanos.values())),
        ]
        for cost in costs
    ]
    sums = [add(cost.nanos[m] for cost in costs if m in cost.nanos) for m in modalities]
    rows.append(["(all of it)", "", *map(_money, sums), _money(add(sums))])
    page.table(columns, rows)


def show_comparisons(page: Page, comparisons: Sequence[Comparison]) -> None:
    """Add the table of recorded against billed."""
    page.line()
    page.line(
        Cell("recorded against billed", "bold"),
        Cell("  the ledger, and what the providers have counted", "dim"),
    )
    columns = [
        Column("Provider", "word"),
        Column("Quantity"),
        Column("Recorded", "number"),
        Column("Billed", "number"),
        Column("Difference", "number"),
        Column("Promised", "word"),
        Column("", "word"),
    ]
    page.table(columns, [_comparison_row(comparison) for comparison in comparisons])


def show_spending(page: Page, project: Project, rows: Sequence[UsageRow]) -> None:
    """Add the table of where a project's money stopped: what served before, and what after."""
    page.line()
    page.line(
        Cell(project.id, f"bold {ACCENT_STYLES[project.accent]}"),
        Cell("  where the money stopped", "dim"),
    )
    columns = [
        Column("Asked for", "word"),
        Column("Served by", "word"),
        Column("Requests", "number"),
        Column("Cost", "money"),
    ]
    served: dict[tuple[str, str], list[int | None]] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        key = (row.requested_model, f"{row.provider}/{row.model}")
        served.setdefault(key, []).append(row.cost_nanos)
    page.table(
        columns,
        [
            [asked, model, str(len(costs)), _money(add(costs))]
            for (asked, model), costs in sorted(served.items())
        ],
    )


def _comparison_row(comparison: Comparison) -> list[str | Cell]:
    places = 2 if comparison.quantity.startswith("seconds") else 0
    kept = Cell("✓", "green") if comparison.kept else Cell("✗ broken", "bold red")
    return [
        comparison.provider,
        comparison.quantity,
        f"{comparison.recorded:,.{places}f}",
        f"{comparison.billed:,.{places}f}",
        f"{100 * comparison.difference:+.2f} %" if comparison.difference else "0 %",
        comparison.promise,
        kept,
    ]


def _money(nanos: int | None) -> str:
    return dollars(None if nanos is None else nanos / NANOS_PER_DOLLAR)
