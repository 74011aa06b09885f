"""The pool of database connections that the threads of a web worker share."""

from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

_T = TypeVar("_T")


def once_more(ask: Callable[[], _T]) -> _T:
    """What `ask` reads; asked again on a new connection where the old one died while nobody used it."""
    try:
        return ask()
    except (OperationalError, InterfaceError):
        if connection.connection is None:
            raise  # there is none to be had
        leave_connection(died=True)
        return ask()


def leave_connection(*, died: bool = False) -> None:
    """After an error of the database: give this thread's connection back. Where it died, the idle ones of the pool
    are replaced too, all at once: they died with the same server.

    Asked for one by one (CONN_HEALTH_CHECKS) the pool waits longer after each dead one it finds, 10 seconds in all.
    Testing them now is too early: a backend may outlive its server by moments.
    """
    raw = connection.connection
    died = died or (raw is not None and raw.closed)
    connection.close()
    pool = getattr(connection, "pool", None)
    if died and pool is not None:
        pool.drain()
