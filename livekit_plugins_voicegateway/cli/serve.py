"""``voicegw serve``: HTTP API, dashboard, MCP and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from .options import config_option
from .terminal import complain, emit

__all__ = ["serve"]

_INSTALL: Final = "pip install 'livekit-plugins-voicegateway[server]'"

_SHORT_TOKEN: Final = 16
"""Characters below which a token could be found by trying."""


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen, before `server.host`.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="N",
    help="TCP port, before `server.port`; 0 takes any that is free.",
)
@config_option
def serve(host: str | None, port: int | None, config: Path | None) -> None:
    """Serve the dashboard, the HTTP API, MCP and metrics.

    Without a token (VOICEGW_TOKEN) only this machine is answered.
    """
    from ..config import load_config
    from ..errors import VoiceGatewayError
    from ..server.listener import address, listen

    loaded = load_config(config)
    token = loaded.server.token
    where = host if host is not None else loaded.server.host
    with listen(where, port if port is not None else loaded.server.port, token) as listener:
        try:
            from ..server.run import run
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("livekit"):
                raise
            raise VoiceGatewayError(
                f"the server is not installed: there is no {error.name}. Run: {_INSTALL}"
            ) from error

        if token is not None and len(token) < _SHORT_TOKEN:
            complain(
                f"the token has {len(token)} characters, and could be found by trying: "
                "`openssl rand -hex 24` makes a better one."
            )

        def started() -> None:
            url = f"http://{address(where, listener.getsockname()[1])}"
            who = "whoever has the token" if token else "this machine only (there is no token)"
            emit(f"Listening on {url} for {who}. Ctrl-C ends it.\n")

        run(loaded, listener, started)
