"""docs/deploy.md: each command runs in a test or says why not, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from deploy_files import EXAMPLES, PAGE, REASONS, ROOT, blocks, load

PACKAGE = ROOT / "livekit_plugins_voicegateway"


def test_every_command_runs_in_a_test_or_says_why_it_cannot() -> None:
    found = blocks()
    assert len(found) == len(re.findall(r"^```sh$", PAGE, re.M)) > 10
    assert [one for one in found if one.stage is None and one.reason not in REASONS] == []
    assert {one.stage for one in found} == {None, "sqlite", "postgres", "compose"}


def test_commands_of_compose_name_services_and_files_that_there_are() -> None:
    services = load("compose.yaml")["services"]
    lines = [line for one in blocks() for line in one.text.splitlines()]
    commands = [line for line in lines if line.startswith("docker compose ")]
    assert len(commands) > 8
    for line in commands:
        found = re.search(r" (?:exec(?: -T)?|logs --follow|--wait|--no-deps) (\w+)", line)
        assert found is None or found[1] in services, line
        profile = re.search(r"--profile (\w+)", line)
        assert profile is None or any(
            profile[1] in one.get("profiles", ()) for one in services.values()
        )
    for path in re.findall(r"(examples/\S+)", "\n".join(lines)):
        assert list(ROOT.glob(path)), path


def test_every_file_of_the_examples_is_named() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", ".env"):
            assert f"`{path.name}{'/' if path.is_dir() else ''}`" in readme


def test_links_lead_to_pages_and_sections_that_there_are() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert len(targets) > 30
    for target in targets:
        name, _, anchor = target.partition("#")
        path = (ROOT / "docs" / name).resolve() if name else ROOT / "docs" / "deploy.md"
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def anchors(page: Path) -> set[str]:
    """The sections of a page, as links name them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "message",
    [
        "not listening on",
        "VoiceGateway cannot send usage on: ",
        "belongs to another user",
        "cannot be read by this version",
        "was migrated by a newer version",
        "refused by the ledger for what is in",
    ],
)
def test_messages_of_the_page_are_those_of_the_program(message: str) -> None:
    assert message in PAGE
    sources = [re.sub(r'"\s*\n\s*f?"', "", p.read_text()) for p in PACKAGE.rglob("*.py")]
    assert any(message in source for source in sources)


def test_rules_and_events_of_the_page_are_documented() -> None:
    monitoring = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    alerts = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    section = PAGE[PAGE.index("## Monitoring") : PAGE.index("## Sizing")]
    rules = re.findall(r"\*\*`(\w+)`\*\*", section)
    assert len(rules) == 3
    assert [rule for rule in rules if f"- alert: {rule}" not in monitoring] == []
    events = re.findall(r"`([a-z]+\.[a-z]+)`", section)
    assert [event for event in events if f"| `{event}` |" not in alerts] == []
