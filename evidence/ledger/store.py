"""One batch, one transaction: lock the head, settle, insert, prove, sign, commit (docs/ledger.md, "A write").

1. lock the head row, read PostgreSQL's clock, check that the stored frontier folds to the stored root
2. settle idempotency keys and recheck credentials
3. admit each record
4. insert entries, payloads, what can be searched; raise the head
5. fill new tiles, sign the checkpoint, commit

A batch of ordinary records asks once and writes once, whatever its length. Records whose acceptance or tables hang on
others (`admit`, `apply`, projections of their own) take their own round trips in between.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.utils import InternalError

from config.database import leave_connection
from config.errors import InvalidError, ProoftrailError, UnavailableError
from evidence import keys, projections
from evidence.ledger import head, reader, settling, wire
from evidence.ledger.draft import Draft, Outcome, Placed
from evidence.ledger.rows import APPEND, NOTE, PARTITIONS, TILES, Row, appended
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.leaf import Leaf, format_time
from evidence.tlog.merkle import Growth, leaf_hash
from evidence.tlog.note import sign_note
from evidence.tlog.tiles import TILE
from evidence.tlog.tlog_proof import format_proof

logger = logging.getLogger(__name__)

MAX_AHEAD = timedelta(minutes=5)
PARTITION = 1_000_000
#: The most rows that one transaction carries.
MAX_BATCH = 10_000


class Batch:
    """Drafts on their way in: what is settled before the first record, and the rows so far."""

    def __init__(self, drafts: Sequence[Draft], start: head.Start) -> None:
        self.drafts = drafts
        self.start = start
        self.rights = settling.Rights(drafts, start)
        self.outcomes: dict[int, Outcome] = {}
        #: Drafts that were recorded before, and those whose key another draft of the batch has.
        self.replays: dict[int, int] = {}
        settling.settle_keys(drafts, start.known, self.outcomes, self.replays)
        self.again = settling.repeated_in_batch(drafts, self.outcomes, self.replays)
        settling.recheck(drafts, self.rights, self.outcomes, self.replays)
        self.rows: list[Row] = []
        #: Rows already inserted; what follows waits for the next flush.
        self.flushed = 0
        #: Whether a row that waits changes tables of its own when it is inserted.
        self.projects = False
        #: Whether a record of this batch may have changed rights: then the epoch is asked again.
        self.changed = False

    @property
    def waiting(self) -> list[int]:
        """Positions of drafts that are not settled before the first record."""
        settled = {*self.outcomes, *self.replays, *self.again}
        return [position for position in range(len(self.drafts)) if position not in settled]

    @property
    def at(self) -> datetime:
        return self.start.at

    @property
    def old_size(self) -> int:
        return self.start.frontier.size

    @property
    def size(self) -> int:
        return self.old_size + len(self.rows)

    @property
    def followed(self) -> bool:
        """Whether more follows from the rows that wait than their own rows: projections, or what a hold keeps."""
        return self.projects or self.start.holds

    def growth(self) -> Growth:
        return self.start.frontier.extend([row.hash for row in self.rows])


def write(drafts: Sequence[Draft]) -> list[Outcome]:
    """Append `drafts` in their order and return, for each, its place or why it was refused.

    A draft that makes the batch fail is found by halving: it fails alone. When the database is lost, every draft
    answers 503: whether the transaction was committed is unknown, and the retry's idempotency key settles it.
    """
    if len(drafts) > MAX_BATCH:
        return [
            outcome
            for start in range(0, len(drafts), MAX_BATCH)
            for outcome in write(drafts[start : start + MAX_BATCH])
        ]
    try:
        return _begun(drafts)
    except (OperationalError, InterfaceError) as error:
        leave_connection()
        return [lost(error)] * len(drafts)
    except UnavailableError as error:
        return [error] * len(drafts)
    except Exception as error:
        if len(drafts) == 1:
            return [_alone(error)]
        middle = len(drafts) // 2
        return write(drafts[:middle]) + write(drafts[middle:])


def _begun(drafts: Sequence[Draft]) -> list[Outcome]:
    """Once more where the connection had died idle: whoever wrote last is long gone, and the next one need not wait."""
    try:
        return _write_batch(drafts)
    except head.NotBegunError:
        leave_connection(died=True)
    try:
        return _write_batch(drafts)
    except head.NotBegunError as error:
        raise error.__cause__ or error from None


def lost(error: Exception) -> UnavailableError:
    """What a writer hears whose record may or may not have been written."""
    if isinstance(error.__cause__ or error, psycopg.errors.DiskFull):
        return UnavailableError(
            "The database's disk is full: nothing can be recorded until there is room. Send it again later.",
            code="database_full",
            retry_after=10,
        )
    return UnavailableError(
        "The database went away while the record was written. Send it again with the same Idempotency-Key: "
        "it is recorded once.",
        code="ledger_unavailable",
    )


def _alone(error: Exception) -> ProoftrailError:
    """What the writer of a draft that failed its batch hears. A fault of the program is raised as it is."""
    if isinstance(error, ProoftrailError):
        return error
    if not isinstance(error, DatabaseError | InternalError | ValueError):
        raise error
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    logger.warning("a record was refused by the database: %s: %s", type(error).__name__, first_line)
    return InvalidError(
        "The database does not take this record: something in it cannot be stored. Nothing of it was written; the "
        "service's log says what it was.",
        code="record_refused",
    )


def _write_batch(drafts: Sequence[Draft]) -> list[Outcome]:
    head.greet()
    with transaction.atomic():
        batch = Batch(drafts, head.lock(drafts))
        for position in batch.waiting:
            refused = _refusal(batch, drafts[position])
            if refused is not None:
                batch.outcomes[position] = refused
            else:
                accept(batch, position)
        if batch.rows:
            _finish(batch)
    head.saw_size(batch.size)
    for position, index in batch.replays.items():
        batch.outcomes[position] = reader.replay(index)
    if batch.again:
        settled = write([drafts[position] for position in batch.again])
        batch.outcomes.update(zip(batch.again, settled, strict=True))
    return [batch.outcomes[position] for position in range(len(drafts))]


# -- 3. records --------------------------------------------------------------------------------------------------------


def _refusal(batch: Batch, draft: Draft) -> ProoftrailError | None:
    """Why a draft is refused, or None. Only this may refuse: what fails later takes the batch with it."""
    if is_ahead(batch, draft):
        return InvalidError(
            f"occurred_at lies more than {MAX_AHEAD.seconds // 60} minutes ahead of the time of receipt, "
            f"{format_time(batch.at)}.",
            code="occurred_in_future",
            where="$.occurred_at",
        )
    if (cut_off := _cut_off(batch, draft)) is not None:
        return cut_off
    if draft.admit is None:
        return None
    _flush(batch)
    try:
        draft.admit(batch.at)
    except ProoftrailError as refused:
        return refused
    return None


def is_ahead(batch: Batch, draft: Draft) -> bool:
    """Whether a draft claims to have happened later than clocks may differ."""
    return draft.occurred is not None and draft.occurred - batch.at > MAX_AHEAD


def _cut_off(batch: Batch, draft: Draft) -> ProoftrailError | None:
    """Why a draft no longer counts: a record in front of it in this very batch may have ended its token or key."""
    if not (batch.projects or batch.changed or batch.rights.moved) or not settling.hangs_on_rights(draft):
        return None
    if batch.projects:
        _flush(batch)
    if batch.changed:
        batch.changed = False
        batch.rights.look_again(head.epoch())
    return batch.rights.refusal(draft) if batch.rights.moved else None


def accept(batch: Batch, position: int) -> None:
    """Give a draft the next index."""
    draft = batch.drafts[position]
    leaf = Leaf(
        kind=draft.kind.name,
        at=batch.at,
        occurred=min(draft.occurred or batch.at, batch.at),
        by=draft.actor.principal,
        scope=draft.scope,
        digest=draft.sealed.digest,
    )
    leaf_bytes = leaf.encode()
    row = Row(draft, position, batch.size, leaf, leaf_bytes, leaf_hash(leaf_bytes))
    batch.rows.append(row)
    batch.projects |= projections.takes_effect(leaf.kind, draft.sealed.members)
    if draft.apply is not None:
        _flush(batch)
        draft.apply(row.index, batch.at)
        batch.changed = True


# -- 4. rows -----------------------------------------------------------------------------------------------------------


def _flush(batch: Batch) -> None:
    """Insert what waits, and let projections of these records' own follow."""
    rows = batch.rows[batch.flushed :]
    if not rows:
        return
    wire.tell(*_inserted(batch, batch.growth()), commit=False)
    if batch.followed:
        projections.follow([row.recorded for row in rows])
    if batch.projects:  # perhaps into rights, perhaps a hold
        batch.changed = batch.start.holds = True
        batch.projects = False


