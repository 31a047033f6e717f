"""The threads of a gateway: each begins when it is needed, and is waited for at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .bugs import report_bug

__all__ = ["BackgroundThread"]


RESTART = 1.0
"""Seconds after which a thread goes on that was thrown out of what it does by a bug."""


class BackgroundThread:
    """A daemon thread that begins once, when it is needed first, and goes on after a bug.

    Args:
        name: As debuggers show it, ``voicegateway-`` before it.
        main: What it does, until its owner tells it to end.
    """

    __slots__ = ("_ending", "_lock", "_main", "_name", "_thread")

    def __init__(self, name: str, main: Callable[[], None]) -> None:
        self._name = f"voicegateway-{name}"
        self._main = main
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it was needed yet; it may have ended since."""
        return self._thread is not None

    def begin(self) -> None:
        """Begin, unless it has already. From any thread.

        Raises:
            RuntimeError: The interpreter ends, or the system has no more threads.
        """
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._go_on, name=self._name, daemon=True)
                thread.start()
                self._thread = thread

    def is_alive(self) -> bool:
        """Whether it has begun, and not ended."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float) -> bool:
        """Wait for its end; for nothing when it has not begun.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it has ended, or never begun.
        """
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.is_alive()

    def _go_on(self) -> None:
        while True:
            try:
                self._main()
                return
            except Exception as e:
                report_bug(f"go on in {self._name}", e)
            if self._ending.is_set():
                return
            self._ending.wait(RESTART)
