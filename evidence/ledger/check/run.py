"""One run of the check, in numbered steps.

1. entries: every index from 0 to the head's size and no other; leaf hashes from the leaf bytes; leaves well-formed,
   their times in order
2. payloads: digests against the leaves; one is missing only if a `retention.disposed` record names it
3. envelopes: signed by the record key, or by a key that the pipeline had then
4. tree: full tiles, root and frontier of the head
5. checkpoints: signed by the log key, each with the root of its size
6. projections: the ledger replayed into temporary tables, compared both ways
7. anchors: the copies outside, against the ledger (`evidence/ledger/check/anchors.py`)

The pass over the entries and a first comparison run in transactions of a second or less; a short last one, for which
the whole database stands still, covers what arrived meanwhile. Memory does not grow with the log.
"""

from datetime import datetime

from django.db import connection, transaction
from django.db.models import Q

from config.errors import UnavailableError
from evidence.kinds import load as load_kinds
from evidence.ledger import reader
from evidence.ledger.check.ahead import Ranges
from evidence.ledger.check.anchors import check_anchors
from evidence.ledger.check.deviations import Deviation, Progress, Report
from evidence.ledger.check.entries import OUT_OF_ORDER, Examined
from evidence.ledger.check.shadow import Shadows
from evidence.ledger.check.signers import Signers
from evidence.ledger.check.tree import Tree
from evidence.models import Entry, Head, Idempotency, Payload
from evidence.tlog.merkle import root_at
from evidence.tlog.tiles import TileNodes

#: The last transaction reads about this many entries at most.
TAIL = 512
#: Deviations kept in the answer; every one is reported.
KEPT = 10_000


class Check:
    """`jobs` processes examine the entries of a log that is large enough for it."""

    def __init__(self, report: Report, progress: Progress, jobs: int = 1) -> None:
        self.found: list[Deviation] = []
        #: How many there are, kept or not.
        self.count = 0
        #: What could not be checked, and why.
        self.unchecked: list[str] = []
        self._report = report
        self._progress = progress
        self._jobs = jobs
        self.tree = Tree(self._deviates)
        self._last_at: datetime | None = None
        self._kinds = load_kinds()
        self._known = set(self._kinds.by_name)

    def run(self) -> None:
        with Shadows(self._deviates) as self._shadows, Ranges(self._jobs) as self._ranges:
            whole = self._follow()
            self._shadows.compare()
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                self._shadows.begin_last()
                self._close(whole)
                self._shadows.compare_again()
        self._check_anchors()

    def _deviates(self, what: str, where: str, detail: str) -> None:
        self._add(Deviation(what, where, detail))

    def _add(self, deviation: Deviation) -> None:
        self._report(deviation)
        self.count += 1
        if len(self.found) < KEPT:
            self.found.append(deviation)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _follow(self) -> bool:
        """Read until few entries are left for the last transaction; False if one in between is missing."""
        for _ in range(20):  # a log that grows faster than it is checked must not keep this from ending
            end = reader.size()
            for examined in self._ranges.examine(self.tree.size, end):
                with transaction.atomic():
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION READ ONLY")  # temporary tables may be written all the same
                    self._take(examined)
                self._progress(self.tree.size, end)
            if not self._reached(end):
                return False
            if reader.size() - end <= TAIL:
                break
        return True

    def _close(self, whole: bool) -> None:
        """The entries since, then what only holds at one moment: the head, and nothing past it."""
        head = Head.objects.get(id=1)
        if whole and self._read_rest(head.size):
            self.tree.close(head)
            if self._last_at is not None and head.last_at != self._last_at:
                self._deviates("head", "last_at", f"is {head.last_at}, the last entry was received at {self._last_at}")
        past = Q(index__gte=head.size) | Q(index__lt=0)
        detail = f"lies outside the log, which has {head.size} entries"
        for table, what in ((Entry, "entry"), (Payload, "payload")):
            for index in table.objects.filter(past).order_by("index").values_list("index", flat=True)[:10]:
                self._deviates(what, f"entry {index}", detail)
        self._check_keys_past(head.size)

    def _check_keys_past(self, size: int) -> None:
        """A request that was answered with an entry proves that there was one."""
        lost = Idempotency.objects.filter(index__gte=size).order_by("index").values_list("index", flat=True)
        for index in lost[:10]:
            detail = f"missing: a request was answered with it, but the log has {size} entries; its end was cut off"
            self._deviates("entry", f"entry {index}", detail)

    def _check_anchors(self) -> None:
        try:
            check_anchors(self._deviates, log_keys=Signers().log, root_at=_root_at, size=self.tree.size)
        except UnavailableError as error:
            self.unchecked.append(f"anchors: {error.detail}")

    # -- entries ---------------------------------------------------------------------------------------------------

    def _read_rest(self, end: int) -> bool:
        for examined in self._ranges.examine(self.tree.size, end):
            self._take(examined)
        return self._reached(end)

    def _take(self, examined: Examined) -> None:
        """Add what the next range says to what those in front of it said."""
        if examined.start != self.tree.size:
            return  # one in between is missing
        if self._last_at is not None and examined.first_at is not None and examined.first_at < self._last_at:
            self._deviates("leaf", f"entry {examined.start}", OUT_OF_ORDER)
        self._last_at = examined.last_at or self._last_at
        for deviation in examined.found:
            self._add(deviation)
        for kind in sorted(examined.kinds.keys() - self._known, key=examined.kinds.__getitem__):
            if self._kinds.find(kind) is None:
                self._name_kind(kind, examined.kinds[kind])
        self.tree.grow(examined.hashes, examined.checkpoints)
        self._shadows.replay(examined)

    def _name_kind(self, kind: str, index: int) -> None:
        """Say once of each kind that is not declared here: its rows cannot be recomputed and seem to differ."""
        self._known.add(kind)
        detail = (
            f"{kind} is not declared here: set PROOFTRAIL_KINDS or PROOFTRAIL_DATA_PATHS as the service has it,"
            " check again"
        )
        self._deviates("kind", f"entry {index}", detail)

    def _reached(self, end: int) -> bool:
        """Whether the entries went on to `end`; names those that are missing."""
        start = self.tree.size
        if start == end:
            return True
        following = Entry.objects.filter(index__gt=start, index__lt=end).order_by("index")
        after = following.values_list("index", flat=True).first() or end
        where = f"entry {start}" if after == start + 1 else f"entries {start} to {after - 1}"
        self._deviates("entry", where, "missing; nothing after can be recomputed")
        return False


def _root_at(size: int) -> bytes:
    """The root of an earlier size, from tiles that step 4 compared."""
    return root_at(size, TileNodes(reader.tile, size))
