"""What `voicegw check` and `voicegw init` say of a configuration."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from support.command_line import Book, Run


def written(text: str) -> Path:
    path = Path("voicegw.yaml")
    path.write_text(dedent(text))
    return path


def test_the_configuration_is_explained(book: Book, run: Run) -> None:
    book.write(book.row())
    result = run("check")
    assert (result.status, result.err) == (0, "")
    assert result.line("File") == f"File {book.config.path}"
    assert result.line("Ledger") == f"Ledger sqlite:///{Path('voicegw.db').absolute()}"
    assert "opens" in result.lines
    assert result.line("Time zone").startswith(f"Time zone {book.config.timezone.key}")
    assert result.line("Project ") == "Project prod, where a worker chooses none"
    assert "prod Production · $50.00 a day, then throttle · line 5" in result.lines
    assert "fallback stt: local/whisper-large-v3, llm: ollama/qwen2.5:3b, tts: local/kokoro" in (
        result.lines
    )
    assert "lab no budget · line 23" in result.lines
    assert result.lines[-1] == "No fault found."


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ("webhook: 'https://hooks.example.com/s3cret', secret: s", []),
        ("webhook: 'http://127.0.0.1:9/s3cret', secret: s", []),
        ("webhook: '${NO_HOOK:-}'", []),
        ("webhook: 'https://hooks.example.com/s3cret'", ["not signed"]),
        ("webhook: 'http://hooks.example.com/s3cret'", ["not signed", "read on their way"]),
        ("webhook: 'https://hooks.example.com/${NO_HOOK}'", ["NO_HOOK"]),
    ],
)
def test_what_should_be_known_of_alerts_is_noted(
    folder: Path, run: Run, alerts: str, said: list[str]
) -> None:
    written(f"alerts: {{{alerts}}}\n")
    result = run("check", "--json")
    assert result.status == 0
    assert "s3cret" not in result.out
    notes = [note for note in result.json["notes"] if "alerts" in note]
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


def test_a_webhook_that_a_variable_spoils_is_a_fault(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "ftp://hooks.example.com/s3cret")
    written('alerts: {webhook: "${HOOK}"}\n')
    result = run("check", "--json")
    assert result.status == 1
    assert [problem["key_path"] for problem in result.json["problems"]] == ["alerts.webhook"]
    assert "s3cret" not in result.out


def test_the_starter_file_is_right_and_never_overwrites(folder: Path, run: Run) -> None:
    first = run("init")
    assert first.status == 0
    assert first.out.startswith(f"Wrote {folder / 'voicegw.yaml'}.\n")
    text = Path("voicegw.yaml").read_text()
    assert run("check").status == 0

    again = run("init")
    assert (again.status, again.out) == (1, "")
    assert "exists" in again.err
    assert Path("voicegw.yaml").read_text() == text


def test_the_starter_file_is_written_where_it_will_be_read(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEGW_CONFIG", "named.yaml")
    assert run("init").status == 0
    assert run("init", "--config", "other.yaml").status == 0
    assert sorted(path.name for path in folder.iterdir()) == ["named.yaml", "other.yaml"]
    assert run("check").line("File").endswith("named.yaml")
    assert run("check", "--config", "other.yaml").line("File").endswith("other.yaml")


def test_a_starter_file_that_cannot_be_written_is_an_error(folder: Path, run: Run) -> None:
    result = run("init", "--config", "nowhere/voicegw.yaml")
    assert result.status == 1
    assert "cannot be written" in result.err


KEYS = """\
    projects:
      prod:
        providers:
          openai: {api_key: "${PROD_OPENAI_KEY}"}
          deepgram: {stt: {api_key: "${DG_STT}"}, tts: {api_key: "${DG_TTS}"}}
          cartesia: {api_key: "in-the-file"}
          groq: {api_key: "${GROQ:-in-the-default}"}
      dev: {}
    providers:
      openai: {api_key: "${SHARED_OPENAI_KEY}"}
      anthropic: {}
      ollama: {}
      azure: {}
    """


def test_keys_are_named_by_where_they_come_from(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(KEYS)
    for name in ("PROD_OPENAI_KEY", "DG_STT", "ANTHROPIC_API_KEY", "RIME_API_KEY"):
        monkeypatch.setenv(name, "a-value")
    projects = {
        project["project_id"]: {key["provider"]: key for key in project["providers"]}
        for project in run("check", "--json").json["projects"]
    }
    said = {
        project: {name: (key["state"], key["says"]) for name, key in keys.items()}
        for project, keys in projects.items()
    }
    assert said["prod"] == {
        "anthropic": ("set", "key from ANTHROPIC_API_KEY"),
        "azure": ("missing", "no key: AZURE_SPEECH_KEY or AZURE_OPENAI_API_KEY is not set"),
        "cartesia": ("set", "key in the file, line 6"),
        "deepgram": ("missing", "stt: key from DG_STT; tts: no key: DG_TTS is not set"),
        "groq": ("set", "key from the default of GROQ, line 7"),
        "ollama": ("unneeded", "no key needed"),
        "openai": ("set", "key from PROD_OPENAI_KEY"),
    }
    assert said["dev"]["openai"] == ("missing", "no key: SHARED_OPENAI_KEY is not set")
    result = run("check")
    assert result.status == 0
    assert "rime key from RIME_API_KEY" in result.lines
    assert "a-value" not in result.out
    assert "in-the" not in result.out


def test_a_variable_that_is_empty_is_no_key(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    written('projects: {prod: {providers: {openai: {api_key: "${OURS}"}}}}')
    monkeypatch.setenv("OURS", "")
    assert "openai no key: OURS is empty" in run("check").lines


def test_all_faults_of_a_file_are_named_at_once(folder: Path, run: Run) -> None:
    written(
        """\
        timezone: Mars/Olympus
        projects:
          prod:
            daily_budgt: 5
            budget_action: explode
        """
    )
    result = run("check")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Error: voicegw.yaml has 3 problems:\n")
    for said in ("line 1: timezone: ", "line 4: projects.prod.daily_budgt: ", "'explode'"):
        assert said in result.err
    as_json = run("check", "--json")
    assert as_json.status == 1
    assert as_json.json["ok"] is False
    assert [problem["line"] for problem in as_json.json["problems"]] == [1, 4, 5]


def test_options_that_no_plugin_takes_are_faults(folder: Path, run: Run) -> None:
    written(
        """\
        projects:
          prod:
            providers:
              deepgram: {api_key: x, stt: {smart_formt: true}}
              mistral: {api_key: x}
        providers:
          openai: {temprature: 1}
          opnai: {api_key: x}
        """
    )
    result = run("check")
    assert result.status == 1
    assert "No fault found." not in result.out
    assert "has 4 problems:\n" in result.err
    for said in (
        "line 4: projects.prod.providers.deepgram.stt.smart_formt: ",
        "line 5: projects.prod.providers.mistral: found a provider that does not exist; "
        "expected 'mistralai'\n",
        "line 7: providers.openai.temprature: ",
        "did you mean 'temperature'?",
        "line 8: providers.opnai: ",
        "did you mean 'openai'",
    ):
        assert said in result.err


def test_a_plugin_that_is_not_installed_is_noted(folder: Path, run: Run) -> None:
    written("providers: {speechmatics: {}}")
    result = run("check")
    assert result.status == 0
    assert "run `pip install livekit-plugins-speechmatics`" in result.out


def test_a_database_that_cannot_be_opened_is_a_fault(folder: Path, run: Run) -> None:
    Path("voicegw.db").write_bytes(b"this is no database, and was none before it was broken" * 9)
    written("database: {url: 'sqlite:///voicegw.db'}")
    result = run("check")
    assert result.status == 1
    assert "cannot be used" in result.lines
    assert "is not a SQLite database" in result.err
    assert run("check", "--json").json["database"]["state"] == "failed"


def test_a_password_in_the_url_of_the_database_is_not_shown(folder: Path, run: Run) -> None:
    written("database: {url: 'postgresql://bob:hunter2@db.example/ledger'}")
    result = run("check")
    assert "postgresql://db.example/ledger" in result.out
    assert "hunter2" not in result.out + result.err


def test_a_database_whose_variable_is_not_set_is_a_fault(folder: Path, run: Run) -> None:
    written('database: {url: "${LEDGER}"}')
    result = run("check")
    assert result.status == 1
    assert "LEDGER, which is not set" in result.err


def test_a_project_chosen_in_the_environment_must_exist(
    config: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEGW_PROJECT", "prd")
    result = run("check")
    assert result.status == 1
    assert "VOICEGW_PROJECT: found 'prd'; expected one of dev, lab, prod, staging" in result.err


def test_a_file_in_which_no_project_is_the_default_is_right(folder: Path, run: Run) -> None:
    written("projects: {a: {}, b: {}}")
    result = run("check")
    assert result.status == 0
    assert result.line("Project ").startswith("Project none by default")


def test_costs_that_are_not_tracked_are_said_to_be_that(folder: Path, run: Run) -> None:
    written("cost_tracking: {enabled: false}")
    assert run("check").line("Costs") == "Costs not tracked: no metering, no budgets"


def test_a_key_that_no_provider_takes_is_not_called_one(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(
        """\
        providers:
          openai: {api_key: "${OURS}"}
          deepgram: {}
          cartesia: {api_key: "in the-file"}
        """
    )
    for name in ("OURS", "DEEPGRAM_API_KEY", "RIME_API_KEY"):
        monkeypatch.setenv(name, "a-value\n")
    lines = run("check").lines
    for provider, where in {
        "openai": "OURS",
        "deepgram": "DEEPGRAM_API_KEY",
        "cartesia": "line 4",
        "rime": "RIME_API_KEY",
    }.items():
        fault = "holds a blank, a line break or another character that no key has"
        assert f"{provider} no key: {where} {fault}" in lines
    assert "a-value" not in "".join(lines)
    assert "the-file" not in "".join(lines)


def test_budgets_that_nothing_keeps_are_said_to_be_that(folder: Path, run: Run) -> None:
    written(
        """\
        projects:
          prod: {daily_budget: 5, budget_action: block}
          dev: {}
        cost_tracking: {enabled: false}
        """
    )
    result = run("check")
    assert result.status == 0
    assert result.line("note: ").startswith("note: the budgets of prod stop nothing")
    assert "worst overspend" not in result.out
    written("cost_tracking: {enabled: false}")
    assert "note: " not in run("check").out


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("{host: 0.0.0.0}", "there is no token. Set VOICEGW_TOKEN"),
        ('{host: 0.0.0.0, token: "${OURS}"}', "OURS, which is not set"),
        ("{host: 0.0.0.0, token: 0123456789abcdef0123456789abcdef}", None),
        ("{host: 127.0.0.1}", None),
    ],
)
def test_a_server_that_would_not_start_is_noted(
    folder: Path, run: Run, server: str, why: str | None
) -> None:
    pytest.importorskip("starlette")
    written(f"server: {server}")
    result = run("check")
    assert result.status == 0
    notes = [line for line in result.lines if "`voicegw serve` would not start: " in line]
    assert len(notes) == (0 if why is None else 1)
    assert why is None or why in notes[0]


def test_a_file_that_is_not_there_is_named_with_the_command_that_writes_one(
    folder: Path, run: Run
) -> None:
    result = run("check", "--config", "nowhere.yaml")
    assert result.status == 1
    assert "nowhere.yaml has 1 problem:\n" in result.err
    assert "found no such file; expected a configuration; `voicegw init` writes one" in result.err
