"""``livekit.plugins.voicegateway``: where LiveKit looks for plugins; the same objects.

``python -m livekit.agents download-files`` imports the packages under ``livekit.plugins`` and
asks each registered plugin for its files, so importing this package registers the plugin.
"""

from __future__ import annotations

from typing import Any

import livekit_plugins_voicegateway as _package
from livekit_plugins_voicegateway import (
    __all__,  # noqa: F401
    plugin as _plugin,  # noqa: F401
)


def __getattr__(name: str) -> Any:
    return getattr(_package, name)


def __dir__() -> list[str]:
    return dir(_package)
