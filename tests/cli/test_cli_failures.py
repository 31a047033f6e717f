"""What a user reads when something is wrong, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import Run

from livekit_plugins_voicegateway.reports import Reports


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'."),
        (["costs", "--bogus"], "No such option"),
        (["costs", "extra"], "extra"),
        (["costs", "--by", "week"], "'week' is not one of 'project', 'modality', 'model', 'day'"),
        (["costs", "--period", "fortnight"], "found 'fortnight'; expected today, yesterday"),
        (["costs", "--period", "2026-02-30..2026-03-01"], "period: "),
        (["logs", "--modality", "vad"], "'vad' is not one of 'stt', 'llm', 'tts'"),
        (["logs", "--status", "lost"], "'lost' is not one of 'open'"),
        (["logs", "--limit", "0"], "'--limit'"),
        (["logs", "--limit", "many"], "'many' is not a valid integer"),
        (["logs", "--cursor", "x"], "cursor: "),
        (["calls", "--cursor", "x"], "cursor: "),
        (["project", "show"], "ID"),
        (["--config", "x", "costs"], "No such option"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(
    config: Path, run: Run, arguments: list[str], said: str
) -> None:
    result = run(*arguments)
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "arguments",
    [["costs", "--project"], ["logs", "--project"], ["calls", "--project"], ["project", "show"]],
)
def test_a_project_that_does_not_exist_is_named_with_the_nearest(
    config: Path, run: Run, arguments: list[str]
) -> None:
    result = run(*arguments, "prd")
    assert (result.status, result.out) == (1, "")
    assert "there is no project 'prd'; did you mean 'prod'?" in result.err


@pytest.mark.parametrize("path", ["missing.yaml", "."])
@pytest.mark.parametrize("command", ["costs", "projects", "logs", "calls", "verify", "prices"])
def test_a_configuration_that_cannot_be_read_is_an_error(
    folder: Path, run: Run, command: str, path: str
) -> None:
    result = run(command, "--config", path)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"Error: {path} has 1 problem:\n")


def test_the_named_configuration_is_the_one_that_is_read(
    config: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("other.yaml").write_text("projects: {other: {}}")
    assert "other" in run("projects", "--config", "other.yaml").out
    monkeypatch.setenv("VOICEGW_CONFIG", "other.yaml")
    assert "other" in run("projects").out
    assert "prod" in run("projects", "--config", "voicegw.yaml").out


@pytest.fixture
def broken(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports with a fault of their own."""

    async def fail(self: Reports, *arguments: object) -> None:
        raise RuntimeError("the \x1b[31mfault")

    monkeypatch.setattr(Reports, "costs", fail)


@pytest.mark.usefixtures("broken")
def test_a_fault_of_ours_is_one_line_and_says_what_to_report(run: Run) -> None:
    result = run("costs")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Error: RuntimeError: the �[31mfault\n")
    assert "Please report it" in result.err
    assert "Traceback" not in result.err


@pytest.mark.usefixtures("broken")
def test_debug_shows_where_a_fault_happened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEGW_DEBUG", "1")
    assert 'raise RuntimeError("the \\x1b[31mfault")' in run("costs").err
    monkeypatch.setenv("VOICEGW_DEBUG", "")
    assert 'raise RuntimeError("the \\x1b[31mfault")' in run("--debug", "costs").err


def test_without_a_command_all_of_them_are_listed(folder: Path, run: Run) -> None:
    result = run("--help")
    assert result.status == 0
    for name in (
        "init check demo projects project costs logs calls verify price prices".split()  # noqa: SIM905
    ):
        assert f"\n  {name} " in result.out
    for heading in ("Set up:", "Read the ledger:", "Prices:"):
        assert heading in result.out
