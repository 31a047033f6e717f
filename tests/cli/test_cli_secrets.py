"""No key ever reaches the terminal, whatever is asked and however it fails."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.command_line import Run

MARK = "k3y-0f-s0mebody"

SECRET = base64.urlsafe_b64encode(f"{MARK}-seals-it-all".encode().ljust(32)[:32]).decode()

CONFIG = f"""\
database: {{url: "sqlite:///voicegw.db"}}
projects:
  prod:
    daily_budget: 5
    providers:
      openai: {{api_key: "sk-{MARK}-1", temprature: "{MARK}-2"}}
      deepgram: {{api_key: "${{MARKED_KEY}}", stt: {{api_key: "{MARK}-3"}}}}
      cartesia: {{api_key: "${{UNSET_KEY:-{MARK}-4}}"}}
server: {{token: "{MARK}-5"}}
"""

BROKEN = (
    CONFIG
    + f"""\
providers:
  openai: "{MARK}-6"
  groq: {{api_key: ["{MARK}-7"]}}
  rime: {{api_key: "${{{MARK}-8"}}
default_project: nobody
"""
)

COMMANDS = [
    "check",
    "check --json",
    "projects",
    "projects --json",
    "project show prod",
    "project show prod --json",
    "project show other",
    "costs",
    "costs --period x",
    "logs --json",
    "calls",
    "price openai/gpt-4.1 --input-tokens 5 --project prod",
    "prices --json",
    "verify",
    "init",
    "project create acme --key openai:MARKED_KEY",
    "project update acme --key openai:MARKED_KEY --json",
    "project changes acme --json",
    "project rotate-keys",
    "project show acme --json",
    "export --what costs",
    "project delete acme --yes --json",
]


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("text", [CONFIG, BROKEN], ids=["right", "broken"])
def test_no_key_is_shown(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, text: str, debug: bool
) -> None:
    Path("voicegw.yaml").write_text(text)
    monkeypatch.setenv("MARKED_KEY", f"{MARK}-9")
    monkeypatch.setenv("RIME_API_KEY", f"{MARK}-10")
    monkeypatch.setenv("VOICEGW_SECRET_KEY", SECRET)
    monkeypatch.setenv("VOICEGW_DEBUG", "1" if debug else "")
    statuses = set()
    for command in COMMANDS:
        result = run(*command.split())
        statuses.add(result.status)
        said = result.out + result.err
        assert MARK not in said, command
        assert SECRET not in said, command
        assert base64.b64encode(MARK.encode()).decode()[:12] not in said, command
    assert statuses == {0, 1, 2} if text == CONFIG else {1, 2}
