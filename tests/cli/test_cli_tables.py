"""Tables at any width, and text that would do something to a terminal."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from livekit_plugins_voicegateway.cli.tables import Column, Page

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

COLUMNS = [
    Column("Model", "name"),
    Column("Note", rank=1),
    Column("Requests", "number", rank=2),
    Column("Cost", "money"),
]
ROWS = [
    ["assemblyai/universal-streaming-multilingual", "a long note of many words", "1,234", "$12.40"],
    ["x/y", "short", "5", "$0.000412"],
]


def shown(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int | None,
    columns: list[Column] = COLUMNS,
    rows: list[list[str]] = ROWS,
) -> list[str]:
    if width is not None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width))
    page = Page()
    page.table(columns, rows)
    page.show()
    return ESCAPE.sub("", capsys.readouterr().out).splitlines()


def test_a_wide_terminal_shows_each_row_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, 120)
    assert len(lines) == 4
    assert lines[0].split() == ["Model", "Note", "Requests", "Cost"]


@pytest.mark.parametrize("width", [100, 80, 60, 50, 40, 30, 25])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    lines = shown(capsys, monkeypatch, width)
    assert all(cell_len(line) <= width for line in lines)
    assert sum("$12.40" in line for line in lines) == 1
    assert sum("$0.000412" in line for line in lines) == 1


def test_the_least_important_column_goes_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(capsys, monkeypatch, 60)[0].split() == ["Model", "Note", "Cost"]
    assert shown(capsys, monkeypatch, 40)[0].split() == ["Model", "Cost"]


def test_a_name_folds_and_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, 40)
    name = "".join(line.split(" ")[0] for line in lines[2:-1])
    assert name == "assemblyai/universal-streaming-multilingual"


def test_a_number_stays_whole_where_nothing_is_left_to_drop(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, 12)
    assert any("$0.000412" in line for line in lines)


def test_decimal_points_stand_below_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, None)
    assert lines[2].index(".40") == lines[3].index(".000412")


def test_a_column_with_nothing_in_it_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [Column("Model"), Column("Unpriced", "number")]
    lines = shown(capsys, monkeypatch, None, columns, [["x/y", ""], ["x/z", ""]])
    assert lines[0] == "Model"


def test_wide_characters_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [Column("Room", "name"), Column("Cost", "money")]
    lines = shown(capsys, monkeypatch, 30, columns, [["会議室の電話番号は長いです会議室", "$1.00"]])
    assert all(cell_len(line) <= 30 for line in lines)
    assert "".join(line.split()[0] for line in lines[2:]) == "会議室の電話番号は長いです会議室"


def test_text_from_outside_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = "a\x1b[31mred\r\nb\x9b2J\u202egnp.exe [bold]c[/bold] :smile:"
    (line,) = shown(capsys, monkeypatch, None, [Column("Room")], [[room]])[2:]
    assert line == "a�[31mred  b�2J�gnp.exe [bold]c[/bold] :smile:"
