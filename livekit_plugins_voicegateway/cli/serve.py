"""``voicegw serve``: HTTP API, dashboard, MCP and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from .options import config_option
from .terminal import complain, emit

__all__ = ["serve"]

_INSTALL: Final = "pip install 'livekit-plugins-voicegateway[server]'"


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

    Without a token (VOICEGW_TOKEN) only you are answered, and only on this machine.
    """
    from ..config import load_config
    from ..errors import VoiceGatewayError
    from ..server.listener import address, listen
    from ..server.sessions import SAFE_LENGTH

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

        for what, given in (("token", token), ("token of workers", loaded.server.ingest_token)):
            if given is None or len(given) >= SAFE_LENGTH:
                continue
            complain(
                f"the {what} has {len(given)} characters, and could be found by trying: "
                "`openssl rand -hex 24` makes a better one."
            )

        def started() -> None:
            url = f"http://{address(where, listener.getsockname()[1])}"
            emit(f"Listening on {url} for {_who(token)}. Ctrl-C ends it.\n")

        run(loaded, listener, started)


def _who(token: str | None) -> str:
    """Say whom the server answers."""
    if token is not None:
        return "whoever has the token"
    from ..server.peers import can_tell_users

    if can_tell_users():
        return "you only, on this machine (there is no token)"
    return (
        "this machine only (there is no token; on this system its other users cannot be told from "
        "you, and can ask, too)"
    )