def _inserted(batch: Batch, growth: Growth, note: str | None = None) -> list[wire.Call]:
    """What inserts the rows that wait; entries need a partition."""
    rows = batch.rows[batch.flushed :]
    batch.flushed = len(batch.rows)
    calls: list[wire.Call] = [(APPEND, appended(rows, growth, batch.at, note))]
    if batch.size // PARTITION != rows[0].index // PARTITION:
        calls.insert(0, (PARTITIONS, (batch.size,)))
    return calls


# -- 5. tiles, checkpoint, proofs ------------------------------------------------------------------------------------


def _finish(batch: Batch) -> None:
    if batch.followed:
        _flush(batch)
    calls, settle = closing(batch)
    wire.tell(*calls, commit=True)
    batch.outcomes.update(settle())


def closing(batch: Batch) -> tuple[list[wire.Call], Callable[[], dict[int, Placed]]]:
    """What a batch's last message calls; and what then, once that is done, places its drafts, by position."""
    growth = batch.growth()
    note = _sign(batch, growth)
    waits = batch.flushed < len(batch.rows)
    calls: list[wire.Call] = _inserted(batch, growth, note) if waits else [(NOTE, (batch.size, note))]
    if batch.size // TILE != batch.old_size // TILE:
        calls.append((TILES, (batch.old_size, batch.size)))

    def settle() -> dict[int, Placed]:
        return {row.position: _placed(row, growth, note) for row in batch.rows}

    return calls, settle


def _sign(batch: Batch, growth: Growth) -> str:
    signers = keys.log_signers(batch.start.log_keys)
    return sign_note(Checkpoint(signers[0].name, batch.size, growth.root).text(), signers)


def _placed(row: Row, growth: Growth, note: str) -> Placed:
    return Placed(
        index=row.index,
        leaf=row.leaf_bytes,
        salt=row.draft.sealed.salt,
        context=row.draft.sealed.context,
        envelope=row.draft.envelope,
        checkpoint=note,
        proof=format_proof(row.index, growth.inclusion_proof(row.index), note),
        principal=row.draft.actor.principal,
        signed_by=row.draft.signed_by,
        at=row.leaf.at,
    )
