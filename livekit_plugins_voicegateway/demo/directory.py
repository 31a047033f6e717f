"""The demo's directory: a configuration and a ledger of its own, apart from the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import VoiceGatewayError

__all__ = ["CONFIG", "LEDGER", "LOG", "clear_directory", "write_config"]

CONFIG = "voicegw.yaml"
LEDGER = "voicegw.db"
LOG = "demo.log"

_MARK = "# Written by `voicegw demo`"
_HEADER = f"""\
{_MARK}, and written anew by the next one. The providers were stand-ins on
# loopback, and are gone; the ledger beside this file stays.
"""


def clear_directory(directory: Path) -> None:
    """Make the demo's directory, and remove the ledger and the log that an earlier demo left there.

    Raises:
        VoiceGatewayError: It holds a configuration or a ledger that no demo has written, and
            nothing was touched; or it cannot be written to.
    """
    config, ledger = directory / CONFIG, directory / LEDGER
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = next((path for path in (config, ledger) if path.exists()), None)
        if found is not None and not _is_ours(config):
            raise VoiceGatewayError(
                f"{found} was not written by a demo, and was left as it is. "
                "Give the demo a directory of its own: voicegw demo --directory DIR"
            )
        for suffix in ("", "-wal", "-shm"):
            ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)
        (directory / LOG).write_bytes(b"")
    except OSError as error:
        raise VoiceGatewayError(
            f"the demo cannot write to {directory}: {error.strerror}. "
            "Name another place: voicegw demo --directory DIR"
        ) from None


def write_config(directory: Path, configuration: Mapping[str, object]) -> Path:
    """Write the demo's voicegw.yaml, marked as its own.

    Returns:
        The file.
    """
    import yaml

    path = directory / CONFIG
    text = yaml.safe_dump(dict(configuration), sort_keys=False)
    path.write_text(_HEADER + text, encoding="utf-8")
    return path


def _is_ours(config: Path) -> bool:
    if not config.exists():
        return False
    with config.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(_MARK)
