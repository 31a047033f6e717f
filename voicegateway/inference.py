"""``voicegateway.inference`` is `livekit_plugins_voicegateway.inference`, the same module object."""

import sys

from livekit_plugins_voicegateway import inference

sys.modules[__name__] = inference
