"""The recordings that ship with the demo, and the real plugins to hold calls with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from livekit.plugins import cartesia, deepgram, openai
from livekit_plugins_voicegateway import demo
from livekit_plugins_voicegateway.demo.call import Turn
from livekit_plugins_voicegateway.sandbox import Sandbox

SPEECH = Path(demo.__file__).parent / "speech"
TEXTS: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text())

YOUNG_MAN = "austen-0880.wav"
AMIABLE = "austen-0930.wav"
TEN_METERS = "go-forward.wav"


def turn(name: str, **options: Any) -> Turn:
    return Turn(SPEECH / name, TEXTS[name], **options)


def plugins(sandbox: Sandbox) -> dict[str, Any]:
    """The real plugins, talking to the sandbox: what `hold_call` needs."""
    return {
        "stt": deepgram.STT(model="nova-3", base_url=sandbox.deepgram.base_url, api_key="demo-key"),
        "llm": openai.LLM(
            model="gpt-4.1-mini", base_url=sandbox.openai.base_url, api_key="demo-key"
        ),
        "tts": cartesia.TTS(
            model="sonic-3", base_url=sandbox.cartesia.base_url, api_key="demo-key"
        ),
    }
