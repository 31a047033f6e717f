"""What people and programs see of prices."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import Run

ENOUGH = ["--input-tokens", "18000", "--cached-input-tokens", "12000", "--output-tokens", "900"]


@pytest.mark.parametrize(
    ("arguments", "cost"),
    [
        (["deepgram/nova-3", "--audio-seconds", "300"], 0.024),
        (["deepgram/nova-3", "--audio-seconds", "300", "--channels", "2"], 0.048),
        (["deepgram/nova-3", "--audio-seconds", "300", "--language", "multi"], 0.029),
        (["assemblyai/universal-streaming", "--connection-seconds", "90"], 0.00375),
        (["cartesia/sonic-3", "--characters", "2400"], 0.12),
        (["openai/gpt-4.1-mini", *ENOUGH], 0.00504),
        (["openai/gpt-4.1-mini", *ENOUGH, "--project", "prod"], 0.00444),
        (["ollama/qwen2.5:3b", *ENOUGH], 0.0),
        (["acme/unheard-of", *ENOUGH], None),
        (["openai/gpt-4.1", "--characters", "2400"], None),
    ],
)
def test_a_price_is_told_and_an_unknown_one_is_null(
    config: Path, run: Run, arguments: list[str], cost: float | None
) -> None:
    answer = run("price", *arguments, "--json").json
    assert answer["model"] == arguments[0]
    assert answer["cost"] == cost
    assert "price" in answer


def test_a_price_is_shown_with_where_it_comes_from(config: Path, run: Run) -> None:
    result = run("price", "openai/gpt-4.1-mini", *ENOUGH, "--project", "prod")
    assert result.line("Cost") == "Cost $0.00444"
    assert result.line("Price").startswith("Price project openai/gpt-4.1-mini 0.35 in")
    assert result.line("For") == "For 18.0k in (12.0k cached), 900 out"


def test_a_small_price_has_every_digit(config: Path, run: Run) -> None:
    result = run("price", "groq/whisper-large-v3-turbo", "--audio-seconds", "2", "--channels", "1")
    assert result.line("Cost") == "Cost $0.000111111"


def test_an_unknown_price_is_said_to_be_unknown(config: Path, run: Run) -> None:
    result = run("price", "acme/unheard-of", "--characters", "3")
    assert result.status == 0
    assert result.line("Cost") == "Cost unknown"
    assert "put it under `pricing:`" in result.out


def test_a_price_without_a_rate_for_what_is_used_is_said_to_be_that(config: Path, run: Run) -> None:
    result = run("price", "openai/gpt-4.1", "--characters", "2400")
    assert result.line("Cost") == "Cost unknown"
    assert "This is a price by tokens: it has no rate for what is used here." in result.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["acme"], "write provider/model, such as deepgram/nova-3"),
        (["x/y", "--audio-seconds", "-1"], "'--audio-seconds'"),
        (["x/y", "--audio-seconds", "nan"], "a finite number"),
        (["x/y", "--connection-seconds", "inf"], "a finite number"),
        (["x/y", "--channels", "0"], "'--channels'"),
        (["x/y", "--input-tokens", "1.5"], "'--input-tokens'"),
        (["x/y", "--cached-input-tokens", "1"], "there cannot be more of them"),
        ([], "MODEL"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(
    config: Path, run: Run, arguments: list[str], said: str
) -> None:
    result = run("price", *arguments)
    assert (result.status, result.out) == (2, "")
    assert said in result.err


def test_a_price_needs_no_ledger(config: Path, run: Run) -> None:
    Path("voicegw.db").write_bytes(b"this is no database, and was none before it was broken" * 9)
    assert run("price", "deepgram/nova-3", "--audio-seconds", "60").status == 0
    assert run("prices").status == 0
    assert run("costs").status == 1


def test_all_prices_are_listed_with_source_and_day(config: Path, run: Run) -> None:
    result = run("prices")
    lines = result.lines
    assert "openai/gpt-4.1-mini 0.35 in, 0.09 cached, 1.4 out/1M tokens project prod" in lines
    assert any(
        line.startswith("deepgram/nova-3 stt 0.0048/minute catalogue 2026-") for line in lines
    )
    assert any(line.startswith("deepgram/nova-3 stt keyterm +0.0013/minute") for line in lines)
    assert "https://" in result.out


def test_the_json_of_prices_is_the_whole_list(config: Path, run: Run) -> None:
    prices = run("prices", "--json").json["prices"]
    assert {price["source"] for price in prices} == {"project", "catalogue", "local"}
    of_dev = run("prices", "--project", "dev", "--json").json["prices"]
    assert {price["source"] for price in of_dev} == {"catalogue", "local"}


def test_prices_of_a_project_that_does_not_exist_are_an_error(config: Path, run: Run) -> None:
    for arguments in (["prices", "--project", "prd"], ["price", "x/y", "--project", "prd"]):
        result = run(*arguments)
        assert result.status == 1
        assert "did you mean 'prod'?" in result.err
