"""When each token was last used, without a write for each use.

A process remembers what was used and writes it down together, at most once in `settings.TOKEN_USE_INTERVAL` seconds
and only where there is news. What a process that is killed had not written is lost: the time shown is at most that
much too early. It is a courtesy to whoever looks for tokens to end; nothing hangs on it.
"""

import logging
import os
import threading
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.utils import timezone

logger = logging.getLogger(__name__)

#: Tokens remembered at most; further ones wait for the next round.
LIMIT = 10_000

_lock = threading.Lock()
_used: dict[str, datetime] = {}
_timer: threading.Timer | None = None

_WRITE = """
INSERT INTO evidence_tokenuse (token_id, last_used_at)
SELECT t.id, u.at FROM unnest(%s::text[], %s::timestamptz[]) AS u(id, at) JOIN evidence_token t ON t.id = u.id
ORDER BY t.id
ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at
  WHERE evidence_tokenuse.last_used_at < excluded.last_used_at
"""


def note(token_id: str) -> None:
    """A token has just authenticated a request."""
    global _timer
    with _lock:
        if token_id in _used or len(_used) < LIMIT:
            _used[token_id] = timezone.now()
        if _timer is None:
            _timer = threading.Timer(settings.TOKEN_USE_INTERVAL, _round)
            _timer.daemon = True
            _timer.start()


def write() -> int:
    """Write down what was used since the last time; how many tokens."""
    global _used
    with _lock:
        found, _used = _used, {}
    if found:
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, [list(found), list(found.values())])
    return len(found)


def _round() -> None:
    global _timer
    with _lock:
        _timer = None
    try:
        write()
    except DatabaseError as error:
        logger.warning("last use of tokens was not written down: %s", type(error).__name__)
    finally:
        connections.close_all()


def _forget() -> None:
    """In a forked process: its parent writes down what it noted itself; threads and locks do not come along."""
    global _lock, _used, _timer
    _lock, _used, _timer = threading.Lock(), {}, None


os.register_at_fork(after_in_child=_forget)
