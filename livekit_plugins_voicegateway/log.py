"""The one logger of the package, named as LiveKit names its plugins' loggers."""

import logging

logger = logging.getLogger("livekit.plugins.voicegateway")
