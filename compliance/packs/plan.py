"""Which leaves and records a pack holds, decided at a pinned checkpoint.

Required are all records that happened in the period, of the pack's systems or of all of them. With them come those
they rest on, whenever recorded: everything of their releases, every exception that was open in the period, every
list of deployments received since it began, what withdrew or disposed of a record, and the record that names the
pack's own key.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from compliance.controls.populations import Period, exception_lives
from compliance.models import Pack
from compliance.packs import layout, reconciled
from compliance.packs.bag import BagWriter
from config.errors import ConflictError
from evidence.keys import record_signer
from evidence.ledger import reader
from evidence.models import Entry, Note, Record
from evidence.tlog.checkpoint import Checkpoint, parse_checkpoint
from evidence.tlog.leaf import parse_leaf
from evidence.tlog.merkle import Frontier
from evidence.tlog.note import parse_note
from evidence.tlog.tiles import TILE, TileNodes, encode_bundle, entries_path

KINDS = ("*",)
_BUNDLES = 16 * TILE
PAGE = 500
Progress = Callable[[int, str], None]

_TABLES = """
CREATE TABLE wanted ("index" INTEGER PRIMARY KEY, required INTEGER);
CREATE TABLE release (id TEXT PRIMARY KEY, ticket_id TEXT, ticket_url TEXT, dashboards TEXT);
CREATE TABLE artifact (
    digest TEXT PRIMARY KEY, key TEXT, version TEXT, size INTEGER, name TEXT, type TEXT, by_record INTEGER
);
CREATE TABLE signing_key (purpose TEXT, id TEXT, PRIMARY KEY (purpose, id));
"""


class LedgerMovedError(ConflictError):
    """A record was disposed of after the checkpoint: the pack needs a newer one."""

    code = "pack_outdated"


@dataclass(frozen=True)
class Order:
    """What a pack is asked to hold, pinned to the first `size` entries."""

    pack: str
    start: datetime
    end: datetime
    systems: tuple[str, ...]
    excluded: tuple[str, ...]
    size: int

    @classmethod
    def of(cls, pack: Pack, size: int) -> "Order":
        return cls(pack.id, pack.period_from, pack.period_to, tuple(pack.systems), tuple(pack.excluded), size)


class Plan:
    """The order with what follows from it. Lists live in `db`, a temporary SQLite file."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.period = Period.at_size(order.start, order.end, order.systems, order.size)
        self.note = Note.objects.get(size=order.size).text
        self.checkpoint: Checkpoint = parse_checkpoint(parse_note(self.note).text)
        self.nodes = TileNodes(reader.tile, order.size)
        first = first_received(order.start, order.size)
        self.first = first if first < order.size else None
        #: The bundle that holds the leaf before the first one of the period.
        self.range_start = max(first - 1, 0) // TILE * TILE
        #: Signs the pack, however its key fares while that is built: what counts is the checkpoint.
        self.signer = record_signer()
        self.key_record = _key_record(self.signer.id, order.size)
        self.db = sqlite3.connect("")
        self.db.executescript(_TABLES)

    def close(self) -> None:
        self.db.close()

    def frontier(self) -> Frontier:
        """The tree before the range."""
        start = self.range_start
        levels = [level for level in reversed(range(start.bit_length())) if start >> level & 1]
        return Frontier(start, tuple(self.nodes(level, (start >> level) - 1) for level in levels))

    def count(self, *, required: bool | None = None) -> int:
        where = "" if required is None else f" WHERE required = {int(required)}"
        (found,) = self.db.execute(f"SELECT count(*) FROM wanted{where}").fetchone()  # noqa: S608  (no input)
        return int(found)

    def pages(self, size: int = PAGE) -> Iterator[dict[int, bool]]:
        """Indexes of the pack's records in order, with whether each is required."""
        last = -1
        question = 'SELECT "index", required FROM wanted WHERE "index" > ? ORDER BY 1 LIMIT ?'
        while page := self.db.execute(question, (last, size)).fetchall():
            yield {index: bool(required) for index, required in page}
            last = page[-1][0]

    def want(self, indexes: Iterable[int], *, required: bool = False) -> None:
        rows = [(index, int(required)) for index in indexes if index < self.order.size]
        self.db.executemany("INSERT OR IGNORE INTO wanted VALUES (?, ?)", rows)


