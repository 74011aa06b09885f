"""What a range of entries says by itself, whatever lies in front of it: steps 1 to 3, and the checkpoints of step 5.

Ranges do not depend on each other, so several processes can examine them; what is compared across them (the tree,
the order of times, the tables) is left to the one that collects.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import zstandard
from django.db import connection, transaction

from evidence import projections
from evidence.ledger import reader
from evidence.ledger.check.deviations import Deviation
from evidence.ledger.check.signers import Signers
from evidence.ledger.draft import Recorded
from evidence.models import Note, Payload
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.dsse import Envelope, parse_envelope, signers
from evidence.tlog.errors import MalformedError, SignatureError, TlogError
from evidence.tlog.leaf import Leaf, parse_leaf, payload_digest
from evidence.tlog.merkle import leaf_hash
from evidence.tlog.statement import Statement, parse_statement

OUT_OF_ORDER = "was received before the entry in front of it"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = Statement("", (), "", {})
#: Rows fetched at once: what a range holds in memory is digests and searchable columns, not envelopes.
_FETCH = 128

_ROWS = (
    'SELECT e."index", e.leaf, e.leaf_hash, p.salt, p.context, p.envelope, p.codec FROM evidence_entry e'
    ' LEFT JOIN evidence_payload p ON p."index" = e."index"'
    ' WHERE e."index" >= %s AND e."index" < %s ORDER BY e."index"'
)


@dataclass
class Examined:
    """Entries from `start` without a gap. Holds no envelopes but those of records that change tables of their own."""

    start: int
    #: Leaf hashes, computed from the leaves.
    hashes: list[bytes] = field(default_factory=list)
    #: When the first and the last entry with a legible leaf were received.
    first_at: datetime | None = None
    last_at: datetime | None = None
    #: The first index of each kind.
    kinds: dict[str, int] = field(default_factory=dict)
    #: What fills the searchable table: a statement and its parameters, for all legible records together.
    statement: str = ""
    parameters: Sequence[Any] = ()
    #: What holds need to know of each of these records: index, kind, release, scope.
    outlines: list[tuple[int, str, str | None, tuple[str, ...]]] = field(default_factory=list)
    #: Those that change tables of their own.
    own: dict[int, Recorded] = field(default_factory=dict)
    #: Entries of which the leaf alone is legible.
    bare: list[tuple[int, Leaf]] = field(default_factory=list)
    #: Checkpoints of sizes past `start`, by size; None where the note was found wanting.
    checkpoints: list[tuple[int, Checkpoint | None]] = field(default_factory=list)
    found: list[Deviation] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.hashes)

    def recorded(self) -> Iterator[Recorded]:
        """The records as far as holds are concerned with them: those without tables of their own lack their body."""
        for index, kind, release, scope in self.outlines:
            yield self.own.get(index) or _outline(index, kind, release, scope)

    def deviates(self, what: str, where: str, detail: str) -> None:
        self.found.append(Deviation(what, where, detail))


class Examiner:
    """Examines ranges of entries; keeps the keys it has looked up."""

    def __init__(self) -> None:
        self._signers = Signers()
        self._zstd = zstandard.ZstdDecompressor()

    def examine(self, start: int, end: int) -> Examined:
        """Read [start, end) up to the first gap."""
        self._refreshed = False
        examined = Examined(start)
        recorded: list[Recorded] = []
        with transaction.atomic():
            for index, leaf_bytes, stored_hash, *payload in _rows(start, end):
                if index != examined.end:
                    break
                found = self._entry(examined, index, leaf_bytes, stored_hash, payload)
                if found is not None:
                    recorded.append(found)
            notes = Note.objects.filter(size__gt=start, size__lte=examined.end).order_by("size")
            examined.checkpoints = [(note.size, self._checkpoint(examined, note)) for note in notes]
        _spell(examined, recorded)
        return examined

    def _entry(
        self, examined: Examined, index: int, leaf_bytes: bytes, stored_hash: bytes, payload: list[Any]
    ) -> Recorded | None:
        where, hash_ = f"entry {index}", leaf_hash(leaf_bytes)
        examined.hashes.append(hash_)
        if hash_ != stored_hash:
            examined.deviates("leaf hash", where, "the stored hash is not that of the stored leaf")
        try:
            leaf = parse_leaf(leaf_bytes)
        except TlogError as error:
            examined.deviates("leaf", where, str(error))
            return None
        _note_time(examined, index, leaf)
        examined.kinds.setdefault(leaf.kind, index)
        if payload[0] is not None:
            try:
                return self._recorded(examined, index, leaf, *payload)
            except Exception as error:  # whatever bytes were put there, the check goes on
                examined.deviates("payload", where, f"cannot be read: {error or type(error).__name__}")
        examined.bare.append((index, leaf))
        return None

    def _recorded(
        self, examined: Examined, index: int, leaf: Leaf, salt: bytes, context: bytes, envelope: bytes, codec: int
    ) -> Recorded:
        where = f"entry {index}"
        if codec != Payload.RAW:
            envelope = self._zstd.decompress(envelope, max_output_size=reader.MAX_ENVELOPE)
        if payload_digest(salt, context, envelope) != leaf.digest:
            examined.deviates("payload", where, "salt, context and envelope do not give the leaf's digest")
        authenticated = _context(context)
        if authenticated["principal"] != leaf.by:
            examined.deviates("payload", where, "its context names another principal than the leaf")
        parsed = parse_envelope(envelope)
        signed_by = authenticated["verification"]["signature"]
        try:
            for key in signers(authenticated):
                self._verify(parsed, signed_by, key, leaf, index)
        except TlogError as error:
            examined.deviates("signature", where, str(error))
        return Recorded(index, leaf, parse_statement(parsed.payload), authenticated, signed_by)

    # -- signatures ------------------------------------------------------------------------------------------------

    def _verify(self, envelope: Envelope, signed_by: str, key: str, leaf: Leaf, index: int) -> None:
        try:
            self._signers.verify(envelope, signed_by, key, leaf, index)
        except SignatureError:
            if not self._refresh():
                raise
            self._signers.verify(envelope, signed_by, key, leaf, index)

    def _checkpoint(self, examined: Examined, note: Note) -> Checkpoint | None:
        """The checkpoint of a note, if a key of that time signed it and it speaks of its own size."""
        where = f"size {note.size}"
        try:
            checkpoint = self._open(note)
        except TlogError as error:
            examined.deviates("checkpoint", where, str(error))
            return None
        if checkpoint.size != note.size:
            examined.deviates("checkpoint", where, f"speaks of size {checkpoint.size}")
            return None
        return checkpoint

    def _open(self, note: Note) -> Checkpoint:
        try:
            return self._signers.open(note.text, note.size)
        except SignatureError:
            if not self._refresh():
                raise
            return self._signers.open(note.text, note.size)

    def _refresh(self) -> bool:
        """Look the keys up again, once for a range: they may have changed since the check began."""
        if self._refreshed:
            return False
        self._signers, self._refreshed = Signers(), True
        return True


def _rows(start: int, end: int) -> Iterator[Any]:
    """Entries of [start, end) with their payloads, through a server-side cursor; bytes travel as they are."""
    with connection.connection.cursor(name="check_entries", binary=True) as cursor:
        cursor.execute(_ROWS, [start, end])
        while stored := cursor.fetchmany(_FETCH):
            yield from stored


def _context(stored: bytes) -> Mapping[str, Any]:
    """A context whose members are of the types that everything after relies on. Raises MalformedError."""
    context = reader.parse_context(stored)
    release, signed_by = context["release"], context["verification"]["signature"]
    texts = [context["principal"], context["key"], signed_by, *([] if release is None else [release])]
    if not all(isinstance(text, str) for text in texts) or not isinstance(context.get("claims", {}), dict):
        raise MalformedError("a context's members are text, its claims an object")
    return context


def _spell(examined: Examined, recorded: list[Recorded]) -> None:
    """Note what the records put into tables."""
    if recorded:
        examined.statement, examined.parameters = projections.searchable(recorded)
        examined.outlines = [(r.index, r.leaf.kind, r.release, r.leaf.scope) for r in recorded]
        examined.own = {record.index: record for record in recorded if projections.has_own(record.leaf.kind)}


def _outline(index: int, kind: str, release: str | None, scope: tuple[str, ...]) -> Recorded:
    leaf = Leaf(kind, _EPOCH, _EPOCH, "outline", scope, "sha256:" + "0" * 64)
    return Recorded(index, leaf, _NOTHING, {"release": release}, "")


def _note_time(examined: Examined, index: int, leaf: Leaf) -> None:
    if examined.first_at is None:
        examined.first_at = leaf.at
    elif examined.last_at is not None and leaf.at < examined.last_at:
        examined.deviates("leaf", f"entry {index}", OUT_OF_ORDER)
    examined.last_at = leaf.at
