"""What holds for all tests."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as shells start what runs in the background; the commands under test would inherit it, and
    # some tests interrupt them
    signal.signal(signal.SIGINT, signal.default_int_handler)