def first_received(start: datetime, size: int) -> int:
    """The index of the first entry received at or after `start`; `size` when there is none. A few point reads."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if Record.objects.values_list("at", flat=True).get(index=middle) < start:
            low = middle + 1
        else:
            high = middle
    return low


def _key_record(key_id: str, size: int) -> int | None:
    begun = Record.objects.filter(kind__in=layout.KEY_KINDS, facts__key_id=key_id, disposed_by=None)
    found = begun.filter(facts__purpose="record").values_list("index", flat=True).first()
    if found is not None and found >= size:
        raise LedgerMovedError("The record key was changed after the pack's checkpoint.")
    return found


def carry_leaves(plan: Plan, bag: BagWriter, progress: Progress) -> None:
    """Put the range's leaves into the bag as entry bundles, noting those that the pack must hold."""
    order, systems = plan.order, frozenset(plan.order.systems)
    for start in range(plan.range_start, order.size, _BUNDLES):
        end = min(start + _BUNDLES, order.size)
        rows = Entry.objects.filter(index__gte=start, index__lt=end).order_by("index").values_list("leaf", flat=True)
        leaves = [bytes(leaf) for leaf in rows]
        if len(leaves) != end - start:
            raise ConflictError(f"Entries {start} to {end - 1} are not all there.", code="ledger_inconsistent")
        for offset in range(0, len(leaves), TILE):
            entries = leaves[offset : offset + TILE]
            path = entries_path((start + offset) // TILE, len(entries))
            bag.add(layout.LOG_PREFIX + path, encode_bundle(entries))
        plan.want(
            (
                index
                for index, leaf in enumerate(leaves, start)
                if layout.is_required(parse_leaf(leaf), kinds=KINDS, systems=systems, start=order.start, end=order.end)
            ),
            required=True,
        )
        progress(20 * (end - plan.range_start) // (order.size - plan.range_start), "Carrying the log's leaves")


def add_supporting(plan: Plan, progress: Progress) -> None:
    """Add the records that required ones rest on."""
    progress(20, "Looking for what records rest on")
    for page in plan.pages():
        releases = Record.objects.filter(index__in=list(page)).exclude(release=None).values_list("release").distinct()
        plan.db.executemany("INSERT OR IGNORE INTO release (id) VALUES (?)", releases)
    for names in _release_pages(plan):
        _want_rows(plan, Q(release__in=names))
    for life in exception_lives(plan.period):
        plan.want(event.index for event in life.events)
    plan.want(row.index for row in reconciled.inventories(plan.period))
    if plan.key_record is not None:
        plan.want([plan.key_record])
    _add_consequences(plan)


def _release_pages(plan: Plan) -> Iterator[list[str]]:
    last = ""
    while page := plan.db.execute("SELECT id FROM release WHERE id > ? ORDER BY id LIMIT 50", (last,)).fetchall():
        yield [name for (name,) in page]
        last = page[-1][0]


def _want_rows(plan: Plan, condition: Q) -> None:
    last = -1
    rows = Record.objects.filter(condition, index__lt=plan.order.size).order_by("index")
    while page := list(rows.filter(index__gt=last).values_list("index", flat=True)[:PAGE]):
        plan.want(page)
        last = page[-1]


def _add_consequences(plan: Plan) -> None:
    """What withdrew or disposed of a record of the pack, and what disposed of that in turn."""
    before = -1
    while (count := plan.count()) != before:
        before = count
        for page in plan.pages():
            rows = Record.objects.filter(index__in=list(page)).values_list("withdrawn_by", "disposed_by")
            plan.want({index for row in rows for index in row if index is not None})
