"""Alerts for tests."""

from __future__ import annotations

import time

from livekit_plugins_voicegateway.alerts.events import Alert, price_alert
from livekit_plugins_voicegateway.metering.ids import uuid7


def some_alert(model: str = "voice-1", *, at: float | None = None) -> Alert:
    """An alert about a model whose price nobody knows."""
    return price_alert(
        alert_id=f"alert_{uuid7()}",
        at=time.time() if at is None else at,
        project="prod",
        day="2027-01-15",
        modality="tts",
        provider="acme",
        model=model,
    )
