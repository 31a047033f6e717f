"""``voicegw demo`` as a stranger runs it, once for all tests of this file."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dashboard.dashboard_browser import DESKTOP, PHONE, Look, audit, find_chromium
from playwright.sync_api import sync_playwright
from support.web_server import web_server

from livekit_plugins_voicegateway.demo.script import CONVERSATIONS

pytestmark = pytest.mark.timeout(300)

VOICEGW = str(Path(sys.executable).with_name("voicegw"))
KEY_VARIABLES = ("API_KEY", "API_SECRET", "LIVEKIT", "VOICEGW")


@dataclass(frozen=True)
class Demo:
    finished: subprocess.CompletedProcess[str]
    folder: Path
    env: Mapping[str, str]

    @property
    def config(self) -> Path:
        return self.folder / "shown" / "voicegw.yaml"

    def ask(self, *command: str) -> Any:
        """What a reading command of ``voicegw`` says of the ledger that the demo left."""
        done = subprocess.run(
            [VOICEGW, *command, "--json", "--config", str(self.config)],
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """No key is set, a proxy that nobody answers is, and the user has a ledger of their own."""
    folder = tmp_path_factory.mktemp("stranger")
    env = {
        name: value
        for name, value in os.environ.items()
        if not any(part in name for part in KEY_VARIABLES)
    }
    env |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env["VOICEGW_DATABASE_URL"] = f"sqlite:///{folder / 'mine.db'}"
    finished = subprocess.run(
        [sys.executable, "-m", "livekit_plugins_voicegateway.demo", "shown"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
    )
    return Demo(finished, folder, env)


def test_it_succeeds_and_complains_of_nothing(demo: Demo) -> None:
    assert demo.finished.stderr == ""
    assert demo.finished.returncode == 0, demo.finished.stdout


def test_every_sentence_of_the_callers_is_shown_in_a_line_without_control_codes(
    demo: Demo,
) -> None:
    assert "\x1b" not in demo.finished.stdout
    lines = [line.split("  ") for line in demo.finished.stdout.splitlines()]
    for conversation in CONVERSATIONS:
        for turn in conversation.turns:
            said = [line for line in lines if line[-1] == turn.text]
            assert said, turn.text
            assert conversation.project in said[0]


def test_recorded_against_billed_is_shown_for_each_provider_and_kept(demo: Demo) -> None:
    _, _, table = demo.finished.stdout.partition("recorded against billed")
    rows = [line for line in table.splitlines() if line.endswith("✓")]
    assert {row.split()[0] for row in rows} == {"deepgram", "openai", "cartesia"}
    assert "✗" not in table


def test_costs_of_both_projects_are_read_from_the_ledger_it_left(demo: Demo) -> None:
    costs = demo.ask("costs")

    projects = {entry["project"]: entry for entry in costs["by_project"]}
    assert projects.keys() == {"production", "staging"}
    assert all(entry["cost"] > 0 for entry in projects.values())
    assert costs["unpriced_requests"] == 0
    assert {entry["modality"] for entry in costs["by_modality"]} == {"stt", "llm", "tts"}


def test_the_costs_shown_by_turn_add_up_to_those_of_the_ledger(demo: Demo) -> None:
    costs = {entry["project"]: entry["cost"] for entry in demo.ask("costs")["by_project"]}
    _, _, tables = demo.finished.stdout.partition("cost by turn")
    shown = [line.split()[-1] for line in tables.splitlines() if line.startswith("(all of it)")]

    assert [float(amount.removeprefix("$")) for amount in shown] == [
        pytest.approx(costs["production"], rel=0.01),
        pytest.approx(costs["staging"], rel=0.01),
    ]


def test_the_interrupted_answer_is_in_the_log_as_cancelled_and_estimated(demo: Demo) -> None:
    logs = demo.ask("logs", "--project", "production")["logs"]

    (completion,) = [row for row in logs if row["modality"] == "llm" and row["estimated"]]
    assert completion["status"] == "cancelled"
    assert completion["output_tokens"] > 0
    assert completion["cost"] > 0


def test_requests_name_room_job_and_the_speech_shown_in_the_tables(demo: Demo) -> None:
    for conversation in CONVERSATIONS:
        logs = demo.ask("logs", "--project", conversation.project)["logs"]
        assert {(row["room"], row["job_id"]) for row in logs} == {
            (conversation.room, conversation.job_id)
        }
        speeches = {row["speech_id"] for row in logs} - {None}
        assert len(speeches) == len(conversation.turns) + 1
        assert all(speech in demo.finished.stdout for speech in speeches)


def test_the_commands_that_it_prints_work_where_it_was_run(demo: Demo) -> None:
    _, _, steps = demo.finished.stdout.partition("The ledger is yours to look at:")
    commands = [line.strip() for line in steps.splitlines() if line.strip()]
    assert len(commands) == 5
    for command in commands:
        done = subprocess.run(
            shlex.split(command), cwd=demo.folder, env=demo.env, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
        assert "roduction" in done.stdout or "verify" in command


def test_nothing_of_the_users_own_is_touched(demo: Demo) -> None:
    assert sorted(path.name for path in demo.folder.iterdir()) == ["shown"]


def test_the_query_of_the_documentation_works_on_the_file(demo: Demo) -> None:
    with sqlite3.connect(demo.config.with_name("voicegw.db")) as ledger:
        rows = ledger.execute(
            "SELECT project, day, SUM(total_cost) as cost FROM project_daily_costs "
            "WHERE day >= date('now', '-7 days') GROUP BY project, day ORDER BY project, day;"
        ).fetchall()
    ledger.close()

    assert [row[0] for row in rows] == ["production", "staging"]


def test_a_reader_who_has_seen_enough_can_stop_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "livekit_plugins_voicegateway.demo", "shown"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "models" in line:
                demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate()

    assert demo.returncode == 130
    assert complaints == ""


def test_the_dashboard_shows_what_the_demo_cost(demo: Demo) -> None:
    pictures = Path(__file__).parents[2] / ".output" / "demo"
    pictures.mkdir(parents=True, exist_ok=True)
    costs = demo.ask("costs")
    calls = demo.ask("calls")["calls"]
    pages = {
        "overview": "/",
        "requests": "/requests",
        "calls": "/calls",
        "call": f"/calls/{calls[0]['room']}",
        "prices": "/prices",
        "projects": "/projects",
        "project": "/projects/production",
    }
    executable, arguments = find_chromium()
    with web_server(demo.config.parent) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        look = Look(browser, server.url)
        for name, path in pages.items():
            page = look.open(path)
            for width in (DESKTOP, PHONE):
                page.set_viewport_size({"width": width, "height": 800})
                for theme in ("light", "dark"):
                    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                    assert audit(page) == [], (name, width, theme)
                    page.screenshot(path=pictures / f"{name}-{theme}-{width}.png", full_page=True)
        shown = look.open("/").inner_text("main")
        for entry in costs["by_project"]:
            assert f"${entry['cost']:.2f}" in shown or f"${entry['cost']:.3g}" in shown
        assert f"{costs['requests']} requests" in shown
        look.close()
        browser.close()
    assert look.complaints == []
