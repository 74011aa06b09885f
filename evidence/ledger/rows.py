"""What a batch inserts: the parameters of `evidence_append` (migration 0006), an array for each column."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evidence import projections, retention
from evidence.ledger.draft import Draft, Recorded
from evidence.ledger.literals import bytes_array, number_array, text_array
from evidence.ledger.wire import Value
from evidence.tlog.leaf import Leaf
from evidence.tlog.merkle import Growth

APPEND, NOTE = "evidence_append", "evidence_append_note"
TILES, PARTITIONS = "evidence_fill_tiles", "evidence_ensure_partitions"


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


def appended(rows: Sequence[Row], growth: Growth, at: datetime, note: str | None = None) -> list[Value]:
    """Parameters of `APPEND`; `note` is the checkpoint if the batch ends with these rows."""
    sealed = [row.draft.sealed for row in rows]
    keys = [row.draft.idempotency for row in rows]
    classes = [row.draft.kind.retention for row in rows]
    until = {name: retention.retain_until(name, at).isoformat() for name in set(classes)}
    found = projections.columns([row.recorded for row in rows])
    return [
        rows[0].index,
        growth.size,
        growth.root,
        b"".join(growth.frontier.hashes),
        at,
        bytes_array(row.leaf_bytes for row in rows),
        bytes_array(row.hash for row in rows),
        bytes_array(payload.salt for payload in sealed),
        bytes_array(payload.context for payload in sealed),
        bytes_array(payload.stored for payload in sealed),
        number_array(payload.codec for payload in sealed),
        text_array(classes),
        text_array(until[name] for name in classes),
        bytes_array(key.key_mac if key else None for key in keys),
        bytes_array(key.request_mac if key else None for key in keys),
        *(text_array(column) for column in found),
        note,
    ]
