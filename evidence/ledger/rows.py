"""What a batch inserts, as one statement for each table, whatever its length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evidence import projections, retention
from evidence.ledger.draft import Draft, Recorded
from evidence.tlog.leaf import Leaf
from evidence.tlog.merkle import Growth

Statement = tuple[str, Sequence[Any]]

_HEAD = "UPDATE evidence_head SET size = %s, root = %b, frontier = %b, last_at = %s WHERE id = 1"
_ENTRIES = (
    'INSERT INTO evidence_entry ("index", leaf, leaf_hash) SELECT * FROM unnest(%s::bigint[], %b::bytea[], %b::bytea[])'
)
_PAYLOADS = (
    'INSERT INTO evidence_payload ("index", salt, context, envelope, codec, retention_class, retain_until)'
    " SELECT * FROM unnest(%s::bigint[], %b::bytea[], %b::bytea[], %b::bytea[], %s::smallint[], %s::text[],"
    " %s::timestamptz[])"
)
_KEYS = (
    'INSERT INTO evidence_idempotency (principal, key_mac, request_mac, "index")'
    " SELECT * FROM unnest(%s::text[], %b::bytea[], %b::bytea[], %s::bigint[])"
)
NOTE = "INSERT INTO evidence_note (size, text) VALUES (%s, %s)"
TILE = "INSERT INTO evidence_tile (level, number, hashes) VALUES (%s, %s, %b)"


@dataclass(frozen=True)
class Row:
    """A record on its way in."""

    draft: Draft
    position: int
    index: int
    leaf: Leaf
    leaf_bytes: bytes
    hash: bytes

    @property
    def recorded(self) -> Recorded:
        return Recorded(self.index, self.leaf, self.draft.statement, self.draft.sealed.members, self.draft.signed_by)


def statements(rows: Sequence[Row], growth: Growth, at: datetime) -> Iterator[Statement]:
    """The head first, since entries may only lie below its size; then everything that belongs to `rows`."""
    indexes, sealed = [row.index for row in rows], [row.draft.sealed for row in rows]
    yield _HEAD, (growth.size, growth.root, b"".join(growth.frontier.hashes), at)
    yield _ENTRIES, (indexes, [row.leaf_bytes for row in rows], [row.hash for row in rows])
    classes = [row.draft.kind.retention for row in rows]
    until = {name: retention.retain_until(name, at) for name in set(classes)}
    yield (
        _PAYLOADS,
        (
            indexes,
            [payload.salt for payload in sealed],
            [payload.context for payload in sealed],
            [payload.stored for payload in sealed],
            [payload.codec for payload in sealed],
            classes,
            [until[name] for name in classes],
        ),
    )
    keyed = [(row.draft.actor.principal, row.draft.idempotency, row.index) for row in rows if row.draft.idempotency]
    if keyed:
        macs = [idempotency for _, idempotency, _ in keyed]
        yield (
            _KEYS,
            (
                [principal for principal, _, _ in keyed],
                [mac.key_mac for mac in macs],
                [mac.request_mac for mac in macs],
                [index for _, _, index in keyed],
            ),
        )
    yield projections.searchable([row.recorded for row in rows])
