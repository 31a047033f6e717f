"""``voicegateway``: the short name of `livekit_plugins_voicegateway`; the very same objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import livekit_plugins_voicegateway as _package
from livekit_plugins_voicegateway import __all__  # noqa: F401

if TYPE_CHECKING:
    from livekit_plugins_voicegateway import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return getattr(_package, name)


def __dir__() -> list[str]:
    return dir(_package)
