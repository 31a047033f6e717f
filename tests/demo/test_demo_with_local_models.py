"""``voicegw demo`` where there are real local models: a budget is spent in mid-utterance."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from support.machine import MODELS, without_models

from livekit_plugins_voicegateway.demo.local_models import find_local_models

pytestmark = pytest.mark.timeout(300)

VOICEGW = str(Path(sys.executable).with_name("voicegw"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The requests that the demo has recorded."""
    found = find_local_models(MODELS)
    if found.weights is None:
        without_models(found.left_out)
    folder = tmp_path_factory.mktemp("demo")
    finished = subprocess.run(
        [VOICEGW, "demo", "--directory", str(folder), "--models", str(MODELS)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "where the money stopped" in finished.stdout
    logs = subprocess.run(
        [VOICEGW, "logs", "--limit", "500", "--json", "--config", str(folder / "voicegw.yaml")],
        capture_output=True,
        text=True,
        check=True,
    )
    logged: list[dict[str, Any]] = json.loads(logs.stdout)["logs"]
    return logged


def test_local_models_took_over_from_all_three_and_cost_nothing(
    rows: list[dict[str, Any]],
) -> None:
    served = defaultdict(set)
    for row in rows:
        if row["project"] == "production":
            served[row["requested_model"]].add(f"{row['provider']}/{row['model']}")
    assert served == {
        "deepgram/nova-3": {"deepgram/nova-3", "local/whisper-base"},
        "openai/gpt-4.1-mini": {"openai/gpt-4.1-mini", "ollama/smollm2:135m"},
        "cartesia/sonic-3": {"cartesia/sonic-3", "local/kokoro"},
    }
    local = [row for row in rows if row["provider"] in ("local", "ollama")]
    assert all(row["cost"] == 0 for row in local)


def test_no_cloud_request_began_after_the_money_was_spent(rows: list[dict[str, Any]]) -> None:
    production = [row for row in rows if row["project"] == "production"]
    swapped = min(row["started_at"] for row in production if row["provider"] == "local")
    assert all(row["started_at"] < swapped for row in production if row["cost"])


def test_development_used_local_models_only_on_a_budget_of_nothing(
    rows: list[dict[str, Any]],
) -> None:
    development = [row for row in rows if row["project"] == "development"]
    assert {row["modality"] for row in development} == {"stt", "llm", "tts"}
    assert {row["provider"] for row in development} == {"local", "ollama"}
    assert all(row["status"] != "rejected" for row in development)
