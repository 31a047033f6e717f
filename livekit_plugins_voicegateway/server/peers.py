"""Which user of this machine has opened a connection to us.

Loopback is shared: whoever can log in to a machine can connect to 127.0.0.1 on it. A server without
a token is for the user who has started it, and so looks the other end of a connection up in the
kernel's table of sockets. Linux has such a table; elsewhere nobody can tell, and a machine with
several users needs a token.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal

__all__ = ["Owner", "can_tell_users", "owner_of"]

Owner = Literal["ours", "other", "unknown"]
"""Whose a connection is: of the user who runs this process, or of root; of another user; or gone
before it could be looked up."""

Address = tuple[str, int]

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def owner_of(client: Address, server: Address) -> Owner:
    """Return whose the other end of a connection within this machine is.

    Args:
        client: Address and port of the other end.
        server: Address and port of our end.
    """
    for table in _TABLES:
        try:
            lines = table.read_bytes()
        except OSError:
            continue
        for ends in _spellings(client, server):
            at = lines.find(ends)
            if at < 0:
                continue
            # state, queues, timer, retransmits, user, timeout, inode (man 5 proc)
            fields = lines[at + len(ends) : lines.find(b"\n", at)].split()
            uid, inode = int(fields[4]), int(fields[6])
            if inode == 0:
                # closed by its owner, and shown as root's from then on
                return "unknown"
            return "ours" if uid in (os.geteuid(), 0) else "other"
    return "unknown"


def can_tell_users() -> bool:
    """Return whether `owner_of` works on this machine, by asking it about ourselves."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        with (
            closing(socket.create_server(("127.0.0.1", 0))) as listener,
            closing(socket.create_connection(listener.getsockname(), timeout=5)) as client,
        ):
            return owner_of(client.getsockname(), listener.getsockname()) == "ours"
    except (OSError, ValueError, IndexError):
        return False


def _spellings(client: Address, server: Address) -> Sequence[bytes]:
    """The two ends as the tables write them, an IPv4 address also as IPv6 sockets have it."""
    first, second = (ip_address(end[0].partition("%")[0]) for end in (client, server))
    pairs = [(first, second)]
    if isinstance(first, IPv4Address) and isinstance(second, IPv4Address):
        pairs.append((_mapped(first), _mapped(second)))
    elif (
        isinstance(first, IPv6Address)
        and isinstance(second, IPv6Address)
        and first.ipv4_mapped is not None
        and second.ipv4_mapped is not None
    ):
        pairs.append((first.ipv4_mapped, second.ipv4_mapped))
    return [
        f" {_hex(one)}:{client[1]:04X} {_hex(other)}:{server[1]:04X} ".encode()
        for one, other in pairs
    ]


def _mapped(address: IPv4Address) -> IPv6Address:
    return IPv6Address(f"::ffff:{address}")


def _hex(address: IPv4Address | IPv6Address) -> str:
    """An address as the kernel prints it: words of four bytes, each in the machine's order."""
    packed = address.packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
