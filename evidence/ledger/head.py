"""Step 1 of a write: lock the head and learn, in the same round trip, all that the batch has to ask.

Statements are pipelined: each sees what was committed before it ran, so that those after the lock see what the last
batch wrote.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.db import connection

from config.errors import UnavailableError
from evidence.ledger import settling
from evidence.ledger.draft import Draft
from evidence.tlog.merkle import Frontier

MAX_SKEW = timedelta(seconds=60)

_HEAD = "SELECT size, root, frontier, last_at FROM evidence_head WHERE id = 1 FOR UPDATE"
_STATE = """
SELECT clock_timestamp(), (SELECT epoch FROM evidence_authority WHERE id = 1),
  ARRAY(SELECT key_id::text FROM evidence_signingkey WHERE purpose = 'log' AND to_size IS NULL ORDER BY from_size),
  EXISTS (SELECT FROM evidence_hold WHERE record IS NULL AND released_by IS NULL)
"""
_FILES = (
    "SELECT system_id::text, sha256::text FROM evidence_artifact JOIN unnest(%s::text[], %s::text[]) AS asked(s, d)"
    " ON system_id = s AND sha256 = d"
)


@dataclass
class Start:
    """The log as a batch finds it."""

    frontier: Frontier
    #: The time of receipt: PostgreSQL's clock, never below the last leaf's.
    at: datetime
    epoch: int
    #: Log keys in force, oldest first.
    log_keys: tuple[str, ...]
    #: Whether a hold stands that also keeps what arrives.
    holds: bool
    known: settling.Known
    #: Files among the drafts' subjects: (system id, SHA-256).
    files: frozenset[tuple[str, str]]


def raw() -> "psycopg.Connection[Any]":
    """The driver's connection under Django's: for pipelines."""
    connection.ensure_connection()
    found: psycopg.Connection[Any] = connection.connection
    return found


def lock(drafts: Sequence[Draft]) -> Start:
    """Lock the head row for this transaction. Raises UnavailableError where nothing may be written now."""
    (head,), (state,), keys, files = _ask(drafts)
    size, root, hashes, last_at = head
    now, epoch, log_keys, holds = state
    _check_clocks(now, last_at)
    _check_seen(size)
    frontier = Frontier(size, tuple(hashes[i : i + 32] for i in range(0, len(hashes), 32)))
    if frontier.root() != root:
        raise UnavailableError(
            f"The stored root of size {size} does not follow from the stored frontier. Run manage.py check_ledger.",
            code="ledger_inconsistent",
            retry_after=60,
        )
    _saw_epoch(epoch)
    known = {(principal, key): (request, index) for principal, key, request, index in keys}
    return Start(frontier, max(now, last_at), epoch, tuple(log_keys), holds, known, frozenset(files))


def _ask(drafts: Sequence[Draft]) -> list[list[Any]]:
    pairs = [pair for draft in drafts if draft.remembered is not None for pair in draft.remembered.files]
    questions: list[tuple[str, Sequence[Any]]] = [(_HEAD, ()), (_STATE, ())]
    questions.append((settling.KEYS_SQL, settling.asked_keys(drafts)))
    if pairs:
        questions.append((_FILES, ([system for system, _ in pairs], [digest for _, digest in pairs])))
    database = raw()
    with connection.wrap_database_errors, database.pipeline():
        cursors = [psycopg.Cursor(database) for _ in questions]
        for cursor, (sql, parameters) in zip(cursors, questions, strict=True):
            cursor.execute(sql, parameters, prepare=True, binary=True)
        answers = [cursor.fetchall() for cursor in cursors]
    return answers if pairs else [*answers, []]


def epoch() -> int:
    """The epoch as this transaction sees it now: its own records may have moved it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT epoch FROM evidence_authority WHERE id = 1")
        (found,) = cursor.fetchone()
    return int(found)


_epoch: int | None = None


def seen_epoch() -> int | None:
    """The epoch that this process's last batch has read; None before the first."""
    return _epoch


def _saw_epoch(epoch: int | None) -> None:
    global _epoch
    _epoch = epoch


def _check_clocks(database_now: datetime, last_at: datetime) -> None:
    process_now = datetime.now(UTC)
    if abs(database_now - process_now) > MAX_SKEW or last_at - database_now > MAX_SKEW:
        raise UnavailableError(
            f"Clocks disagree: PostgreSQL says {database_now:%H:%M:%S}, this process {process_now:%H:%M:%S}, "
            f"the last record {last_at:%H:%M:%S} UTC. Nothing is written until they are within 60 seconds.",
            code="clock_skew",
            retry_after=30,
        )


# -- never behind what was seen -------------------------------------------------------------------------------------

_seen = 0


def _check_seen(size: int) -> None:
    if size < _seen:
        raise UnavailableError(
            f"The database holds {size} records, fewer than the {_seen} this process has seen: an older copy "
            "was restored. Writes stay refused; see docs/operations.md.",
            code="ledger_behind",
            retry_after=60,
        )


def saw_size(size: int) -> None:
    """This much was committed: a database with less is an older copy."""
    global _seen
    _seen = size


def forget() -> None:
    """Start over as a fresh process would: for a test that changes databases."""
    saw_size(0)
    _saw_epoch(None)
