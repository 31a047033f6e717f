"""What `voicegw check` says of budgets, and `voicegw download-files`."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

from support.command_line import Run


def written(folder: Path, text: str) -> None:
    (folder / "voicegw.yaml").write_text(dedent(text))


BUDGETS = """
    projects:
      prod: {daily_budget: 5, budget_action: throttle, fallback: FALLBACK}
      lab: {daily_budget: 5, budget_action: warn}
    providers:
      whisper: {weights: /nowhere}
"""


def test_the_worst_overspend_is_printed_in_dollars_for_each_budget_that_stops(
    folder: Path, run: Run
) -> None:
    written(folder, BUDGETS.replace("FALLBACK", "none"))
    result = run("check", "--calls", "10")
    assert result.status == 0
    [line] = [line for line in result.lines if line.startswith("worst overspend")]
    # 10 calls: 2 s of nova-3, 8000 + 500 tokens of gpt-4.1-mini, 2250 characters of sonic-3
    assert line.startswith("worst overspend $1.17 with 10 calls at once (deepgram/nova-3")
    projects = json.loads(run("check", "--calls", "10", "--json").out)["projects"]
    assert [project["worst_overspend"] for project in projects] == [1.1666, None]


def test_shorter_answers_lower_it(folder: Path, run: Run) -> None:
    written(folder, BUDGETS.replace("FALLBACK", "none"))
    long, short = (
        json.loads(run("check", "--answer-tokens", tokens, "--json").out)["projects"][0]
        for tokens in ("500", "50")
    )
    assert short["worst_overspend"] < long["worst_overspend"]


def test_a_local_model_without_weights_is_noted_with_the_command_that_fetches_it(
    folder: Path, run: Run
) -> None:
    written(
        folder, BUDGETS.replace("FALLBACK", '{stt: "local/whisper-base", llm: none, tts: none}')
    )
    result = run("check")
    assert result.status == 0
    assert any(
        "local/whisper-base cannot take over" in line
        and "voicegw download-files local/whisper-base" in line
        for line in result.lines
    )


def test_download_files_without_local_models_says_so(folder: Path, run: Run) -> None:
    written(folder, BUDGETS.replace("FALLBACK", "none"))
    result = run("download-files")
    assert (result.status, result.lines) == (
        0,
        ["No project falls back to a local model: nothing to fetch."],
    )


def test_a_local_model_that_does_not_exist_cannot_be_fetched(folder: Path, run: Run) -> None:
    result = run("download-files", "local/whisper-gigantic")
    assert result.status == 1
    assert "whisper-gigantic" in result.err
