"""The one logger of the package, named as LiveKit names its plugins' loggers."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

__all__ = ["harmless", "logger"]

P = ParamSpec("P")

logger = logging.getLogger("livekit.plugins.voicegateway")

# aiosqlite logs every statement at DEBUG, which is what LiveKit's console and `dev` show: four
# lines a second would bury the conversation
logging.getLogger("aiosqlite").setLevel(logging.INFO)


def harmless(action: Callable[P, None]) -> Callable[P, None]:
    """Return ``action`` for a place that must not fail with it: what it raises is logged."""

    @functools.wraps(action)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            action(*args, **kwargs)
        except Exception:
            logger.exception("VoiceGateway failed in %s; please report this", action.__qualname__)

    return guarded
