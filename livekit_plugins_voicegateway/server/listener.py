"""The socket that the server listens on: where it may listen, and why it cannot.

Nothing heavy is imported here, so that whoever has to be refused need not wait for it.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from ..errors import VoiceGatewayError
from .hosts import is_loopback

__all__ = ["BACKLOG", "ListenError", "UnsafeListenerError", "address", "check_listener", "listen"]

BACKLOG: Final = 128
"""Connections that may wait to be accepted."""


class UnsafeListenerError(VoiceGatewayError):
    """Without a token the server would answer other machines. Says what to change.

    Args:
        host: The address that it was to listen on.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"not listening on {host}: everybody who reaches this machine could read what is spent "
            "and change projects, because there is no token. Set VOICEGW_TOKEN (`openssl rand -hex "
            "24` makes one) or `server.token` in voicegw.yaml, or listen on 127.0.0.1."
        )


class ListenError(VoiceGatewayError):
    """The server cannot listen where it was told to. Says why, and what else to try.

    Args:
        host: The address.
        port: The port.
        error: What the system said.
    """

    def __init__(self, host: str, port: int, error: OSError) -> None:
        self.host = host
        self.port = port
        where = address(host, port)
        match error.errno:
            case errno.EADDRINUSE:
                why = "another program listens there. Stop it, or choose another --port"
            case errno.EACCES:
                why = "this user may not. Ports below 1024 are the system's: choose another --port"
            case errno.EADDRNOTAVAIL:
                why = f"this machine has no address {host}. Choose another --host"
            case _:
                why = f"{error.strerror or error}. Choose another --host or --port"
        super().__init__(f"cannot listen on {where}: {why}.")


def check_listener(host: str, token: str | None) -> None:
    """Refuse to listen for other machines without a token.

    Args:
        host: Address to listen on.
        token: What requests must carry; None for nothing.

    Raises:
        UnsafeListenerError: Other machines could ask.
    """
    if token is None and not is_loopback(host):
        raise UnsafeListenerError(host)


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """Open a socket to listen on.

    Args:
        host: Address to listen on.
        port: TCP port; 0 for any that is free.
        token: What requests must carry; None for nothing.

    Raises:
        UnsafeListenerError: Other machines could ask, and there is no token.
        ListenError: The port cannot be had.
    """
    check_listener(host, token)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(host, port, error) from error
    return listener


def address(host: str, port: int) -> str:
    """Return host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
