"""The threads of a gateway: each begins when it is needed, and is waited for at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["BackgroundThread"]


class BackgroundThread:
    """A daemon thread that begins once, when it is needed first.

    Args:
        name: As debuggers show it, ``voicegateway-`` before it.
        main: What it does, until its owner tells it to end.
    """

    __slots__ = ("_lock", "_main", "_name", "_thread")

    def __init__(self, name: str, main: Callable[[], None]) -> None:
        self._name = f"voicegateway-{name}"
        self._main = main
        self._lock = threading.Lock()
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
                thread = threading.Thread(target=self._main, name=self._name, daemon=True)
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
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.is_alive()
