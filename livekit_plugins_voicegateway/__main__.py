"""``python -m livekit_plugins_voicegateway`` is ``voicegw``."""

from __future__ import annotations

from .cli import main

main()
