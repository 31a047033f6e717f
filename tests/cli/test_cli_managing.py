"""Projects made, changed and deleted in the shell, with their keys in nobody's sight."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import COMMAND, Book, Run

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.managed import ProjectCatalogue

KEY = "sk-0f-s0mebody-5d1c"


def secret(number: int = 1) -> str:
    return base64.urlsafe_b64encode(bytes([number]) * 32).decode()


@pytest.fixture
def sealed(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration, and what keys are encrypted with."""
    monkeypatch.setenv("VOICEGW_SECRET_KEY", secret())
    return config


def stored_key(project_id: str, provider: str, option: str = "api_key") -> object:
    """What a worker would use, as it stands in the ledger."""
    import asyncio

    async def ask() -> object:
        config = load_config()
        async with make_ledger(config.database_url, read_only=True) as ledger:
            catalogue = ProjectCatalogue(config, ledger, env=os.environ)
            await catalogue.refresh()
            options = catalogue.config.provider_options(project_id, provider)
            assert options is not None
            return options.resolve("llm", os.environ)[option]

    return asyncio.run(ask())


def test_a_project_is_made_and_every_command_knows_it(config: Path, run: Run) -> None:
    made = run(
        *("project", "create", "acme", "--name", "Acme Ltd", "--description", "Their hotline"),
        *("--daily-budget", "12.50", "--budget-action", "throttle"),
        *("--tag", "staging", "--tag", "acme", "--json"),
    )
    assert made.status == 0
    assert {
        "project_id": "acme",
        "name": "Acme Ltd",
        "description": "Their hotline",
        "daily_budget": 12.5,
        "budget_action": "throttle",
        "tags": ["staging", "acme"],
        "accent": "yellow",
        "source": "managed",
    }.items() <= made.json.items()
    assert run("project", "show", "acme", "--json").json == made.json
    assert made.json in run("projects", "--json").json["projects"]
    assert "Source managed" in run("project", "show", "acme").lines
    assert run("costs", "--project", "acme").status == 0
    assert run("logs", "--project", "acme").status == 0
    assert run("price", "deepgram/nova-3", "--audio-seconds", "9", "--project", "acme").status == 0


def test_what_is_not_named_stays(config: Path, run: Run) -> None:
    run("project", "create", "acme", "--daily-budget", "5", "--tag", "test", "--name", "Acme")
    changed = run("project", "update", "acme", "--budget-action", "block", "--json").json
    assert (changed["daily_budget"], changed["tags"], changed["name"]) == (5, ["test"], "Acme")
    assert changed["budget_action"] == "block"
    freed = run("project", "update", "acme", "--daily-budget", "none", "--no-tags", "--json").json
    assert (freed["daily_budget"], freed["tags"]) == (None, [])


def test_more_fields_come_as_json(config: Path, run: Run) -> None:
    Path("acme.json").write_text(
        json.dumps(
            {
                "daily_budget": 4,
                "name": "From the file",
                "pricing": {"acme/in-house": {"free": True}},
            }
        )
    )
    made = run("project", "create", "acme", "--fields", "acme.json", "--name", "Acme", "--json")
    assert (made.json["daily_budget"], made.json["name"]) == (4, "Acme")
    entries = run("prices", "--project", "acme", "--json").json["prices"]
    assert ("acme", "acme/in-house") in [(each["project"], each["model"]) for each in entries]


@pytest.mark.parametrize(
    "text", ["{", "[]", "\xff", '"text"', '{"daily_budget": 1e9999999999999999999}']
)
def test_what_is_no_object_of_json_is_refused(config: Path, run: Run, text: str) -> None:
    Path("acme.json").write_bytes(text.encode("latin-1"))
    result = run("project", "create", "acme", "--fields", "acme.json")
    assert result.status in (1, 2)
    assert "fault of VoiceGateway" not in result.err


