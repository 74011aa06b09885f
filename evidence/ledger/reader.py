"""Reading the ledger: entries, payloads, nodes and proofs, from rows that never change."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

import zstandard
from django.db.models import Max, Q

from config.errors import GoneError, MissingError
from evidence.ledger.draft import Placed, Recorded
from evidence.models import Entry, Head, Note, Payload, Record, Tile
from evidence.tlog.dsse import parse_envelope
from evidence.tlog.leaf import Leaf, parse_leaf
from evidence.tlog.merkle import HASH_SIZE, NodeReader, consistency_proof, inclusion_proof
from evidence.tlog.statement import parse_statement
from evidence.tlog.tiles import TILE, TileAddress, TileNodes, TilePlan
from evidence.tlog.tlog_proof import format_proof

MAX_ENVELOPE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Stored:
    """An entry with its payload, which is None once it was disposed of."""

    index: int
    leaf: Leaf
    leaf_bytes: bytes
    salt: bytes | None
    context: bytes | None
    envelope: bytes | None
    retention_class: str | None
    retain_until: datetime | None

    @property
    def recorded(self) -> Recorded:
        """The record as projections see it. Raises GoneError when its payload was disposed of."""
        if self.context is None or self.envelope is None:
            raise GoneError(f"The content of record {self.index} was disposed of; its leaf and proof remain.")
        context = parse_context(self.context)
        statement = parse_statement(parse_envelope(self.envelope).payload)
        return Recorded(self.index, self.leaf, statement, context, context["verification"]["signature"])


def parse_context(context: bytes) -> Mapping[str, Any]:
    """A stored context (written canonically by ourselves)."""
    parsed: Mapping[str, Any] = json.loads(context)
    return parsed


def size() -> int:
    """How many entries the log has."""
    return Head.objects.values_list("size", flat=True).get(id=1)


def envelope_of(payload: Payload) -> bytes:
    """The envelope exactly as it was sent."""
    stored = bytes(payload.envelope)
    if payload.codec == Payload.RAW:
        return stored
    return zstandard.ZstdDecompressor().decompress(stored, max_output_size=MAX_ENVELOPE)


def read(start: int, end: int) -> Iterator[Stored]:
    """Entries of [start, end) in order, with their payloads. Two queries; keep the range in the thousands."""
    payloads = {payload.index: payload for payload in Payload.objects.filter(index__gte=start, index__lt=end)}
    for entry in Entry.objects.filter(index__gte=start, index__lt=end).order_by("index"):
        yield _stored(entry, payloads.get(entry.index))


def read_many(indexes: Iterable[int]) -> dict[int, Stored]:
    """Chosen entries by index, with their payloads. Two queries."""
    wanted = list(indexes)
    payloads = {payload.index: payload for payload in Payload.objects.filter(index__in=wanted)}
    return {entry.index: _stored(entry, payloads.get(entry.index)) for entry in Entry.objects.filter(index__in=wanted)}


def get(index: int) -> Stored:
    """One entry. Raises MissingError."""
    try:
        return read_many([index])[index]
    except KeyError:
        raise MissingError(f"There is no record {index}.", code="record_unknown") from None


def of(record: Record) -> Stored:
    """The entry of a record, which is read again where it was disposed of since it was read."""
    stored = get(record.index)
    if stored.envelope is None and record.disposed_by is None:
        record.refresh_from_db()
    return stored


def _stored(entry: Entry, payload: Payload | None) -> Stored:
    leaf_bytes = bytes(entry.leaf)
    return Stored(
        index=entry.index,
        leaf=parse_leaf(leaf_bytes),
        leaf_bytes=leaf_bytes,
        salt=bytes(payload.salt) if payload else None,
        context=bytes(payload.context) if payload else None,
        envelope=envelope_of(payload) if payload else None,
        retention_class=payload.retention_class if payload else None,
        retain_until=payload.retain_until if payload else None,
    )


# -- nodes and proofs --------------------------------------------------------------------------------------------------


def leaf_hashes(start: int, end: int) -> list[bytes]:
    """Stored leaf hashes of [start, end)."""
    rows = Entry.objects.filter(index__gte=start, index__lt=end).order_by("index").values_list("leaf_hash", flat=True)
    return [bytes(row) for row in rows]


def tile(level: int, number: int, width: int) -> bytes:
    """The bytes of a tile, full (``width`` 256) or partial. Raises MissingError where the log does not reach."""
    address = TileAddress(level, number, width)
    return tiles([address])[address]


def tiles(addresses: Iterable[TileAddress]) -> dict[TileAddress, bytes]:
    """Tiles, full or partial, in at most three queries. Raises MissingError where the log does not reach."""
    wanted = list(addresses)
    found = _full_tiles([address for address in wanted if address.width == TILE])
    found |= _leaf_tiles([address for address in wanted if address.width < TILE and address.level == 0])
    found |= _upper_tiles([address for address in wanted if address.width < TILE and address.level > 0])
    for address in wanted:
        if len(found.get(address, b"")) != address.width * HASH_SIZE:
            raise MissingError(f"Tile {address.level}/{address.n} is not that wide yet.", code="tile_unknown")
    return found


def bundle(number: int, width: int) -> list[bytes]:
    """The leaves of an entry bundle. Raises MissingError where the log does not reach."""
    return _leaves(number * TILE, number * TILE + width)


def bundles(start: int, end: int) -> Iterator[list[bytes]]:
    """The leaves of the full entry bundles [start, end), in one query. Raises MissingError as above."""
    leaves = _leaves(start * TILE, end * TILE)
    for first in range(0, len(leaves), TILE):
        yield leaves[first : first + TILE]


def _leaves(start: int, end: int) -> list[bytes]:
    rows = Entry.objects.filter(index__gte=start, index__lt=end).order_by("index").values_list("leaf", flat=True)
    leaves = [bytes(leaf) for leaf in rows]
    if len(leaves) != end - start:
        raise MissingError(f"Entry bundle {(start + len(leaves)) // TILE} is not that wide yet.", code="tile_unknown")
    return leaves


def _full_tiles(addresses: Sequence[TileAddress]) -> dict[TileAddress, bytes]:
    if not addresses:
        return {}
    rows = Tile.objects.filter(pk__in=[(address.level, address.n) for address in addresses])
    return {
        TileAddress(level, number, TILE): bytes(hashes)
        for level, number, hashes in rows.values_list("level", "number", "hashes")
    }


def _leaf_tiles(addresses: Sequence[TileAddress]) -> dict[TileAddress, bytes]:
    """Partial tiles of level 0 are leaf hashes. A proof needs one of them at most: the last."""
    return {address: b"".join(leaf_hashes(address.n * TILE, address.n * TILE + address.width)) for address in addresses}


def _upper_tiles(addresses: Sequence[TileAddress]) -> dict[TileAddress, bytes]:
    """A partial tile further up is made of the roots of the full tiles below it."""
    if not addresses:
        return {}
    ranges = [
        Q(level=address.level - 1, number__gte=address.n * TILE, number__lt=address.n * TILE + address.width)
        for address in addresses
    ]
    rows = Tile.objects.filter(reduce(or_, ranges)).order_by("level", "number").values_list("level", "number", "root")
    roots: dict[tuple[int, int], bytes] = {(level, number): bytes(root) for level, number, root in rows}
    return {
        address: b"".join(
            roots.get((address.level - 1, number), b"")
            for number in range(address.n * TILE, address.n * TILE + address.width)
        )
        for address in addresses
    }


def inclusion(index: int, tree_size: int) -> list[bytes]:
    """The inclusion proof of `index` in the tree of `tree_size` entries."""
    return _proof(tree_size, lambda node: inclusion_proof(index, tree_size, node))


def consistency(old: int, new: int) -> list[bytes]:
    """The consistency proof between two sizes, 0 < old <= new."""
    return _proof(new, lambda node: consistency_proof(old, new, node))


def _proof(tree_size: int, prove: Callable[[NodeReader], list[bytes]]) -> list[bytes]:
    """Find out which tiles the proof needs, two of a level at most; fetch them together; prove."""
    plan = TilePlan(tree_size)
    prove(plan)
    fetched = tiles(plan.tiles)
    return prove(TileNodes(lambda level, n, width: fetched[TileAddress(level, n, width)], tree_size))


def note_for(index: int) -> Note:
    """The checkpoint that a record's receipt names: the first one that covers it."""
    note = Note.objects.filter(size__gt=index).order_by("size").first()
    if note is None:
        raise MissingError(f"There is no record {index}.", code="record_unknown")
    return note


def latest_note() -> Note | None:
    """The newest signed checkpoint; None while the log is empty."""
    newest = Note.objects.aggregate(newest=Max("size"))["newest"]
    return Note.objects.get(size=newest) if newest is not None else None


def replay(index: int) -> Placed:
    """The first answer again, byte for byte. Raises GoneError when its payload was disposed of."""
    stored, note = get(index), note_for(index)
    recorded = stored.recorded  # raises where there is no payload
    return Placed(
        index=index,
        leaf=stored.leaf_bytes,
        salt=stored.salt or b"",
        context=stored.context or b"",
        envelope=stored.envelope or b"",
        checkpoint=note.text,
        proof=format_proof(index, inclusion(index, note.size), note.text),
        principal=stored.leaf.by,
        signed_by=recorded.signed_by,
        at=stored.leaf.at,
        replayed=True,
    )
