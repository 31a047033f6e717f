"""What docs/budgets.md shows to applications does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import utils
from support.gateways import gateway_on

from livekit_plugins_voicegateway.sandbox import Sandbox

DOCS = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text(encoding="utf-8")


def example(title: str) -> dict[str, Any]:
    """Run the Python under a heading, and return what it defines."""
    section = DOCS.split(f"\n## {title}\n")[1].split("\n## ")[0]
    [code] = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/budgets.md", "exec"), names)
    return names


@pytest.mark.parametrize(
    ("budget", "action", "voice"),
    [
        ("5.00", "throttle", "cartesia/sonic-3"),
        ("0", "throttle", "local/kokoro"),
        ("0", "block", None),
        ("0", "warn", "cartesia/sonic-3"),
    ],
)
async def test_an_application_chooses_by_itself_what_a_spent_budget_means(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    budget: str,
    action: str,
    voice: str | None,
) -> None:
    text = f"projects: {{prod: {{daily_budget: {budget}, budget_action: {action}}}}}\n"
    async with utils.http_context.open(), Sandbox() as sandbox, gateway_on(sandbox, tmp_path, text):
        assert example("In your code")["choose_voice"]("prod") == voice
    printed = capsys.readouterr().out
    assert ("prod has spent $0.00 of $0.00" in printed) == (voice is None)
