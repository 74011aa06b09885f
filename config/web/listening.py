"""The socket of one process of the web server."""

import socket

_BACKLOG = 2048


def listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """A listening socket. A shared one is one of several at the same port, each of a process of its own, between which
    the kernel divides connections evenly: at one socket for all, those that come together would gather at whoever
    wakes up first. Raises OSError, for one that is not shared also where others share the port."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
