"""What holds for all tests."""

from __future__ import annotations

import os
import signal
import tempfile

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as shells start what runs in the background; the commands under test would inherit it, and
    # some tests interrupt them
    signal.signal(signal.SIGINT, signal.default_int_handler)

# usage that waits for a ledger goes there, and not into the home of who runs the tests
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="voicegw-tests-")
