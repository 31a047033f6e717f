"""Tables that fit: on a wide terminal, a narrow one, and through a pipe.

A number is never cut or broken over two lines. Where a terminal is too narrow, names fold, and the
least important columns go; through a pipe everything is there, one row in a line, without colour.
This module imports rich, so a command imports it when it has a table to show, and not before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .terminal import clean, emit

__all__ = ["ACCENT_STYLES", "STATE_STYLES", "Cell", "Column", "Kind", "Page"]

Kind = Literal["text", "name", "word", "number", "money"]

ACCENT_STYLES: Final = {"green": "green", "yellow": "yellow", "blue": "blue", "pink": "magenta"}
"""A project's accent, as a colour that every terminal has."""

STATE_STYLES: Final = {"ok": "green", "near": "yellow", "exceeded": "red"}
"""The state of a budget."""

_PIPE_WIDTH: Final = 100_000
_GAP: Final = 2  # one of padding, one of the box
_RULE: Final = box.Box(str(box.SIMPLE_HEAD), ascii=True)
"""A line below the titles; called ASCII, so that rich does not put a wider box in its place where
the terminal is not Unicode: `terminal` sees to that."""

_FOLDING: Final[tuple[Mapping[Kind, int], ...]] = (
    {"text": 18},
    {"text": 18, "name": 24},
    {"text": 8, "name": 8},
)
"""How narrow texts and names may become where there is no room, in this order. Columns are left out
before the last step."""


class Cell(NamedTuple):
    """What stands in one place of a table.

    Attributes:
        text: May come from outside; it is cleaned.
        style: In the words of rich, ``bold red``; empty for none.
    """

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its heading.
        kind: ``text`` may fold over lines, and ``name`` too if it must; ``word`` stays whole, and
            so does ``number``, which stands at the right; ``money`` also has its decimal points
            below each other.
        rank: 0 for a column that always stays; of the others the highest goes first.
        style: Of the whole column.
    """

    title: str
    kind: Kind = "text"
    rank: int = 0
    style: str = ""


class Page:
    """What a command shows, gathered and written at once by `show`.

    Attributes:
        colour: Whether what is shown has colours.
    """

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._width = self._console.width if self._console.is_terminal else _PIPE_WIDTH
        # a table that is wider all the same is for the terminal to wrap, and not for rich to cut
        self._console.width = _PIPE_WIDTH
        self.colour = self._console.color_system is not None and not self._console.no_color
        self._console.begin_capture()

    def line(self, *parts: str | Cell) -> None:
        """Add one line of text, folded between words where a terminal is too narrow."""
        text = Text()
        for part in parts:
            cell = part if isinstance(part, Cell) else Cell(part)
            text.append(clean(cell.text), cell.style)
        self._console.print(text, width=self._width)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]]) -> None:
        """Add a table.

        Args:
            columns: From left to right.
            rows: Each with a cell for each column.
        """
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        drawn = [
            _draw(column, [row[index] for row in cells]) for index, column in enumerate(columns)
        ]
        drawn = _fitting([each for each in drawn if not each.is_empty], self._width)
        table = Table(box=_RULE, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for each, width in zip(drawn, _widths(drawn, self._width), strict=True):
            table.add_column(
                each.title,
                style=each.column.style,
                header_style="dim",
                width=width,
                no_wrap=each.column.kind not in ("text", "name"),
                overflow="fold",
            )
        for index in range(len(cells)):
            texts = (each.cells[index] for each in drawn)
            table.add_row(*(Text(cell.text, cell.style) for cell in texts))
        self._console.print(table)

    def facts(self, facts: Iterable[tuple[str, str | Cell]]) -> None:
        """Add lines of a name and what is said of it, one below the other."""
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, fact in facts:
            cell = fact if isinstance(fact, Cell) else Cell(fact)
            grid.add_row(name, Text(clean(cell.text), cell.style or "not dim"))
        self._console.print(grid, width=self._width)

    def show(self) -> None:
        """Write what was added to standard output."""
        lines = self._console.end_capture().splitlines()
        emit("".join(f"{line.rstrip()}\n" for line in lines))


class _Drawn(NamedTuple):
    """A column with its title and cells, as they will stand."""

    column: Column
    title: str
    cells: list[Cell]

    @property
    def is_empty(self) -> bool:
        return not any(cell.text for cell in self.cells)

    @property
    def widest(self) -> int:
        return max(cell_len(text) for text in (self.title, *(cell.text for cell in self.cells)))

    def narrowest(self, floors: Mapping[Kind, int]) -> int:
        """How narrow it may become, where some kinds of columns may fold so far."""
        return min(self.widest, floors.get(self.column.kind, self.widest))


def _draw(column: Column, cells: Sequence[Cell]) -> _Drawn:
    """Clean the cells, and put numbers at the right.

    By spaces, because what rich justifies loses those at its end, which bring decimal points below
    each other.
    """
    texts = [clean(cell.text) for cell in cells]
    title = column.title
    if column.kind == "money":
        places = [len(text.rpartition(".")[2]) if "." in text else 0 for text in texts]
        longest = max(places, default=0)
        texts = [
            text + " " * (longest - own) if own else text
            for text, own in zip(texts, places, strict=True)
        ]
    if column.kind in ("number", "money") and any(texts):
        width = max(map(cell_len, [title, *texts]))
        title, *texts = (" " * (width - cell_len(text)) + text for text in (title, *texts))
    styles = (cell.style for cell in cells)
    return _Drawn(column, title, [Cell(*cell) for cell in zip(texts, styles, strict=True)])


def _fitting(columns: list[_Drawn], width: int) -> list[_Drawn]:
    """Leave columns out, the highest rank first, until the rest can be read with ease."""
    while _total([each.narrowest(_FOLDING[-2]) for each in columns]) > width:
        droppable = [each for each in columns if each.column.rank]
        if not droppable:
            break
        columns.remove(max(droppable, key=lambda each: each.column.rank))
    return columns


def _widths(columns: list[_Drawn], width: int) -> list[int]:
    """Share the width: to each column what it wants, and what is widest folds first."""
    widths = [each.widest for each in columns]
    for floors in _FOLDING:
        narrowest = [each.narrowest(floors) for each in columns]
        while _total(widths) > width:
            foldable = [index for index, least in enumerate(narrowest) if widths[index] > least]
            if not foldable:
                break
            widths[max(foldable, key=lambda index: widths[index])] -= 1
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)
