"""What people and programs see of costs and projects."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.command_line import Book, Run, reported


@pytest.fixture
def spent(book: Book) -> Book:
    """A day on which production and staging spent, and dev used a model without a price."""
    book.write(
        book.row(cost_nanos=12_400_000_000, input_tokens=9_000_000, output_tokens=900_000),
        book.row(cost_nanos=412_000, estimated=True, status="cancelled"),
        book.stt(project="staging", cost_nanos=8_800_000_000),
        *(book.row(project="dev", model="gpt-9", cost_nanos=None, price=None) for _ in range(3)),
        book.tts(project="prod", ago=2 * 86_400),
    )
    return book


def test_projects_show_budget_spend_bar_rest_action_and_accent(spent: Book, run: Run) -> None:
    result = run("projects")
    assert result.status == 0
    assert result.line("prod ") == (
        "prod Production $50.00 $12.40 ███░░░░░░░░░ 25 % $37.60 throttle green 2"
    )
    assert result.line("staging ") == (
        "staging Staging $10.00 $8.80 ███████████░ 88 % near $1.20 warn yellow 1"
    )
    assert result.line("dev ") == "dev $2.00 unknown ░░░░░░░░░░░░ 0 % $2.00 block blue 3 3"
    assert result.line("lab ") == "lab no limit $0.00 pink 0"


def test_a_spent_budget_is_said_in_words(book: Book, run: Run) -> None:
    book.write(book.row(project="dev", cost_nanos=2_100_000_000))
    assert "████████████ 105 % exceeded $0.00 block" in run("projects").line("dev ")


def test_costs_sum_up_and_name_what_is_unpriced_and_estimated(spent: Book, run: Run) -> None:
    result = run("costs")
    assert result.status == 0
    assert result.line("Costs today, ").endswith(f"({spent.config.timezone.key})")
    assert result.line("unpriced ·") == (
        "$21.20 for 6 requests · 3 requests unpriced · $0.000412 of it estimated"
    )
    assert (
        result.line("openai/gpt-9") == "openai/gpt-9 llm unknown 3 3 738 in (120 cached), 147 out"
    )
    assert result.line("prod ").startswith("prod $12.40 █████░░░ 58 % 2 ")


def test_a_day_without_any_price_is_unknown_and_not_zero(book: Book, run: Run) -> None:
    book.write(book.row(model="gpt-9", cost_nanos=None, price=None))
    result = run("costs")
    assert "unknown for 1 request · 1 request unpriced" in result.out
    assert "$0.00" not in result.out
    assert run("costs", "--json").json["total_cost"] is None


@pytest.mark.parametrize(
    ("by", "titles"),
    [("project", "Project"), ("modality", "Kind"), ("model", "Model"), ("day", "Day")],
)
def test_by_chooses_one_table(spent: Book, run: Run, by: str, titles: str) -> None:
    lines = run("costs", "--by", by).out.splitlines()
    headings = [line.split()[0] for line in lines if " Cost " in line]
    assert headings == [titles]


def test_a_longer_period_has_a_table_of_days(spent: Book, run: Run) -> None:
    assert "Day " not in run("costs").out
    result = run("costs", "--period", "7d", "--project", "prod")
    assert result.line("Costs of the last 7 days").endswith("project prod")
    assert "Day " in result.out
    assert "$0.0081 " in result.out
    assert "staging" not in result.out


@pytest.mark.parametrize("period", ["today", "yesterday", "7d", "30d", "month", "all"])
def test_the_json_of_costs_is_what_reports_answers(spent: Book, run: Run, period: str) -> None:
    assert run("costs", "--period", period, "--json").json == reported(spent, "costs", period)
    of_prod = run("costs", "--project", "prod", "--period", period, "--json").json
    assert of_prod == reported(spent, "costs", period, "prod")


def test_the_json_of_projects_is_what_reports_answers(spent: Book, run: Run) -> None:
    assert run("projects", "--json").json == reported(spent, "projects")
    assert run("project", "show", "dev", "--json").json == reported(spent, "project", "dev")


def test_one_project_is_shown_with_its_week(spent: Book, run: Run) -> None:
    result = run("project", "show", "prod")
    assert result.line("Budget ") == "Budget $50.00 a day, then throttle"
    assert result.line("Left ") == "Left $37.60"
    assert result.line("Last 7 days").startswith("Last 7 days $12.41 for 3 requests")
    assert result.line("Own providers") == "Own providers openai"
    assert result.line("Source") == f"Source yaml, line 5 of {spent.config.path}"
    assert result.line("cartesia/sonic-3").startswith("cartesia/sonic-3 tts $0.0081")


def test_a_project_without_a_budget_and_without_requests_is_shown(book: Book, run: Run) -> None:
    result = run("project", "show", "lab")
    assert result.line("Budget ") == "Budget no limit"
    assert result.line("Spent today") == "Spent today $0.00"
    assert result.line("Last 7 days") == "Last 7 days –"


def test_what_another_program_wrote_is_counted(spent: Book, run: Run) -> None:
    with sqlite3.connect("voicegw.db") as database:
        database.execute("UPDATE usage SET cost_nanos = 0 WHERE project = 'staging'")
    database.close()
    assert run("costs", "--project", "staging", "--json").json["total_cost"] == 0.0


@pytest.mark.parametrize("command", ["costs", "logs", "calls", "verify"])
def test_a_ledger_that_does_not_exist_is_explained_and_not_made(
    config: Path, run: Run, command: str
) -> None:
    result = run(command)
    assert result.status == 0
    assert result.out.startswith(f"Nothing recorded yet: there is no ledger at {Path.cwd()}/")
    assert result.err == ""
    assert sorted(path.name for path in Path().iterdir()) == ["voicegw.yaml"]


@pytest.mark.parametrize("command", ["costs", "logs", "calls", "verify", "projects"])
def test_programs_get_an_answer_without_a_ledger(config: Path, run: Run, command: str) -> None:
    assert run(command, "--json").status == 0
    assert not Path("voicegw.db").exists()


def test_a_day_without_requests_is_explained(spent: Book, run: Run) -> None:
    assert run("costs", "--period", "yesterday").out.startswith(
        "Nothing recorded: no request yesterday, "
    )


def test_everything_works_without_a_configuration(folder: Path, run: Run) -> None:
    assert run("projects").line("default") == "default no limit $0.00 pink 0"
    assert run("costs", "--json").json["requests"] == 0
    assert list(folder.iterdir()) == []
