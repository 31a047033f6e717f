"""``python -m livekit_plugins_voicegateway.demo [DIRECTORY]``: the same as ``voicegw demo``."""

from __future__ import annotations

import sys
from pathlib import Path

from ..cli.terminal import prepare_streams
from .run import main

if __name__ == "__main__":
    prepare_streams()
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo")))
