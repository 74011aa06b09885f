"""One round of publishing. Every step can be repeated; whatever a crash left undone, the next round does.

1. find the newest anchor in the bucket
2. refuse writes if the ledger lies behind it or does not continue it; take them again if it does
3. note the newest anchor in the database, where a crash came between
4. with news: write the full tiles, then the checkpoint (object)
5. note it in the database (row)
6. point to it (pointer); without news where the pointer lags, or was written over an hour ago
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from django.db import DatabaseError, connection
from django.utils import timezone

from config.errors import MissingError
from evidence.anchors import standing
from evidence.anchors.outside import BINARY, CHECKPOINTS, TEXT, Outside, Published, open_anchor, writer
from evidence.anchors.standing import ReadOnly
from evidence.ledger import reader
from evidence.models import Anchor
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.errors import TlogError
from evidence.tlog.merkle import verify_consistency
from evidence.tlog.tiles import TILE, TileAddress, encode_bundle, entries_path, tile_path, tile_widths

#: Without news the pointer is written again after this long: its time tells readers that somebody still publishes.
HEARTBEAT = timedelta(hours=1)


class DeviatesError(Exception):
    """The ledger is not the one that was published."""

    def __init__(self, why: ReadOnly) -> None:
        super().__init__(why.reason)
        self.why = why


#: Tiles of a level that one query reads: one by one they took twice as long.
_AT_ONCE = 8
#: Of PostgreSQL's advisory locks: held while a scheduled round is under way.
_LOCK = 0x616E63686F72


def publish_alone(*, rest: float) -> str:
    """`publish`, unless such a round is under way already: after a busy hour one may take longer than a minute, and the
    next ones would write the same tiles beside it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return "the last round is still under way"
    try:
        return publish(rest=rest)
    finally:
        with suppress(DatabaseError), connection.cursor() as cursor:  # one that broke has let go of it
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def publish(*, rest: float = 0.0) -> str:
    """Do one round and say what was done. Raises botocore's errors where the store fails: the next round goes on.

    `rest`: seconds of rest for each second that tiles take. A minute's worth of a busy ledger keeps a core busy for
    seconds; done at once, whoever writes meanwhile waits.
    """
    outside = writer()
    newest = outside.newest()  # 1, before the database is read: what is written meanwhile is no deviation
    try:
        note = _continues(newest)  # 2
        standing.resume_writes()
        if newest is not None:
            note_row(outside, newest)  # 3
        if note is None:
            return "the log is empty"
        if newest is not None and newest.size == _size(note):
            return _tend_pointer(outside, newest)
        published = add(outside, note, newest.size if newest else None, rest=rest)  # 4
    except DeviatesError as deviation:
        standing.stop_writes(deviation.why)
        return f"read-only, {deviation.why.code}: {deviation.why.reason}"
    note_row(outside, published)  # 5
    outside.point_to(published.note)  # 6
    return f"published {published.size}"


# -- 2. the ledger and what was published --------------------------------------------------------------------------


def _continues(newest: Published | None) -> str | None:
    """The current checkpoint, proven to continue the newest anchor; None in an empty log. Raises `DeviatesError`."""
    size, note = reader.size(), reader.latest_note()
    if newest is None:
        return note.text if note else None
    if size < newest.size:
        raise DeviatesError(standing.behind(size, newest.size))
    try:
        if note is None:
            raise MissingError("its checkpoints are gone")
        current = open_anchor(note.text)
        proof = reader.consistency(newest.size, current.size) if newest.size <= current.size else []
        verify_consistency(
            old_size=newest.size,
            new_size=current.size,
            proof=proof,
            old_root=newest.checkpoint.root,
            new_root=current.root,
        )
    except (TlogError, MissingError) as error:
        raise DeviatesError(standing.forked(newest.size, str(error))) from error
    return note.text


def _size(note: str) -> int:
    return open_anchor(note).size


# -- 4. object -----------------------------------------------------------------------------------------------------


def add(outside: Outside, note: str, previous: int | None, *, rest: float = 0.0) -> Published:
    """Write the tiles that became full since `previous`, then the checkpoint. Raises `DeviatesError`."""
    checkpoint, began = open_anchor(note), time.monotonic()
    for path, body in _full_tiles(previous or 0, checkpoint.size):
        outside.add(path, body, media_type=BINARY, same=body.__eq__)
        time.sleep(rest * (time.monotonic() - began))
        began = time.monotonic()
    version = outside.add(
        f"{CHECKPOINTS}{checkpoint.size}",
        note.encode(),
        media_type=TEXT,
        same=lambda there: _says_the_same(there, checkpoint),
        previous="" if previous is None else str(previous),
    )
    return Published(
        checkpoint, note, outside.key(f"{CHECKPOINTS}{checkpoint.size}"), version, timezone.now(), previous
    )


def _says_the_same(there: bytes, checkpoint: Checkpoint) -> bool:
    """Whether an object found in our place is this checkpoint; a log key may have signed it in other lines."""
    try:
        found = open_anchor(there.decode(errors="replace"))
    except TlogError:
        return False
    if found.size == checkpoint.size and found.root != checkpoint.root:
        raise DeviatesError(standing.forked(found.size, "it has another root there"))
    return found == checkpoint


def _full_tiles(old: int, new: int) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of full tiles and entry bundles that a tree of `new` leaves has and one of `old` had not."""
    before = dict(enumerate(full for full, _ in tile_widths(old)))
    for level, (full, _) in enumerate(tile_widths(new)):
        for start in range(before.get(level, 0), full, _AT_ONCE):
            yield from _read_tiles(level, start, min(start + _AT_ONCE, full))


def _read_tiles(level: int, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    if level == 0:
        for number, leaves in enumerate(reader.bundles(start, end), start):
            yield entries_path(number), encode_bundle(leaves)
    addresses = [TileAddress(level, number, TILE) for number in range(start, end)]
    read = reader.tiles(addresses)
    for address in addresses:
        yield tile_path(level, address.n), read[address]


# -- 5. row --------------------------------------------------------------------------------------------------------


def note_row(outside: Outside, published: Published) -> None:
    """Note an anchor in the database; once, whoever does it first."""
    if Anchor.objects.filter(size=published.size).exists():
        return
    if published.key == outside.key(f"{CHECKPOINTS}{published.size}"):
        anchor: Published | None = published
    else:  # the pointer was read: what it names has the version
        anchor = outside.read(f"{CHECKPOINTS}{published.size}")
    if anchor is None:
        return
    known = anchor.previous is not None and Anchor.objects.filter(size=anchor.previous).exists()
    row = Anchor(
        size=anchor.size,
        root=anchor.checkpoint.root,
        previous=anchor.previous if known else None,
        key=anchor.key,
        version_id=anchor.version_id,
    )
    Anchor.objects.bulk_create([row], ignore_conflicts=True)


# -- 6. pointer ----------------------------------------------------------------------------------------------------


def _tend_pointer(outside: Outside, newest: Published) -> str:
    pointer = outside.pointer()
    if pointer is None or pointer.size != newest.size:
        outside.point_to(newest.note)
        return f"pointed to {newest.size}"
    if timezone.now() - pointer.modified >= HEARTBEAT:
        outside.point_to(newest.note)
        return f"nothing new since {newest.size}, pointed to it again"
    return f"nothing new since {newest.size}"
