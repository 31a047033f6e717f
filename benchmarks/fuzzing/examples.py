"""What is known to be right: examples of the documentation, the tests and the catalogue.

A fuzzer begins with these, and goes on with what it finds to lead somewhere else.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from livekit_plugins_voicegateway.config_file.schema import SCHEMA
from livekit_plugins_voicegateway.pricing.catalogue import load_catalogue

__all__ = [
    "HOSTILE",
    "YAML_WORDS",
    "bodies",
    "configurations",
    "json_words",
    "model_strings",
    "queries",
    "shell_lines",
]

_ROOT: Final = Path(__file__).parents[2]

HOSTILE: Final = (
    "'; DROP TABLE usage; --",
    "' OR '1'='1",
    '" OR ""="',
    "'||(SELECT providers FROM managed_projects)||'",
    "%' ESCAPE '%",
    ":project",
    "?1",
    "$1",
    "\x00",
    "a\x00' UNION SELECT 1 --",
    "../../etc/passwd",
    "${VOICEGW_SECRET_KEY}",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "\N{RIGHT-TO-LEFT OVERRIDE}",
    "\N{ZERO WIDTH JOINER}\N{LINE SEPARATOR}",
    "\x1b[2J",
    "9" * 400,
    "1e999999999",
    "-0",
    "NaN",
    "%00",
    "%ED%A0%80",
    "%c0%ae",
    "\r\nx: y",
)
"""Text that is something to somebody: to SQL, a shell, a template, a browser, a terminal."""

YAML_WORDS: Final = (
    *sorted({f"{key}: " for keys in SCHEMA.values() for key in keys}),
    *("\n", "\n  ", "\n    ", "\t", "- ", "? ", ": ", ", ", "{", "}", "[", "]", "'", '"', "#"),
    *("&a ", "*a", "<<: ", "!x ", "!!int ", "|\n", ">\n", "---\n", "...\n", "%YAML 1.1\n"),
    *("${SET}", "${UNSET}", "${UNSET:-5}", "${", "prod", "none", "2027-02-30", "0x1", "1:2"),
    *("~", "no", "1e9", ".nan", ".inf", "-", "\ufeff", "\x85", "\u2028", "\\ud800", "openai/x"),
    *("per", "api_key", "base_url", "stt", "free: true", "minimum_seconds: 1"),
    *("from: 2027-01-01", "input: 1", "audio: 1", "per: minute"),
)


@cache
def configurations() -> tuple[bytes, ...]:
    """Return all YAML of the documentation, and the configurations that come with us."""
    texts = [
        text
        for file in (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md")))
        for text in re.findall(r"```ya?ml\n(.*?)```", file.read_text("utf-8"), re.DOTALL)
    ]
    files = (
        _ROOT / "voicegw.yaml",
        _ROOT / "livekit_plugins_voicegateway" / "starter.yaml",
        *sorted((_ROOT / "examples").rglob("*.yaml")),
    )
    texts += [file.read_text("utf-8") for file in files]
    return tuple(text.encode() for text in texts)


@cache
def model_strings() -> tuple[bytes, ...]:
    """Return the models of the catalogue, and those that the documentation names."""
    named = {
        name
        for file in (_ROOT / "README.md", *(_ROOT / "docs").glob("*.md"))
        for name in re.findall(r"[a-z]+/[a-z0-9][\w.:-]+[\w]", file.read_text("utf-8"))
    }
    listed = {listing.model for listing in load_catalogue()}
    bare = {"deepgram", "openai:alloy", "auto", "auto:en", "local/kokoro:af_heart", "ollama/q:3b"}
    return tuple(sorted(name.encode() for name in named | listed | bare))


@cache
def queries() -> tuple[bytes, ...]:
    """Return every address of the API and the dashboard, with all of its parameters."""
    text = (_ROOT / "docs" / "http-api.md").read_text("utf-8")
    found = {match.encode() for match in re.findall(r"/v1/[^\s`\"'<>)]*", text)}
    whole = (
        "/v1/costs?period=2026-05-01..2026-05-31&project=prod",
        "/v1/costs?period=month",
        "/v1/logs?project=prod&limit=5&modality=llm&model=openai/gpt-4.1-mini&status=failed",
        "/v1/logs?room=a%2Fb%20c&cursor=abc",
        "/v1/calls?project=prod&limit=1000&cursor=",
        "/v1/calls/call-17",
        "/v1/calls/a/b%20c",
        "/v1/projects",
        "/v1/projects/prod",
        "/v1/changes?project=prod&limit=3",
        "/v1/prices?project=prod",
        "/v1/price?model=deepgram/nova-3:multi&audio_seconds=12.5&channels=2&language=multi",
        "/v1/price?model=openai/gpt-4.1-mini&input_tokens=9&cached_input_tokens=3&output_tokens=1",
        "/v1/price?model=cartesia/sonic-3&characters=120&project=prod&connection_seconds=1",
        "/metrics",
        "/health",
        "/openapi.json",
        "/",
        "/requests?project=prod&modality=stt&model=nova-3&status=open&room=x&cursor=y",
        "/calls?project=prod",
        "/calls/call-17",
        "/calls/?room=..",
        "/projects",
        "/projects/prod?period=7d",
        "/projects/~new",
        "/projects/prod/edit",
        "/projects/prod/delete",
        "/prices",
        "/login?next=/requests",
        "/static/dashboard.css",
        "/static/../server.py",
    )
    return tuple(sorted({*found, *(text.encode() for text in whole)}))


_WHOLE_PROJECT: Final[dict[str, Any]] = {
    "project_id": "support",
    "name": "Support line",
    "description": "For\nthose who call",
    "daily_budget": "12.50",
    "budget_action": "throttle",
    "tags": ["production", "support"],
    "fallback": {"stt": "local/whisper-base", "llm": "ollama/qwen2.5:3b", "tts": "none"},
    "pricing": {
        "deepgram/nova-3": {"audio": 0.004, "per": "minute"},
        "openai/gpt-4.1-mini": {"input": 0.35, "cached_input": 0.09, "output": 1.4, "per": 1000000},
        "cartesia/sonic-3": [
            {"characters": 45, "per": 1000000},
            {"characters": 40, "per": 1000000, "from": "2027-01-01"},
        ],
        "acme/in-house": {"free": True},
    },
    "providers": {
        "openai": {"api_key": "sk-1"},
        "deepgram": {"api_key": "k", "stt": {"base_url": "https://x.example"}},
        "cartesia": None,
    },
}


@cache
def bodies() -> tuple[bytes, ...]:
    """Return projects as they are made and changed over HTTP."""
    parts: list[dict[str, Any]] = [
        _WHOLE_PROJECT,
        {"project_id": "lab"},
        {"project_id": "lab", "fallback": "none", "daily_budget": 0, "tags": []},
        {"daily_budget": 35.5, "tags": ["production"]},
        {"daily_budget": None, "name": None, "providers": None, "pricing": None, "fallback": None},
        *({name: value} for name, value in _WHOLE_PROJECT.items()),
    ]
    return tuple(json.dumps(part).encode() for part in parts)


def json_words() -> tuple[str, ...]:
    """Return what JSON of ours is made of."""
    names = [*_WHOLE_PROJECT, "stt", "llm", "tts", "api_key", "base_url", "audio", "per", "minute"]
    names += ["input", "output", "characters", "free", "from", "openai", "local/kokoro", "none"]
    plain = ["null", "true", "false", "0", "-1", "1e400", "1E-400", "NaN", "\\u0000", "\\ud800"]
    return (*(json.dumps(name) for name in names), *plain, "[[[[", "}}", ",", ":", "{", "[]")


@cache
def shell_lines() -> tuple[bytes, ...]:
    """Return commands as they are typed, an argument on a line."""
    lines = (
        "costs --period 7d --project prod",
        "costs --period 2026-05-01..2026-05-31 --by model --json",
        "projects --json",
        "project show prod",
        "project create lab --name Lab --daily-budget 12.50 --budget-action block --tag a",
        "project update lab --daily-budget none --no-tags --description x",
        'project create lab --fields {"tags":["x"]}',
        "project delete lab --yes",
        "project changes prod --limit 3",
        "logs --project prod --limit 5 --modality llm --model openai/gpt-4.1-mini --status failed",
        "logs --room call-17 --json --cursor abc",
        "calls --project prod --limit 10",
        "calls call-17 --json",
        "price deepgram/nova-3:multi --audio-seconds 12.5 --language multi",
        "price openai/gpt-4.1-mini --input-tokens 9 --output-tokens 3 --project prod --json",
        "price cartesia/sonic-3 --characters 120",
        "prices --project prod --json",
        "verify --json",
        "export --what daily --format csv",
        "--version",
        "--help",
    )
    return tuple(line.replace(" ", "\n").encode() for line in lines)
