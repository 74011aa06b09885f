"""One run of the check, in numbered steps.

1. entries: every index from 0 to the head's size and no other; leaf hashes from the leaf bytes; leaves well-formed,
   their times in order
2. payloads: digests against the leaves; one is missing only if a `retention.disposed` record names it
3. envelopes: signed by the record key, or by a key that the pipeline had then
4. tree: full tiles, root and frontier of the head
5. checkpoints: signed by the log key, each with the root of its size
6. projections: the ledger replayed into temporary tables, compared both ways

The pass over the entries and a first comparison run in transactions of seconds; a short last one, for which the
whole database stands still, covers what arrived meanwhile. Memory does not grow with the log.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from evidence.kinds import load as load_kinds
from evidence.ledger import reader
from evidence.ledger.check.deviations import Deviation, Progress, Report
from evidence.ledger.check.shadow import Shadows
from evidence.ledger.check.signers import Signers
from evidence.ledger.check.tree import Tree
from evidence.ledger.draft import Recorded
from evidence.models import Entry, Head, Payload
from evidence.tlog.dsse import parse_envelope
from evidence.tlog.errors import TlogError
from evidence.tlog.leaf import Leaf, parse_leaf, payload_digest
from evidence.tlog.merkle import leaf_hash
from evidence.tlog.statement import parse_statement

#: A transaction ends after about this long: a long snapshot slows appends down.
PASS_SECONDS = 2.0
#: Entries that are verified and replayed together.
GROUP = 64
#: The last transaction reads about this many entries at most.
TAIL = 512
#: Deviations kept in the answer; every one is reported.
KEPT = 10_000


@dataclass(frozen=True)
class _Row:
    """An entry as it is stored; `leaf` and `recorded` are None where their bytes say nothing."""

    index: int
    leaf_bytes: bytes
    leaf: Leaf | None = None
    recorded: Recorded | None = None


class Check:
    def __init__(self, report: Report, progress: Progress) -> None:
        self.found: list[Deviation] = []
        #: How many there are, kept or not.
        self.count = 0
        self._report = report
        self._progress = progress
        self._signers = Signers()
        self.tree = Tree(self._deviates, self._signers)
        self._last_at: datetime | None = None
        self._known = set(load_kinds().by_name)

    def run(self) -> None:
        with Shadows(self._deviates) as shadows:
            self._shadows = shadows
            whole = self._follow()
            shadows.compare()
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                shadows.begin_last()
                self._close(whole)
                shadows.compare_again()

    def _deviates(self, what: str, where: str, detail: str) -> None:
        deviation = Deviation(what, where, detail)
        self._report(deviation)
        self.count += 1
        if len(self.found) < KEPT:
            self.found.append(deviation)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _follow(self) -> bool:
        """Read until few entries are left for the last transaction; False if one in between is missing."""
        for _ in range(20):  # a log that grows faster than it is checked must not keep this from ending
            end = reader.size()
            while self.tree.size < end:
                with transaction.atomic():
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION READ ONLY")  # temporary tables may be written all the same
                    if not self._read(end, time.monotonic() + PASS_SECONDS):
                        return False
                self._progress(self.tree.size, end)
            if reader.size() - end <= TAIL:
                break
        return True

    def _close(self, whole: bool) -> None:
        """The entries since, then what only holds at one moment: the head, and nothing past it."""
        head = Head.objects.get(id=1)
        if whole and self._read(head.size, None):
            self.tree.close(head)
            if self._last_at is not None and head.last_at != self._last_at:
                self._deviates("head", "last_at", f"is {head.last_at}, the last entry was received at {self._last_at}")
        past = Q(index__gte=head.size) | Q(index__lt=0)
        for table, what in ((Entry, "entry"), (Payload, "payload")):
            for index in table.objects.filter(past).order_by("index").values_list("index", flat=True)[:10]:
                self._deviates(what, f"entry {index}", f"lies outside the log, which has {head.size} entries")

    # -- entries ---------------------------------------------------------------------------------------------------

    def _read(self, end: int, until: float | None) -> bool:
        """Verify and replay entries up to `end`, or until the time is over; False if the next one is missing."""
        for rows in self._groups(self.tree.size, end):
            if not self._contiguous(rows):
                return False
            self.tree.grow([leaf_hash(row.leaf_bytes) for row in rows])
            self._shadows.replay(
                [row.recorded for row in rows if row.recorded is not None],
                [(row.index, row.leaf) for row in rows if row.recorded is None and row.leaf is not None],
            )
            if until is not None and time.monotonic() > until:
                return True
        if self.tree.size < end:
            self._missing(self.tree.size, end)
        return self.tree.size == end

    def _contiguous(self, rows: Sequence[_Row]) -> bool:
        for expected, row in enumerate(rows, start=self.tree.size):
            if row.index != expected:
                self._missing(expected, row.index)
                return False
        return True

    def _missing(self, start: int, end: int) -> None:
        where = f"entry {start}" if end == start + 1 else f"entries {start} to {end - 1}"
        self._deviates("entry", where, "missing; nothing after can be recomputed")

    def _groups(self, start: int, end: int) -> Iterator[list[_Row]]:
        """Entries of [start, end) in groups, through a server-side cursor."""
        with connection.chunked_cursor() as cursor:
            cursor.execute(
                'SELECT e."index", e.leaf, e.leaf_hash, p.salt, p.context, p.envelope, p.codec FROM evidence_entry e'
                ' LEFT JOIN evidence_payload p ON p."index" = e."index"'
                ' WHERE e."index" >= %s AND e."index" < %s ORDER BY e."index"',
                [start, end],
            )
            while stored := cursor.fetchmany(GROUP):
                yield [self._row(index, bytes(leaf), bytes(hash_), *rest) for index, leaf, hash_, *rest in stored]

    def _row(self, index: int, leaf_bytes: bytes, stored_hash: bytes, *payload: Any) -> _Row:
        where = f"entry {index}"
        if leaf_hash(leaf_bytes) != stored_hash:
            self._deviates("leaf hash", where, "the stored hash is not that of the stored leaf")
        try:
            leaf = parse_leaf(leaf_bytes)
        except TlogError as error:
            self._deviates("leaf", where, str(error))
            return _Row(index, leaf_bytes)
        if self._last_at is not None and leaf.at < self._last_at:
            self._deviates("leaf", where, "was received before the entry in front of it")
        self._last_at = leaf.at
        self._know(leaf.kind, where)
        if payload[0] is None:
            return _Row(index, leaf_bytes, leaf)
        try:
            return _Row(index, leaf_bytes, leaf, self._recorded(index, leaf, *payload))
        except Exception as error:  # whatever bytes were put there, the check goes on
            self._deviates("payload", where, f"cannot be read: {error or type(error).__name__}")
            return _Row(index, leaf_bytes, leaf)

    def _know(self, kind: str, where: str) -> None:
        """Say once of each kind that is not declared here: its rows cannot be recomputed and seem to differ."""
        if kind not in self._known:
            self._known.add(kind)
            self._deviates(
                "kind",
                where,
                f"{kind} is not declared here: set PROOFTRAIL_DATA_PATHS as the service has it, check again",
            )

    def _recorded(self, index: int, leaf: Leaf, salt: bytes, context: bytes, envelope: bytes, codec: int) -> Recorded:
        where = f"entry {index}"
        original = reader.envelope_of(Payload(index=index, envelope=envelope, codec=codec))
        if payload_digest(bytes(salt), bytes(context), original) != leaf.digest:
            self._deviates("payload", where, "salt, context and envelope do not give the leaf's digest")
        authenticated = reader.parse_context(bytes(context))
        if authenticated["principal"] != leaf.by:
            self._deviates("payload", where, "its context names another principal than the leaf")
        parsed = parse_envelope(original)
        signed_by = authenticated["verification"]["signature"]
        try:
            self._signers.verify(parsed, signed_by, authenticated["key"], leaf)
        except TlogError as error:
            self._deviates("signature", where, str(error))
        return Recorded(index, leaf, parse_statement(parsed.payload), authenticated, signed_by)
