"""What people and programs see of single requests, of calls, and of a ledger that is wrong."""

from __future__ import annotations

import sqlite3

import pytest
from support.command_line import Book, Run, reported

from livekit_plugins_voicegateway.cli.formats import local_time


@pytest.fixture
def called(book: Book) -> Book:
    """A call of two turns, the second one cut off, and a failure in another."""
    book.write(
        book.stt(room="support-1", ago=100, ended_at=book.now - 50),
        book.row(room="support-1", speech_id="speech_a", ago=90),
        book.tts(room="support-1", speech_id="speech_a", ago=89),
        book.row(
            room="support-1", speech_id="speech_b", ago=70, status="cancelled", estimated=True
        ),
        book.row(
            room="support-2",
            project="staging",
            ago=10,
            status="failed",
            cost_nanos=None,
            price=None,
            ttfb_ms=None,
            error="APIStatusError: 503\x1b[2J [red]overloaded[/red]\ntry later",
        ),
    )
    return book


def test_logs_are_newest_first_with_use_cost_status_and_times(called: Book, run: Run) -> None:
    result = run("logs")
    times = [line.split()[0] for line in result.out.splitlines()[4:9]]
    assert times == sorted(times, reverse=True)
    assert result.line("deepgram/nova-3") == (
        f"{times[-1]} prod stt deepgram/nova-3 $0.0072 completed "
        "1 min 30 s audio 310 ms 1.50 s support-1"
    )
    assert result.line("cancelled").endswith(
        "llm openai/gpt-4.1-mini ~$0.000177 cancelled 246 in, 49 out 310 ms 1.50 s support-1"
    )
    assert "~ rests on estimated quantities." in result.out
    assert "1 request unpriced" in result.out


def test_times_are_on_the_clock_of_the_configured_zone(called: Book, run: Run) -> None:
    entry = run("logs", "--room", "support-2", "--json").json["logs"][0]
    assert entry["started_at"].endswith("Z")
    shown = local_time(entry["started_at"], called.config.timezone, "%H:%M:%S")
    assert run("logs", "--room", "support-2").out.splitlines()[4].startswith(shown)


def test_requests_of_several_days_are_shown_with_the_day(called: Book, run: Run) -> None:
    called.write(called.row(ago=86_400, room="before"))
    yesterday = called.config.days.day_of(called.now - 86_400)
    assert run("logs").line("before").startswith(f"{yesterday} ")
    assert not run("logs", "--room", "support-1").line("deepgram").startswith("20")


def test_an_error_is_shown_and_cannot_steer_the_terminal(called: Book, run: Run) -> None:
    result = run("logs", "--status", "failed")
    assert "openai/gpt-4.1-mini: APIStatusError: 503�[2J [red]overloaded[/red] try later" in (
        result.out
    )
    assert "\x1b" not in result.out


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--project", "staging"], 1),
        (["--modality", "tts"], 1),
        (["--model", "openai/gpt-4.1-mini"], 3),
        (["--model", "nova-3"], 1),
        (["--status", "cancelled"], 1),
        (["--room", "support-1"], 4),
        (["--room", "support-1", "--modality", "llm", "--limit", "1"], 1),
    ],
)
def test_logs_are_filtered(called: Book, run: Run, options: list[str], count: int) -> None:
    assert len(run("logs", *options, "--json").json["logs"]) == count


def test_logs_and_calls_go_on_where_a_page_ended(called: Book, run: Run) -> None:
    for command, key in (("logs", "logs"), ("calls", "calls")):
        everything = run(command, "--json").json[key]
        page = run(command, "--limit", "1", "--json").json
        following = run(command, "--cursor", page["next_cursor"], "--json").json
        assert page[key] + following[key] == everything
        assert following["next_cursor"] is None
        assert (
            "There are more than these 1: --limit shows more." in run(command, "--limit", "1").out
        )


def test_the_json_of_logs_and_calls_is_what_reports_answers(called: Book, run: Run) -> None:
    assert run("logs", "--json").json == reported(called, "logs")
    assert run("calls", "--json").json == reported(called, "calls")
    assert run("calls", "support-1", "--json").json == reported(called, "call", "support-1")
    assert run("verify", "--json").json == reported(called, "verify")


def test_nothing_that_was_asked_for_is_said_to_be_nothing(called: Book, run: Run) -> None:
    result = run("logs", "--room", "nowhere")
    assert result.out == "Nothing recorded: no request that was asked for.\n"
    assert run("calls", "--project", "lab").out == (
        "Nothing recorded: no call that project lab paid for.\n"
    )


def test_calls_have_a_line_each(called: Book, run: Run) -> None:
    result = run("calls")
    assert " support-1 prod 50.0 s $0.0157 $0.0072 $0.000354 $0.0081 4 310 ms" in (
        result.line("support-1")
    )
    assert " support-2 staging 1.5 s unknown 1 unknown 1" in result.line("support-2")


def test_a_receipt_goes_turn_by_turn(called: Book, run: Run) -> None:
    result = run("calls", "support-1")
    lines = result.lines
    assert lines[0] == "support-1 prod"
    assert lines[1].endswith(f"({called.config.timezone.key}), 50.0 s")
    assert lines[2] == "$0.0157 for 4 requests · $0.000177 of it estimated"
    assert "llm 310 ms (longest 310 ms)" in lines[3]
    first, second = lines[-2:]
    assert first.startswith("1 ")
    assert first.endswith(" 310 ms 310 ms 246 49 180 $0.00828")
    assert second.endswith(" 310 ms 246 49 0 $0.000177 cut off")


def test_a_call_that_goes_on_is_shown(book: Book, run: Run) -> None:
    book.write(book.stt(room="live", status="open"))
    assert " to still going on" in run("calls", "live").out


def test_a_call_that_nobody_recorded_is_an_error(called: Book, run: Run) -> None:
    result = run("calls", "nowhere")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Error: no request was recorded in room 'nowhere'.")


@pytest.mark.parametrize("option", [["--project", "prod"], ["--limit", "50"], ["--cursor", "x"]])
def test_what_has_no_effect_on_a_receipt_is_refused(
    called: Book, run: Run, option: list[str]
) -> None:
    result = run("calls", "support-1", *option)
    assert result.status == 2
    assert f"leave {option[0]} out" in result.err


def test_a_ledger_that_adds_up_is_verified(called: Book, run: Run) -> None:
    result = run("verify")
    assert (result.status, result.err) == (0, "")
    assert result.out == "It adds up: 5 requests and 4 totals.\n"


def test_a_total_that_is_wrong_is_named_and_is_a_failure(called: Book, run: Run) -> None:
    with sqlite3.connect("voicegw.db") as database:
        database.execute("UPDATE usage_daily SET cost_nanos = 5 WHERE modality = 'tts'")
    database.close()
    result = run("verify")
    assert result.status == 1
    assert result.line("cartesia/sonic-3").endswith(
        "prod tts cartesia/sonic-3 cost_nanos 5 8,100,000"
    )
    assert "it does not add up: 1 value of usage_daily" in result.err
    as_json = run("verify", "--json")
    assert as_json.status == 1
    assert as_json.json["ok"] is False
