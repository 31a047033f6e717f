"""Registers VoiceGateway with livekit-agents; imported once, by whoever needs livekit-agents.

A worker's forkserver imports ``package`` of each registered plugin before it forks, so the
drop-in module is named: its imports are then shared by all job processes.
"""

from __future__ import annotations

from livekit.agents import Plugin

from .log import logger
from .version import __version__


class VoiceGatewayPlugin(Plugin):
    """The plugin as livekit-agents lists it."""

    def __init__(self) -> None:
        super().__init__(
            "livekit.plugins.voicegateway",
            __version__,
            "livekit_plugins_voicegateway.inference",
            logger,
        )


Plugin.register_plugin(VoiceGatewayPlugin())
