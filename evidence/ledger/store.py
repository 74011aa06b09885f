"""One batch, one transaction: lock the head, settle, insert, prove, sign, commit (docs/ledger.md, "A write").

1. lock the head row, read PostgreSQL's clock
2. settle idempotency keys and recheck credentials, one statement each
3. check that the stored frontier folds to the stored root
4. admit each record; insert entries, payloads, projections; raise the head
5. insert new full tiles, sign the checkpoint, commit
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import zstandard
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.utils import InternalError

from config.errors import (
    InvalidError,
    ProoftrailError,
    UnavailableError,
)
from evidence import projections, retention
from evidence.keys import log_signer
from evidence.ledger import reader, settling
from evidence.ledger.draft import Draft, Outcome, Placed, Recorded
from evidence.models import Idempotency as IdempotencyRow
from evidence.models import Note, Payload, Tile
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.leaf import Leaf, payload_digest
from evidence.tlog.merkle import Frontier, leaf_hash, tree_root
from evidence.tlog.note import sign_note
from evidence.tlog.tiles import TILE
from evidence.tlog.tlog_proof import format_proof

MAX_SKEW = timedelta(seconds=60)
MAX_AHEAD = timedelta(minutes=5)
PARTITION = 1_000_000
#: The most rows that one transaction carries.
MAX_BATCH = 10_000

_local = threading.local()


@dataclass
class _Row:
    """A record on its way in."""

    draft: Draft
    position: int
    index: int
    leaf: Leaf
    leaf_bytes: bytes
    salt: bytes
    context: bytes


@dataclass
class _Batch:
    frontier: Frontier
    at: datetime
    rows: list[_Row] = field(default_factory=list)
    #: Rows already inserted; what follows waits for the next flush.
    flushed: int = 0

    @property
    def size(self) -> int:
        return self.frontier.size + len(self.rows)


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
    except (OperationalError, InterfaceError):
        connection.close()
        lost = UnavailableError(
            "The database went away while the record was written. Send it again with the same Idempotency-Key: "
            "it is recorded once.",
            code="ledger_unavailable",
        )
        return [lost] * len(drafts)
    except UnavailableError as error:
        return [error] * len(drafts)
    except Exception as error:
        if len(drafts) == 1:
            return [_alone(error)]
        middle = len(drafts) // 2
        return write(drafts[:middle]) + write(drafts[middle:])


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
    with transaction.atomic():
        batch = _lock_head()
        settling.settle_keys(drafts, outcomes, replays)
        again = settling.repeated_in_batch(drafts, outcomes, replays)
        settling.recheck_credentials(drafts, batch.at, outcomes, replays)
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
    _local.seen = batch.size
    for position, index in replays.items():
        outcomes[position] = reader.replay(index)
    if again:
        outcomes.update(zip(again, write([drafts[position] for position in again]), strict=True))
    return [outcomes[position] for position in range(len(drafts))]


# -- 1. the head ---------------------------------------------------------------------------------------------------


def _lock_head() -> _Batch:
    with connection.cursor() as cursor:
        cursor.execute("SELECT size, root, frontier, last_at FROM evidence_head WHERE id = 1 FOR UPDATE")
        size, root, frontier_bytes, last_at = cursor.fetchone()
        cursor.execute("SELECT clock_timestamp()")
        (database_now,) = cursor.fetchone()
    process_now = datetime.now(UTC)
    if abs(database_now - process_now) > MAX_SKEW or last_at - database_now > MAX_SKEW:
        raise UnavailableError(
            f"Clocks disagree: PostgreSQL says {database_now:%H:%M:%S}, this process {process_now:%H:%M:%S}, "
            f"the last record {last_at:%H:%M:%S} UTC. Nothing is written until they are within 60 seconds.",
            code="clock_skew",
            retry_after=30,
        )
    if size < getattr(_local, "seen", 0):
        raise UnavailableError(
            f"The database holds {size} records, fewer than the {_local.seen} this process has seen: an older copy "
            "was restored. Writes stay refused; see docs/operations.md.",
            code="ledger_behind",
            retry_after=60,
        )
    hashes = bytes(frontier_bytes)
    frontier = Frontier(size, tuple(hashes[i : i + 32] for i in range(0, len(hashes), 32)))
    if frontier.root() != bytes(root):
        raise UnavailableError(
            f"The stored root of size {size} does not follow from the stored frontier. Run manage.py check_ledger.",
            code="ledger_inconsistent",
            retry_after=60,
        )
    return _Batch(frontier=frontier, at=max(database_now, last_at))


def forget_seen_size() -> None:
    """Start over as a fresh process would: for a test that changes databases."""
    _local.seen = 0


# -- 4. records --------------------------------------------------------------------------------------------------------


def _refusal(batch: _Batch, draft: Draft) -> ProoftrailError | None:
    """Why a draft is refused, or None. Only this may refuse: what fails later takes the batch with it."""
    if draft.occurred is not None and draft.occurred - batch.at > MAX_AHEAD:
        return InvalidError(
            f"occurred_at lies {draft.occurred - batch.at} ahead of the time of receipt.",
            code="occurred_in_future",
            where="$.occurred_at",
        )
    if draft.admit is None:
        return None
    _flush(batch)
    try:
        draft.admit(batch.at)
    except ProoftrailError as refused:
        return refused
    return None


def _accept(batch: _Batch, position: int, draft: Draft) -> None:
    salt, context = os.urandom(16), draft.context()
    leaf = Leaf(
        kind=draft.kind.name,
        at=batch.at,
        occurred=min(draft.occurred or batch.at, batch.at),
        by=draft.actor.principal,
        scope=draft.scope,
        digest=payload_digest(salt, context, draft.envelope),
    )
    batch.rows.append(_Row(draft, position, batch.size, leaf, leaf.encode(), salt, context))
    if draft.apply is not None:
        _flush(batch)
        draft.apply(batch.rows[-1].index, batch.at)


def _flush(batch: _Batch) -> None:
    """Insert what waits: the head first, since entries may only lie below its size."""
    rows = batch.rows[batch.flushed :]
    if not rows:
        return
    batch.flushed = len(batch.rows)
    growth = batch.frontier.extend([leaf_hash(row.leaf_bytes) for row in batch.rows])
    if batch.size // PARTITION != rows[0].index // PARTITION:
        with connection.cursor() as cursor:
            cursor.execute("SELECT evidence_ensure_partitions(%s)", [batch.size])
    payloads = [_compress(row.draft.envelope) for row in rows]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE evidence_head SET size = %s, root = %s, frontier = %s, last_at = %s WHERE id = 1",
            [batch.size, growth.root, b"".join(growth.frontier.hashes), batch.at],
        )
        cursor.execute(
            'INSERT INTO evidence_entry ("index", leaf, leaf_hash)'
            " SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[])",
            [
                [row.index for row in rows],
                [row.leaf_bytes for row in rows],
                [leaf_hash(row.leaf_bytes) for row in rows],
            ],
        )
        cursor.execute(
            'INSERT INTO evidence_payload ("index", salt, context, envelope, codec, retention_class, retain_until)'
            " SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[], %s::smallint[], %s::text[],"
            " %s::timestamptz[])",
            [
                [row.index for row in rows],
                [row.salt for row in rows],
                [row.context for row in rows],
                [envelope for envelope, _ in payloads],
                [codec for _, codec in payloads],
                [row.draft.kind.retention for row in rows],
                [retention.retain_until(row.draft.kind.retention, row.leaf.at) for row in rows],
            ],
        )
    IdempotencyRow.objects.bulk_create(
        IdempotencyRow(
            principal=row.draft.actor.principal,
            key_mac=row.draft.idempotency.key_mac,
            request_mac=row.draft.idempotency.request_mac,
            index=row.index,
        )
        for row in rows
        if row.draft.idempotency is not None
    )
    projections.project([_recorded(row) for row in rows])


def _recorded(row: _Row) -> Recorded:
    context = reader.parse_context(row.context)
    return Recorded(row.index, row.leaf, row.draft.statement, context, row.draft.signed_by)


def _compress(envelope: bytes) -> tuple[bytes, int]:
    """zstd where it saves a tenth or more (R4.7)."""
    if len(envelope) < 512:
        return envelope, Payload.RAW
    packed = zstandard.compress(envelope, 3)
    return (packed, Payload.ZSTD) if len(packed) < 0.9 * len(envelope) else (envelope, Payload.RAW)


# -- 5. tiles, checkpoint, proofs ------------------------------------------------------------------------------------


def _finish(batch: _Batch) -> dict[int, Outcome]:
    _flush(batch)
    hashes = [leaf_hash(row.leaf_bytes) for row in batch.rows]
    growth = batch.frontier.extend(hashes)
    _insert_full_tiles(batch.frontier.size, batch.size)
    signer = log_signer()
    note = sign_note(Checkpoint(signer.name, batch.size, growth.root).text(), [signer])
    Note.objects.create(size=batch.size, text=note)
    return {
        row.position: Placed(
            index=row.index,
            leaf=row.leaf_bytes,
            salt=row.salt,
            context=row.context,
            envelope=row.draft.envelope,
            checkpoint=note,
            proof=format_proof(row.index, growth.inclusion_proof(row.index), note),
            principal=row.draft.actor.principal,
            signed_by=row.draft.signed_by,
            at=row.leaf.at,
        )
        for row in batch.rows
    }


def _insert_full_tiles(old_size: int, new_size: int) -> None:
    level, span = 0, TILE
    while new_size // span > old_size // span:
        numbers = range(old_size // span, new_size // span)
        Tile.objects.bulk_create(
            Tile(level=level, number=number, hashes=_tile_hashes(level, number)) for number in numbers
        )
        level, span = level + 1, span * TILE


def _tile_hashes(level: int, number: int) -> bytes:
    if level == 0:
        return b"".join(reader.leaf_hashes(number * TILE, (number + 1) * TILE))
    below = Tile.objects.filter(level=level - 1, number__gte=number * TILE, number__lt=(number + 1) * TILE)
    return b"".join(tile_root(bytes(hashes)) for hashes in below.order_by("number").values_list("hashes", flat=True))


def tile_root(hashes: bytes) -> bytes:
    """The root of the perfect subtree that a full tile covers."""
    return tree_root([hashes[i : i + 32] for i in range(0, len(hashes), 32)])
