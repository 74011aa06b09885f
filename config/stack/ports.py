"""Free ports on loopback."""

import random
import socket
from collections.abc import Iterable

#: SeaweedFS adds this to a port for its gRPC twin.
GRPC_OFFSET = 10_000
#: Below every system's ephemeral range, twins included, so that no outgoing connection takes one meanwhile.
_CHOICE = range(12_000, 22_000)


def is_free(port: int) -> bool:
    """Whether something could listen on 127.0.0.1:port now, on any interface."""
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 -- tried and closed, never listened on
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def choose(count: int, *, taken: Iterable[int] = ()) -> list[int]:
    """``count`` ports which are free together with their gRPC twins."""
    used = set(taken)
    chosen: list[int] = []
    candidates = random.SystemRandom().sample(_CHOICE, len(_CHOICE))
    for port in candidates:
        if len(chosen) == count:
            break
        if port not in used and is_free(port) and is_free(port + GRPC_OFFSET):
            chosen.append(port)
    return chosen
