"""The pool of database connections that the threads of a web worker share."""

from django.db import connection


def leave_connection() -> None:
    """After an error of the database: give this thread's connection back. Where it died, the idle ones of the pool
    are replaced too, all at once: they died with the same server.

    Asked for one by one (CONN_HEALTH_CHECKS) the pool waits longer after each dead one it finds, 10 seconds in all.
    Testing them now is too early: a backend may outlive its server by moments.
    """
    raw = connection.connection
    died = raw is not None and raw.closed
    connection.close()
    pool = getattr(connection, "pool", None)
    if died and pool is not None:
        pool.drain()
