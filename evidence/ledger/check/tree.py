"""The tree, rebuilt from leaf hashes: full tiles, and the root that each checkpoint must carry."""

from collections.abc import Sequence

from django.db.models import Q

from evidence.ledger.check.deviations import Deviates
from evidence.ledger.check.signers import Signers
from evidence.models import Head, Note, Tile
from evidence.tlog.checkpoint import open_checkpoint
from evidence.tlog.errors import TlogError
from evidence.tlog.merkle import Frontier, tree_root
from evidence.tlog.tiles import TILE


class Tree:
    def __init__(self, deviates: Deviates, signers: Signers) -> None:
        self.frontier = Frontier(0, ())
        self._deviates = deviates
        self._signers = signers
        #: For each level, how many tiles are full, and the hashes that wait for the next one.
        self._full: list[int] = []
        self._waiting: list[list[bytes]] = []
        #: Set by the first checkpoint whose root does not follow: later ones would only repeat it.
        self._root_deviates = False

    @property
    def size(self) -> int:
        return self.frontier.size

    @property
    def root(self) -> bytes:
        return self.frontier.root()

    def grow(self, hashes: Sequence[bytes]) -> None:
        """Extend from checkpoint to checkpoint, comparing each, and each tile that becomes full."""
        start, end = self.size, self.size + len(hashes)
        for note in Note.objects.filter(size__gt=start, size__lte=end).order_by("size"):
            self.frontier = self.frontier.extend(hashes[self.size - start : note.size - start]).frontier
            self._check_note(note)
        self.frontier = self.frontier.extend(hashes[self.size - start :]).frontier
        for hash_ in hashes:
            self._add(0, hash_)

    def _check_note(self, note: Note) -> None:
        where = f"size {note.size}"
        try:
            checkpoint = open_checkpoint(note.text, self._signers.log_keys(note.size))
        except TlogError as error:
            self._deviates("checkpoint", where, str(error))
            return
        if checkpoint.size != note.size:
            self._deviates("checkpoint", where, f"speaks of size {checkpoint.size}")
        elif checkpoint.root != self.root and not self._root_deviates:
            self._root_deviates = True
            detail = f"its root is {checkpoint.root.hex()}, the entries give {self.root.hex()}"
            self._deviates("checkpoint", where, f"{detail} (later checkpoints are not listed)")

    def _add(self, level: int, hash_: bytes) -> None:
        if level == len(self._waiting):
            self._waiting.append([])
            self._full.append(0)
        row = self._waiting[level]
        row.append(hash_)
        if len(row) == TILE:
            self._waiting[level] = []
            self._check_tile(level, self._full[level], b"".join(row))
            self._full[level] += 1
            self._add(level + 1, tree_root(row))

    def _check_tile(self, level: int, number: int, hashes: bytes) -> None:
        stored = Tile.objects.filter(level=level, number=number).values_list("hashes", flat=True).first()
        where = f"tile/{level}/{number}"
        if stored is None:
            self._deviates("tile", where, "missing")
        elif bytes(stored) != hashes:
            first = next(i for i in range(TILE) if bytes(stored)[i * 32 : i * 32 + 32] != hashes[i * 32 : i * 32 + 32])
            self._deviates("tile", where, f"hash {first} is not what the entries give")

    def close(self, head: Head) -> None:
        """Compare with the head, in the transaction that read it; nothing may lie past it."""
        if bytes(head.root) != self.root:
            self._deviates("head", "root", f"is {bytes(head.root).hex()}, the entries give {self.root.hex()}")
        if bytes(head.frontier) != b"".join(self.frontier.hashes):
            self._deviates("head", "frontier", "is not what the entries give")
        if head.size and not Note.objects.filter(size=head.size).exists():
            self._deviates("checkpoint", f"size {head.size}", "missing: the head has no signed checkpoint")
        for size in Note.objects.filter(Q(size__gt=head.size) | Q(size__lt=1)).values_list("size", flat=True)[:10]:
            self._deviates("checkpoint", f"size {size}", f"the log has {head.size} entries")
        self._close_tiles()

    def _close_tiles(self) -> None:
        past = Q(level__lt=0) | Q(number__lt=0) | Q(level__gte=len(self._full))
        for level, full in enumerate(self._full):
            past |= Q(level=level, number__gte=full)
        for level, number in Tile.objects.filter(past).values_list("level", "number")[:10]:
            self._deviates("tile", f"tile/{level}/{number}", "the log has no such full tile")
