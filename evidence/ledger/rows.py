"""What a batch inserts: the parameters of `evidence_append` (migration 0006), an array for each column."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evidence import projections, retention
from evidence.ledger.draft import Draft, Recorded
from evidence.ledger.literals import array, bytes_array, bytes_element, text_array, text_element
from evidence.ledger.wire import Value
from evidence.tlog.leaf import Leaf, format_time
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


def spelled(draft: Draft) -> tuple[bytes, ...]:
    """What is known of a row before it has its place, as elements of the arrays: spelled before the head is locked."""
    if draft.spelled is None:
        sealed, key = draft.sealed, draft.idempotency
        principal, named = draft.actor.principal, draft.kind.name
        said = projections.said(named, principal, draft.scope, draft.release, draft.statement, draft.signed_by)
        draft.spelled = (
            bytes_element(sealed.salt),
            bytes_element(sealed.context),
            bytes_element(sealed.stored),
            bytes_element(key.key_mac if key else None),
            bytes_element(key.request_mac if key else None),
            *map(text_element, said),
        )
    return draft.spelled


def appended(rows: Sequence[Row], growth: Growth, at: datetime, note: str | None = None) -> list[Value]:
    """Parameters of `APPEND`; `note` is the checkpoint if the batch ends with these rows."""
    classes = [row.draft.kind.retention for row in rows]
    until = {name: retention.retain_until(name, at).isoformat() for name in set(classes)}
    columns = zip(*(spelled(row.draft) for row in rows), strict=True)
    salts, contexts, envelopes, key_macs, request_macs, kinds, *rest = columns
    return [
        rows[0].index,
        growth.size,
        growth.root,
        b"".join(growth.frontier.hashes),
        at,
        bytes_array(bytes_element(row.leaf_bytes) for row in rows),
        bytes_array(bytes_element(row.hash) for row in rows),
        bytes_array(salts),
        bytes_array(contexts),
        bytes_array(envelopes),
        array(str(row.draft.sealed.codec) for row in rows),
        text_array(map(text_element, classes)),
        array(until[name] for name in classes),
        bytes_array(key_macs),
        bytes_array(request_macs),
        text_array(kinds),
        array(format_time(row.leaf.occurred) for row in rows),
        *map(text_array, rest),
        note,
    ]
