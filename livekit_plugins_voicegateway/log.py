"""The one logger of the package, named as LiveKit names its plugins' loggers."""

import logging

logger = logging.getLogger("livekit.plugins.voicegateway")

# aiosqlite logs every statement at DEBUG, which is what LiveKit's console and `dev` show: four
# lines a second would bury the conversation
logging.getLogger("aiosqlite").setLevel(logging.INFO)
