"""Connections to different worker processes of one web server.

The kernel decides which worker gets a connection; a proxy in front would spread them. What is measured with as many
requests as workers must not depend on a draw: connections are opened until each is held by a worker of its own.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.memory import family

_TRIES = 50
_PATIENCE = 300.0


@contextmanager
def apart(port: int, pid: int, count: int) -> Iterator[tuple[list[socket.socket], int]]:
    """`count` connections to the server `pid`, and how many different processes hold them."""
    with ExitStack() as stack:
        first: dict[int | None, socket.socket] = {}
        others: list[socket.socket] = []
        while len(first) < count and len(others) < _TRIES:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE))
            if first.setdefault(_holder(connection, pid), connection) is not connection:
                others.append(connection)
        chosen = [*first.values(), *others][:count]
        for connection in others:
            if connection not in chosen:
                connection.close()
        yield chosen, len(first)


def _holder(connection: socket.socket, pid: int) -> int | None:
    """The process of the server's family that holds the other end, None if that cannot be seen."""
    for _ in range(50):
        inode = _inode_of_other_end(connection)
        for member in family(pid) if inode else []:
            if f"socket:[{inode}]" in _sockets(member):
                return member
        time.sleep(0.002)  # not accepted yet
    return None


def _inode_of_other_end(connection: socket.socket) -> str | None:
    own, other = connection.getsockname()[1], connection.getpeername()[1]
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    ends = (f":{other:04X}", f":{own:04X}")
    found = (line.split() for line in lines)
    return next((row[9] for row in found if row[1].endswith(ends[0]) and row[2].endswith(ends[1])), None)


def _sockets(pid: int) -> set[str]:
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(link))
    return found
