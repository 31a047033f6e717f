"""``voicegateway.inference``: `livekit_plugins_voicegateway.inference`, the very same module."""

import sys
from typing import TYPE_CHECKING

from livekit_plugins_voicegateway import inference

if TYPE_CHECKING:
    from livekit_plugins_voicegateway.inference import *  # noqa: F403

sys.modules[__name__] = inference
