"""How often the key of a record came again (R4.1): answered as before, or refused because the request was another.

Counts are kept in memory and added to their table in one statement every few seconds: a client that repeats itself
ten thousand times costs a row, and no write waits for it. A process that is killed loses what it has counted since.
"""

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, connection

from config.errors import ProoftrailError
from evidence.ledger import Draft, Idempotency, Placed
from evidence.ledger.draft import Outcome
from evidence.models import Repeat
from evidence.tlog.leaf import format_time

logger = logging.getLogger(__name__)

SECONDS = 2.0
#: Records and keys that are remembered between two writes; what comes on top is left out.
MOST = 20_000
#: Refusals that say: this key belongs to a record already.
_CODES = frozenset({"idempotency_key_reused", "record_disposed"})

_T = TypeVar("_T")
_lock = threading.Lock()
_replays: Counter[int] = Counter()
_refusals: Counter[tuple[str, bytes]] = Counter()
_background: "_Writer | None" = None


def settled(drafts: Sequence[Draft], outcomes: Sequence[Outcome]) -> None:
    """Count what became of drafts, once for each."""
    replays = [outcome.index for outcome in outcomes if isinstance(outcome, Placed) and outcome.replayed]
    refusals = [
        key
        for draft, outcome in zip(drafts, outcomes, strict=True)
        if isinstance(outcome, ProoftrailError) and (key := _reused(draft, outcome)) is not None
    ]
    if replays or refusals:
        _count(replays, refusals)


def answered(placed: Placed) -> None:
    """A replay is counted; anything else is not one."""
    if placed.replayed:
        _count([placed.index], [])


def refused(draft: Draft | None, error: ProoftrailError) -> None:
    """A key that came with another request is counted for its record."""
    if draft is not None and (key := _reused(draft, error)) is not None:
        _count([], [key])


def refused_key(principal: str, asked: Idempotency, error: ProoftrailError) -> None:
    """The same where there is no draft."""
    if error.code in _CODES:
        _count([], [(principal, asked.key_mac)])


def _reused(draft: Draft, error: ProoftrailError) -> tuple[str, bytes] | None:
    if error.code not in _CODES or draft.idempotency is None:
        return None
    return draft.actor.principal, draft.idempotency.key_mac


def _count(replays: Sequence[int], refusals: Sequence[tuple[str, bytes]]) -> None:
    with _lock:
        _add(_replays, replays)
        _add(_refusals, refusals)
    writer = _background
    if writer is None:
        flush()
        return
    if writer.pid != os.getpid():  # a fork has no threads
        writer = in_background()
    writer.wake.set()


def _add(counts: Counter[_T], several: Iterable[_T]) -> None:
    for which in several:
        if which in counts or len(counts) < MOST:
            counts[which] += 1


def of(index: int) -> dict[str, Any]:
    """``{replays, refusals, last_at}`` of a record, as far as written."""
    found = Repeat.objects.filter(pk=index).first()
    if found is None:
        return {"replays": 0, "refusals": 0, "last_at": None}
    return {"replays": found.replays, "refusals": found.refusals, "last_at": format_time(found.last_at)}


def flush() -> None:
    """Write what was counted. What the database does not take now is kept for the next time."""
    with _lock:
        replays, refusals = _replays.copy(), _refusals.copy()
        _replays.clear()
        _refusals.clear()
    if not replays and not refusals:
        return
    keys = list(refusals)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                _ADD,
                {
                    "indexes": list(replays),
                    "replays": list(replays.values()),
                    "principals": [principal for principal, _ in keys],
                    "macs": [mac for _, mac in keys],
                    "refusals": list(refusals.values()),
                },
            )
    except (DatabaseError, InterfaceError) as error:
        logger.warning("replays and refusals are not written yet: %s", type(error).__name__)
        with _lock:
            if len(_replays) < MOST and len(_refusals) < MOST:
                _replays.update(replays)
                _refusals.update(refusals)


# In the order of records, so that two processes never wait for each other's rows in a circle.
_ADD = """
INSERT INTO evidence_repeat ("index", replays, refusals, last_at)
SELECT "index", sum(replays), sum(refusals), clock_timestamp() FROM (
    SELECT "index", replays, 0 AS refusals
      FROM unnest(%(indexes)s::bigint[], %(replays)s::bigint[]) AS again("index", replays)
    UNION ALL
    SELECT i."index", 0, other.refusals
      FROM unnest(%(principals)s::text[], %(macs)s::bytea[], %(refusals)s::bigint[]) AS other(principal, mac, refusals)
      JOIN evidence_idempotency i ON i.principal = other.principal AND i.key_mac = other.mac
) AS counted GROUP BY "index" ORDER BY "index"
ON CONFLICT ("index") DO UPDATE SET replays = evidence_repeat.replays + excluded.replays,
    refusals = evidence_repeat.refusals + excluded.refusals, last_at = excluded.last_at
"""


# -- the web server's processes ----------------------------------------------------------------------------------------


class _Writer:
    """A thread that writes some seconds after something was counted, with a connection that it gives back."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="repeats", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self.wake.set()
        self._thread.join()

    def _run(self) -> None:
        while self.wake.wait() and not self._stopped.wait(SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        self.wake.clear()
        flush()
        connection.close()


def in_background() -> _Writer:
    """Have this process write its counts by a thread of its own. The web server calls it once."""
    global _background
    _background = _Writer()
    return _background


def stop() -> None:
    """Write what is left; the process writes its counts at once again."""
    global _background
    writer, _background = _background, None
    if writer is not None and writer.pid == os.getpid():
        writer.stop()