def test_a_key_comes_from_a_variable(
    sealed: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_OPENAI_KEY", KEY)
    made = run("project", "create", "acme", "--key", "openai:ACME_OPENAI_KEY", "--json")
    assert made.json["providers"] == ["openai"]
    assert KEY not in made.out + made.err
    assert KEY.encode() not in Path("voicegw.db").read_bytes()
    monkeypatch.delenv("ACME_OPENAI_KEY")
    assert stored_key("acme", "openai") == KEY


def test_a_key_comes_from_standard_input(
    sealed: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
    assert run("project", "create", "acme", "--key", "openai:-").status == 0
    assert stored_key("acme", "openai") == KEY


def test_a_key_that_is_typed_is_not_shown(sealed: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "project", "create", "acme", "--key", "openai:-"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
            if written.endswith(b"Key for openai: "):
                os.write(ours, f"{KEY}\n".encode())
                written += b"\n"
    except OSError:
        pass  # the other side of the terminal has been closed
    os.close(ours)
    assert process.wait() == 0
    assert KEY.encode() not in written
    assert stored_key("acme", "openai") == KEY


@pytest.mark.parametrize(
    "text",
    [KEY, f"openai:{KEY}", f"openai={KEY}", f"openai:{KEY.replace('-', '')}", "openai", ":X"],
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(
    sealed: Path, run: Run, text: str
) -> None:
    result = run("project", "create", "acme", "--key", text)
    assert result.status == 2
    assert "s0mebody" not in result.out + result.err
    assert "variable" in result.err


def test_without_a_secret_key_no_key_is_taken(
    config: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_OPENAI_KEY", KEY)
    result = run("project", "create", "acme", "--key", "openai:ACME_OPENAI_KEY")
    assert result.status == 1
    assert "VOICEGW_SECRET_KEY" in result.err
    assert run("project", "show", "acme").status == 1


def test_reading_needs_no_secret_key(
    sealed: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_OPENAI_KEY", KEY)
    run("project", "create", "acme", "--key", "openai:ACME_OPENAI_KEY")
    monkeypatch.delenv("VOICEGW_SECRET_KEY")
    shown = run("project", "show", "acme")
    assert (shown.status, shown.err) == (0, "")
    assert "Own providers openai" in shown.lines


def test_keys_are_replaced_and_removed_by_provider(
    sealed: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "key-one")
    monkeypatch.setenv("B", "key-two")
    run("project", "create", "acme", "--key", "openai:A", "--key", "deepgram:A")
    changed = run(
        "project", "update", "acme", "--key", "openai:B", "--remove-key", "deepgram", "--json"
    )
    assert changed.json["providers"] == ["openai"]
    assert stored_key("acme", "openai") == "key-two"


def test_keys_are_encrypted_anew(sealed: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", KEY)
    run("project", "create", "acme", "--key", "openai:A")
    monkeypatch.setenv("VOICEGW_SECRET_KEY", f"{secret(2)},{secret(1)}")
    assert run("project", "rotate-keys").out == "Encrypted with the first key now: acme\n"
    assert run("project", "rotate-keys", "--json").json["current"] == ["acme"]
    monkeypatch.setenv("VOICEGW_SECRET_KEY", secret(2))
    assert stored_key("acme", "openai") == KEY
    monkeypatch.setenv("VOICEGW_SECRET_KEY", secret(3))
    failed = run("project", "rotate-keys")
    assert failed.status == 1
    assert "'acme'" in failed.err


def test_without_a_yes_nothing_is_deleted_where_nobody_can_be_asked(
    config: Path, start: Run
) -> None:
    start("project", "create", "acme")
    for options in ([], ["--json"]):
        result = start("project", "delete", "acme", *options, stdin=subprocess.DEVNULL)
        assert result.status == 2
        assert "--yes" in result.err
    assert start("project", "show", "acme").status == 0


def on_terminal(answer: str, *arguments: str) -> tuple[int, str]:
    """Run the command on a terminal, and answer what it asks."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"},
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
            if written.endswith(b"[y/N]: "):
                os.write(ours, f"{answer}\n".encode())
    except OSError:
        pass  # the other side of the terminal has been closed
    os.close(ours)
    return process.wait(), written.decode()


def test_deleting_says_what_goes_and_asks(book: Book, run: Run) -> None:
    run("project", "create", "acme", "--name", "Acme Ltd", "--daily-budget", "7")
    book.write(
        book.row(project="acme"),
        book.row(project="acme", cost_nanos=None, price=None),
        book.row(project="acme", status="open"),
    )
    status, shown = on_terminal("n", "project", "delete", "acme")
    assert status == 130
    for words in ("Acme Ltd", "$7.00 a day", "1 request under way", "3 requests in the ledger"):
        assert words in shown
    assert " and 1 unpriced" in shown
    assert run("project", "show", "acme").status == 0
    status, _ = on_terminal("y", "project", "delete", "acme")
    assert status == 0
    assert run("project", "show", "acme").status == 1
    # what it has used is still there
    assert run("costs", "--project", "acme", "--json").json["requests"] == 3


def test_a_yes_deletes_without_asking(config: Path, run: Run) -> None:
    run("project", "create", "acme")
    gone = run("project", "delete", "acme", "--yes", "--json")
    assert gone.json["project_id"] == "acme"
    assert run("project", "delete", "acme", "--yes").status == 1


def test_the_audit_log_says_who_did_what(config: Path, run: Run) -> None:
    assert run("project", "changes").out.startswith("No project was")
    run("project", "create", "acme", "--daily-budget", "5")
    run("project", "create", "other")
    run("project", "update", "acme", "--daily-budget", "6")
    run("project", "delete", "acme", "--yes")
    found = run("project", "changes", "acme", "--json").json["changes"]
    assert [each["action"] for each in found] == ["deleted", "changed", "created"]
    assert {each["front"] for each in found} == {"cli"}
    assert all(each["who"] for each in found)
    shown = run("project", "changes")
    assert shown.line("changed").split()[2:5] == ["acme", "changed", "daily_budget"]
    assert len(run("project", "changes", "--limit", "2", "--json").json["changes"]) == 2


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ("create prod", 1, "voicegw.yaml line"),
        ("create a/b", 2, "project_id"),
        ("create acme --daily-budget much", 2, "daily_budget"),
        ("create acme --budget-action stop", 2, "throttle"),
        ("update prod --daily-budget 1", 1, "voicegw.yaml line"),
        ("update nobody --daily-budget 1", 1, "no project 'nobody'"),
        ("update nobody", 2, "what to change"),
        ("update acme --tag a --no-tags", 2, "exclude each other"),
        ("delete prod --yes", 1, "voicegw.yaml line"),
        ("delete nobody --yes", 1, "no project 'nobody'"),
        ("rotate-keys", 1, "VOICEGW_SECRET_KEY"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_remedy(
    config: Path, run: Run, words: str, status: int, says: str
) -> None:
    result = run("project", *words.split())
    assert result.status == status
    assert says in result.err
    assert "fault of VoiceGateway" not in result.err


def test_check_reckons_with_projects_that_were_made_at_run_time(
    sealed: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", KEY)
    budget = ("--daily-budget", "5", "--budget-action", "block")
    run("project", "create", "acme", *budget, "--key", "openai:A")
    (acme,) = (
        each for each in run("check", "--json").json["projects"] if each["project_id"] == "acme"
    )
    assert (acme["source"], acme["line"]) == ("managed", None)
    assert acme["worst_overspend"] > 0
    monkeypatch.delenv("VOICEGW_SECRET_KEY")
    checked = run("check")
    assert checked.status == 0
    assert "VOICEGW_SECRET_KEY is not set" in checked.line("cannot use its own provider keys")
    assert checked.err == ""


def test_managing_imports_no_livekit(config: Path) -> None:
    program = """
import sys
from livekit_plugins_voicegateway.cli import main
try:
    main(["project", "create", "acme", "--json"])
except SystemExit as left:
    assert left.code == 0, left.code
names = ("livekit.agents", "genai_prices", "fastapi", "pydantic", "rich", "cryptography")
print([name for name in names if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
