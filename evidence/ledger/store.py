"""One batch, one transaction: lock the head, settle, insert, prove, sign, commit (docs/ledger.md, "A write").

1. lock the head row, read PostgreSQL's clock, check that the stored frontier folds to the stored root
2. settle idempotency keys and recheck credentials
3. admit each record
4. insert entries, payloads, what can be searched; raise the head
5. insert new full tiles, sign the checkpoint, commit

A batch of ordinary records asks once and writes once, whatever its length. Records whose acceptance or tables hang on
others (`admit`, `apply`, projections of their own) take their own round trips in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.utils import InternalError

from config.database import leave_connection
from config.errors import InvalidError, ProoftrailError, UnavailableError
from evidence import keys, projections
from evidence.ledger import head, reader, settling, wire
from evidence.ledger.draft import Draft, Outcome, Placed
from evidence.ledger.rows import APPEND, NOTE, TILE, Row, appended
from evidence.models import Tile
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.leaf import Leaf
from evidence.tlog.merkle import Growth, leaf_hash, tree_root
from evidence.tlog.note import sign_note
from evidence.tlog.tiles import TILE as TILE_WIDTH
from evidence.tlog.tlog_proof import format_proof

MAX_AHEAD = timedelta(minutes=5)
PARTITION = 1_000_000
#: The most rows that one transaction carries.
MAX_BATCH = 10_000


@dataclass
class _Batch:
    start: head.Start
    rights: settling.Rights
    rows: list[Row] = field(default_factory=list)
    #: Rows already inserted; what follows waits for the next flush.
    flushed: int = 0
    #: Whether a row that waits changes tables of its own when it is inserted.
    projects: bool = False
    #: Whether a record of this batch may have changed rights: then the epoch is asked again.
    changed: bool = False

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
        return _write_batch(drafts)
    except (OperationalError, InterfaceError) as error:
        leave_connection()
        return [_lost(error)] * len(drafts)
    except UnavailableError as error:
        return [error] * len(drafts)
    except Exception as error:
        if len(drafts) == 1:
            return [_alone(error)]
        middle = len(drafts) // 2
        return write(drafts[:middle]) + write(drafts[middle:])


def _lost(error: Exception) -> UnavailableError:
    if isinstance(error.__cause__, psycopg.errors.DiskFull):
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
    return InvalidError(f"The record could not be stored: {first_line}", code="record_refused")


def _write_batch(drafts: Sequence[Draft]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    replays: dict[int, int] = {}
    head.greet()
    with transaction.atomic():
        start = head.lock(drafts)
        batch = _Batch(start, settling.Rights(drafts, start))
        settling.settle_keys(drafts, batch.start.known, outcomes, replays)
        again = settling.repeated_in_batch(drafts, outcomes, replays)
        settling.recheck(drafts, batch.rights, outcomes, replays)
        for position, draft in enumerate(drafts):
            if position in outcomes or position in replays or position in again:
                continue
            refused = _refusal(batch, draft)
            if refused is not None:
                outcomes[position] = refused
            else:
                _accept(batch, position, draft)
        if batch.rows:
            outcomes.update(_finish(batch))
    head.saw_size(batch.size)
    for position, index in replays.items():
        outcomes[position] = reader.replay(index)
    if again:
        outcomes.update(zip(again, write([drafts[position] for position in again]), strict=True))
    return [outcomes[position] for position in range(len(drafts))]


# -- 3. records --------------------------------------------------------------------------------------------------------


def _refusal(batch: _Batch, draft: Draft) -> ProoftrailError | None:
    """Why a draft is refused, or None. Only this may refuse: what fails later takes the batch with it."""
    if draft.occurred is not None and draft.occurred - batch.at > MAX_AHEAD:
        return InvalidError(
            f"occurred_at lies {draft.occurred - batch.at} ahead of the time of receipt.",
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


def _cut_off(batch: _Batch, draft: Draft) -> ProoftrailError | None:
    """Why a draft no longer counts: a record in front of it in this very batch may have ended its token or key."""
    if not (batch.projects or batch.changed or batch.rights.moved) or not settling.hangs_on_rights(draft):
        return None
    if batch.projects:
        _flush(batch)
    if batch.changed:
        batch.changed = False
        batch.rights.look_again(head.epoch())
    return batch.rights.refusal(draft) if batch.rights.moved else None


def _accept(batch: _Batch, position: int, draft: Draft) -> None:
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


def _flush(batch: _Batch) -> None:
    """Insert what waits, and let projections of these records' own follow."""
    rows = batch.rows[batch.flushed :]
    if not rows:
        return
    wire.tell((APPEND, appended(rows, _raised(batch), batch.at)), commit=False)
    if batch.followed:
        projections.follow([row.recorded for row in rows])
    if batch.projects:  # perhaps into rights, perhaps a hold
        batch.changed = batch.start.holds = True
        batch.projects = False


def _raised(batch: _Batch) -> Growth:
    """The tree with all rows, which from now on count as inserted; entries need a partition."""
    first = batch.rows[batch.flushed].index
    batch.flushed = len(batch.rows)
    if batch.size // PARTITION != first // PARTITION:
        with connection.cursor() as cursor:
            cursor.execute("SELECT evidence_ensure_partitions(%s)", [batch.size])
    return batch.growth()


# -- 5. tiles, checkpoint, proofs ------------------------------------------------------------------------------------


def _finish(batch: _Batch) -> dict[int, Outcome]:
    rows = batch.rows[batch.flushed :]
    if batch.followed:
        _flush(batch)
        rows = []
    growth = _raised(batch) if rows else batch.growth()
    note = _sign(batch, growth)
    last = (APPEND, appended(rows, growth, batch.at, note)) if rows else (NOTE, (batch.size, note))
    wire.tell(last, *((TILE, tile) for tile in _full_tiles(batch)), commit=True)
    return {row.position: _placed(row, growth, note) for row in batch.rows}


def _sign(batch: _Batch, growth: Growth) -> str:
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


def _full_tiles(batch: _Batch) -> list[tuple[int, int, bytes]]:
    """(level, number, hashes) of each tile that this batch fills."""
    found: list[tuple[int, int, bytes]] = []
    first = batch.old_size // TILE_WIDTH * TILE_WIDTH
    if batch.size // TILE_WIDTH == first // TILE_WIDTH:
        return found
    hashes = reader.leaf_hashes(first, batch.old_size) + [row.hash for row in batch.rows]
    level, number = 0, first // TILE_WIDTH
    while len(hashes) >= TILE_WIDTH:
        full = [hashes[n : n + TILE_WIDTH] for n in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH)]
        found += [(level, number + n, b"".join(tile)) for n, tile in enumerate(full)]
        above = number // TILE_WIDTH * TILE_WIDTH
        hashes = _roots(level, above, number) + [tree_root(tile) for tile in full]
        level, number = level + 1, above // TILE_WIDTH
    return found


def _roots(level: int, start: int, end: int) -> list[bytes]:
    rows = Tile.objects.filter(level=level, number__gte=start, number__lt=end).order_by("number")
    return [bytes(root) for root in rows.values_list("root", flat=True)]
