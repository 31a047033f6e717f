"""The files of an outbox: how they are made, which they are, and who has locked them."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
from pathlib import Path
from typing import Final

__all__ = ["identity", "lock_holder", "made"]

_LOCK: Final = "hhqqi0q"
"""``struct flock`` of Linux: kind, from where, start, length, process."""


def made(path: Path) -> Path:
    """Make the file unless it is there, for its owner's eyes only; SQLite's own get its mode.

    Raises:
        OSError: It cannot be made, or its folder belongs to somebody else.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if hasattr(os, "geteuid") and folder.st_uid not in (os.geteuid(), 0):
        # in a folder for everybody's files somebody may have been there before us
        raise PermissionError(errno.EPERM, f"the folder {path.parent} belongs to another user")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at a path; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def lock_holder(path: Path) -> int | None:
    """Which other process has a lock on a file.

    A process that has one itself must not ask: closing the file ends all its locks on it.

    Returns:
        Its id; 0 for one that cannot be seen from here; None when there is none, and where the
        system does not tell (all but Linux).
    """
    if sys.platform != "linux":
        return None
    import fcntl

    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        any_lock = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        found = fcntl.fcntl(file, fcntl.F_GETLK, any_lock)
    except OSError:
        return None
    finally:
        os.close(file)
    kind, _, _, _, pid = struct.unpack(_LOCK, found)
    return None if kind == fcntl.F_UNLCK else int(pid)
