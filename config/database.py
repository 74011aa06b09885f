"""The pool of database connections that the threads of a web worker share."""

from django.db import connection


def drop_dead_connections() -> None:
    """After one connection was lost: replace every idle one that died with it, all at once.

    Asked for one by one (CONN_HEALTH_CHECKS) the pool waits longer after each dead one it finds, 10 seconds in all.
    """
    pool = getattr(connection, "pool", None)
    if pool is not None:
        pool.check()
