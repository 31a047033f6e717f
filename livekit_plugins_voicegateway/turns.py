"""Which turn of a conversation a request belongs to."""

from __future__ import annotations

__all__ = ["speech_id"]


def speech_id() -> str | None:
    """LiveKit's name for the turn that is being made, as its own metrics have it."""
    try:
        # private, and the only place before the metrics arrive, which an interrupted turn
        # never sends (voice/agent_activity.py)
        from livekit.agents.voice.agent_activity import _SpeechHandleContextVar
    except ImportError:
        return None
    handle = _SpeechHandleContextVar.get(None)
    return handle.id if handle is not None else None
