"""``voicegw mcp``: projects, costs and requests for a coding agent."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from .options import config_option

__all__ = ["mcp"]

_INSTALL: Final = "pip install 'livekit-plugins-voicegateway[server]'"


@click.command()
@config_option
def mcp(config: Path | None) -> None:
    """Let a coding agent ask and manage projects, over MCP.

    Speaks the Model Context Protocol over standard input and output; the agent starts it. With
    `voicegw serve` the same tools are at /mcp.
    """
    try:
        from ..server.mcp.stdio import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("livekit"):
            raise
        from ..errors import VoiceGatewayError

        raise VoiceGatewayError(
            f"the MCP server is not installed: there is no {error.name}. Run: {_INSTALL}"
        ) from error
    run(config)
