"""Step 1 of a write: lock the head and learn, in the same round trip, all that the batch has to ask.

`evidence_begin` (migration 0006) asks after it has the lock, so that it sees what the last batch wrote.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection

from config.errors import UnavailableError
from evidence.ledger import reader, settling, wire
from evidence.ledger.draft import Draft
from evidence.ledger.literals import bytes_array, bytes_element, text_array, text_element
from evidence.tlog.merkle import Frontier

MAX_SKEW = timedelta(seconds=60)


@dataclass
class Start:
    """The log as a batch finds it."""

    frontier: Frontier
    #: The time of receipt: PostgreSQL's clock, never below the last leaf's.
    at: datetime
    epoch: int
    #: Log keys in force, oldest first, and record keys; none before the first start has published them.
    log_keys: tuple[str, ...]
    record_keys: frozenset[str]
    #: Whether a hold stands that also keeps what arrives.
    holds: bool
    known: settling.Known
    #: Files among the drafts' subjects: (system id, SHA-256).
    files: frozenset[tuple[str, str]]


class Question:
    """What a batch asks, and how the answer is read."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self._keyed = [(d.actor.principal, d.idempotency.key_mac) for d in drafts if d.idempotency is not None]
        self._files = [pair for d in drafts if d.remembered is not None for pair in d.remembered.files]
        self._state = _state

    @property
    def call(self) -> wire.Call:
        return "evidence_begin", (
            self._state.epoch if self._state else None,
            text_array(text_element(principal) for principal, _ in self._keyed),
            bytes_array(bytes_element(mac) for _, mac in self._keyed),
            text_array(text_element(system) for system, _ in self._files),
            text_array(text_element(digest) for _, digest in self._files),
        )

    def start(self, answer: Mapping[str, Any]) -> Start:
        """Raises UnavailableError where nothing may be written now."""
        state = _remember(answer, self._state)
        if state.read_only_code:
            raise UnavailableError(state.read_only_reason, code=state.read_only_code, retry_after=60)
        size, now, last_at = answer["size"], *(datetime.fromisoformat(answer[name]) for name in ("now", "last_at"))
        _check_clocks(now, last_at)
        _check_seen(size)
        known = zip(*(answer[f"known_{name}"] or () for name in ("places", "requests", "indexes")), strict=True)
        return Start(
            frontier=_frontier(size, _bytes(answer["root"]), _bytes(answer["frontier"])),
            at=max(now, last_at),
            epoch=state.epoch,
            log_keys=state.log_keys,
            record_keys=state.record_keys,
            holds=state.holds,
            known={self._keyed[place - 1]: (request and _bytes(request), index) for place, request, index in known},
            files=frozenset(self._files[place - 1] for place in answer["files"] or ()),
        )


class NotBegunError(Exception):
    """The database was lost before anything was said to it: nothing is written, and asking again does no harm."""


def lock(drafts: Sequence[Draft]) -> Start:
    """Lock the head row for this transaction. Raises NotBegunError, UnavailableError where nothing may be written."""
    question = Question(drafts)
    try:
        answer = wire.ask(question.call)
    except (OperationalError, InterfaceError) as error:
        raise NotBegunError from error
    return question.start(answer)


def _bytes(text: str) -> bytes:
    """PostgreSQL's hexadecimal spelling."""
    return bytes.fromhex(text[2:])


def _frontier(size: int, root: bytes, hashes: bytes) -> Frontier:
    frontier = Frontier(size, tuple(hashes[i : i + 32] for i in range(0, len(hashes), 32)))
    if frontier.root() != root:
        raise UnavailableError(
            f"The stored root of size {size} does not follow from the stored frontier. Run manage.py check_ledger.",
            code="ledger_inconsistent",
            retry_after=60,
        )
    return frontier


def epoch() -> int:
    """The epoch as this transaction sees it now: its own records may have moved it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT epoch FROM evidence_authority WHERE id = 1")
        (found,) = cursor.fetchone()
    return int(found)


@dataclass(frozen=True)
class _State:
    """What changes seldom, as of an epoch."""

    epoch: int
    log_keys: tuple[str, ...]
    record_keys: frozenset[str]
    holds: bool
    read_only_code: str
    read_only_reason: str


_state: _State | None = None


def _remember(answer: Mapping[str, Any], remembered: _State | None) -> _State:
    """The state that an answer tells, or leaves out because it is the one that was remembered."""
    global _state
    if remembered is not None and answer["epoch"] == remembered.epoch:
        return remembered
    _state = state = _State(
        epoch=answer["epoch"],
        log_keys=tuple(answer["log_keys"] or ()),
        record_keys=frozenset(answer["record_keys"] or ()),
        holds=answer["holds"],
        read_only_code=answer["read_only_code"],
        read_only_reason=answer["read_only_reason"],
    )
    return state


def seen_epoch() -> int | None:
    """The epoch that this process's last batch has read; None before the first."""
    return _state.epoch if _state is not None else None


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
_greeted: "weakref.WeakSet[psycopg.Connection[Any]]" = weakref.WeakSet()


def greet() -> None:
    """Before the first batch on a new connection: is this still the log that the outside has seen?

    It may be an older copy, restored or promoted meanwhile. Raises UnavailableError ``ledger_behind_anchor``.
    """
    global _state
    from evidence import anchors  # they read the ledger, which this is part of

    database = wire.raw()
    if database not in _greeted:
        anchors.refuse_if_behind(reader.size())
        _state = None
        _greeted.add(database)


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
    _seen = max(_seen, size)


def forget() -> None:
    """Start over as a fresh process would: for a test that changes databases."""
    global _seen, _state
    _seen, _state = 0, None
