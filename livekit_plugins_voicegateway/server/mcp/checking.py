"""The tool ``check``: what ``voicegw check --json`` says, asked of a process of its own.

A check imports the plugins that the configuration names, which takes seconds, brings all of
livekit-agents, and runs other people's code. None of that belongs into a server that answers others
meanwhile; and a new process reads the file as it is now.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ...errors import VoiceGatewayError

__all__ = ["run_check"]

LONGEST: Final = 120.0
"""Seconds after which a check is given up; the plugins of a full installation take 10."""


async def run_check(config_path: Path | None) -> Mapping[str, Any]:
    """Check a configuration.

    Args:
        config_path: The file; None for the one that is found.

    Returns:
        A `checks.CheckAnswer`.

    Raises:
        VoiceGatewayError: There is no answer; says why.
    """
    named = [] if config_path is None else ["--config", str(config_path)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __package__.partition(".")[0],
        "check",
        "--json",
        *named,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LONGEST):
            out, err = await process.communicate()
    except TimeoutError:
        raise VoiceGatewayError(
            f"the check did not end within {LONGEST:.0f} s; run `voicegw check` in a shell"
        ) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        answer = json.loads(out)
    except ValueError:
        said = err.decode(errors="replace").strip().removeprefix("Error: ")
        raise VoiceGatewayError(said or "the check said nothing; run `voicegw check`") from None
    if not isinstance(answer, dict):
        raise VoiceGatewayError("the check gave no answer; run `voicegw check` in a shell")
    return answer
