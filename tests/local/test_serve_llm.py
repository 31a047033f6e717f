"""The small language model is served under the name of an Ollama model, and ends with its owner."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.machine import PATIENCE

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "models" / "serve_llm.py"


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """GET, or POST with a body; the answer's JSON."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_it_answers_under_its_name_reports_usage_and_ends_when_its_owner_does(
    language_model: Path,
) -> None:
    pytest.importorskip("xllamacpp")
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), "--name", "llama3.2:3b"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert ask(f"{url}/v1/models")["data"][0]["id"] == "llama3.2:3b"
        question = {"role": "user", "content": "Say hello."}
        answer = ask(
            f"{url}/v1/chat/completions",
            {"model": "llama3.2:3b", "messages": [question], "max_tokens": 8},
        )
        assert answer["choices"][0]["message"]["content"]
        assert 0 < answer["usage"]["completion_tokens"] <= 8
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
