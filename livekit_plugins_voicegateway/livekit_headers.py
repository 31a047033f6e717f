"""Keeps LiveKit's own headers, a hosted worker's token among them, from third parties."""

from __future__ import annotations

from typing import Any

__all__ = ["strip_livekit_headers"]


def strip_livekit_headers(instance: Any) -> None:
    """Have a plugin's client send none of them.

    Inside a job the OpenAI plugins send ``X-LiveKit-*`` with every request, to whatever address
    they are given (``inference/llm.py`` adds them in ``LLMStream._run``).
    """

    async def strip(request: Any) -> None:
        for name in [name for name in request.headers if name.lower().startswith("x-livekit-")]:
            del request.headers[name]

    client: Any = getattr(instance, "_client", None)
    http_client: Any
    for http_client in (client, getattr(client, "_client", None)):
        hooks = getattr(http_client, "event_hooks", None)
        if isinstance(hooks, dict):
            http_client.event_hooks = {**hooks, "request": [*hooks.get("request", ()), strip]}
