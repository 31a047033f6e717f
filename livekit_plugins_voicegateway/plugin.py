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

    def download_files(self) -> None:
        """Fetch the weights of the local models that the configuration's projects fall back to.

        ``python -m livekit.agents download-files`` calls it for every plugin.
        """
        from .cli.download import local_models
        from .config import load_config
        from .local import download

        for model in local_models(load_config()):
            download(model.removeprefix("local/").partition(":")[0], report=logger.info)


Plugin.register_plugin(VoiceGatewayPlugin())
