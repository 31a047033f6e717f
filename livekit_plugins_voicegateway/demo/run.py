"""``voicegw demo``, from its first line to its exit status."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from ..cli.terminal import complain, emit
from ..errors import VoiceGatewayError
from .directory import CONFIG, LOG, clear_directory

__all__ = ["main"]


def main(directory: Path, models: Path = Path(".models")) -> int:
    """Hold the demo's conversations and show what they cost.

    Args:
        directory: Where the demo's configuration, ledger and log go. What an earlier demo left
            there is overwritten, and nothing else.
        models: Folder with weights of local models.

    Returns:
        Exit status: 0 when the conversations were held and all that the providers would bill was
        recorded within the promised bounds, 1 otherwise.
    """
    began_at = time.monotonic()
    log = directory / LOG
    try:
        clear_directory(directory)
        emit(_INTRODUCTION)
        _log_to(log)
        faults = _perform(directory, models)
    except VoiceGatewayError as error:
        complain(str(error))
        return 1
    except TimeoutError:
        complain(f"the conversations took too long and were given up. What happened: {log}")
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        logging.getLogger(__name__).exception("the demo failed")
        complain(f"the demo failed: {type(error).__name__}: {error}. What happened: {log}")
        return 1
    if faults:
        complain("\n".join([*faults, f"What happened: {log}"]))
        return 1
    emit(_next_steps(directory, time.monotonic() - began_at))
    return 0


_INTRODUCTION = """\
Calls side by side in one process, each through the gateway on the account of its own project.
Callers, voice activity detection, sessions and plugins are real; the providers are stand-ins on
this machine, so there is no key, no account and no internet.
"""

_WITH_LOCAL_MODELS = """\
While production's caller speaks for the last time, its budget is spent: whisper, a small language
model and Kokoro, all of them real and on this machine, take over. Development has only those.
"""


def _perform(directory: Path, models: Path) -> tuple[str, ...]:
    """Hold the conversations, show the outcome, and return its faults."""
    from .local_models import find_local_models

    local = find_local_models(models)
    if local.weights is not None:
        emit(_WITH_LOCAL_MODELS)
    for line in local.left_out:
        emit(f"Left out: {line}\n")
    emit("\n")
    # livekit-agents takes seconds to import: the introduction is read meanwhile
    import asyncio

    from .performance import perform, show_outcome
    from .script import conversations

    outcome = asyncio.run(perform(directory, conversations(local.weights is not None), local))
    show_outcome(outcome)
    return outcome.faults


def _log_to(path: Path) -> None:
    """Keep what libraries log and warn of off the terminal: a stranger can do nothing with it."""
    logging.basicConfig(
        filename=path,
        filemode="w",
        encoding="utf-8",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    logging.captureWarnings(True)


def _next_steps(directory: Path, seconds: float) -> str:
    config = _short(directory / CONFIG)
    program = _program()
    commands = ("costs", "logs --project production", "calls", "projects", "verify")
    lines = "".join(f"  {program} {command} --config {config}\n" for command in commands)
    return f"\nDone in {seconds:.0f} s. The ledger is yours to look at:\n\n{lines}"


def _program() -> str:
    """How the reader can call ``voicegw`` from where they are."""
    without = "env -u VOICEGW_DATABASE_URL " if "VOICEGW_DATABASE_URL" in os.environ else ""
    if shutil.which("voicegw"):
        return f"{without}voicegw"
    return without + _short(Path(sys.executable).with_name("voicegw"))


def _short(path: Path) -> str:
    """The path as one would type it: relative where that is shorter."""
    return shlex.quote(min(os.path.relpath(path), str(path.absolute()), key=len))
