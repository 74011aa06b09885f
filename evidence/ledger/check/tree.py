"""The tree, rebuilt from leaf hashes: full tiles, and the root that each checkpoint must carry."""

from collections.abc import Sequence

from django.db.models import Q

from evidence.ledger.check.deviations import Deviates
from evidence.models import Head, Note, Tile
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.merkle import HASH_SIZE, Frontier, node_hash, tree_root
from evidence.tlog.tiles import TILE


class Tree:
    def __init__(self, deviates: Deviates) -> None:
        self.size = 0
        self._deviates = deviates
        #: Hashes of the perfect subtrees that make up the tree, largest first.
        self._subtrees: list[bytes] = []
        #: For each level, how many tiles are full, and the hashes that wait for the next one.
        self._full: list[int] = []
        self._waiting: list[list[bytes]] = []
        #: The size up to which a checkpoint's root followed, and whether one did not: later ones only repeat it.
        self._good = 0
        self._root_deviates = False

    @property
    def root(self) -> bytes:
        return Frontier(self.size, tuple(self._subtrees)).root()

    def grow(self, hashes: Sequence[bytes], checkpoints: Sequence[tuple[int, Checkpoint | None]]) -> None:
        """Extend by leaves, comparing the root at each checkpoint that they reach, and each tile that becomes full."""
        start = self.size
        for size, checkpoint in checkpoints:
            self._extend(hashes[self.size - start : size - start])
            if checkpoint is not None:
                self._compare(checkpoint)
        self._extend(hashes[self.size - start :])
        for hash_ in hashes:
            self._add(0, hash_)

    def _extend(self, hashes: Sequence[bytes]) -> None:
        for hash_ in hashes:
            size, subtree = self.size, hash_
            while size & 1:
                subtree = node_hash(self._subtrees.pop(), subtree)
                size >>= 1
            self._subtrees.append(subtree)
            self.size += 1

    def _compare(self, checkpoint: Checkpoint) -> None:
        if self._root_deviates:
            return
        if checkpoint.root == self.root:
            self._good = checkpoint.size
            return
        self._root_deviates = True
        first, last = self._good, checkpoint.size - 1
        entries = f"entry {first} is" if first == last else f"entries {first} to {last} are"
        self._deviates(
            "checkpoint",
            f"size {checkpoint.size}",
            f"{entries} not what was signed: its root is {checkpoint.root.hex()}, the entries give {self.root.hex()}"
            " (later checkpoints are not listed)",
        )

    # -- tiles -----------------------------------------------------------------------------------------------------

    def _add(self, level: int, hash_: bytes) -> None:
        if level == len(self._waiting):
            self._waiting.append([])
            self._full.append(0)
        row = self._waiting[level]
        row.append(hash_)
        if len(row) == TILE:
            self._waiting[level] = []
            root = tree_root(row)
            self._check_tile(level, self._full[level], b"".join(row), root)
            self._full[level] += 1
            self._add(level + 1, root)

    def _check_tile(self, level: int, number: int, hashes: bytes, root: bytes) -> None:
        where = f"tile/{level}/{number}"
        stored = Tile.objects.filter(level=level, number=number).values_list("hashes", "root").first()
        if stored is None:
            self._deviates("tile", where, "missing")
            return
        if bytes(stored[0]) != hashes:
            self._deviates("tile", where, f"hash {_first_difference(bytes(stored[0]), hashes)} is not of its entry")
        elif bytes(stored[1]) != root:
            self._deviates("tile", where, "its stored root is not what the entries give")

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, head: Head) -> None:
        """Compare with the head, in the transaction that read it; nothing may lie past it."""
        if bytes(head.root) != self.root:
            self._deviates("head", "root", f"is {bytes(head.root).hex()}, the entries give {self.root.hex()}")
        if bytes(head.frontier) != b"".join(self._subtrees):
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


def _first_difference(stored: bytes, wanted: bytes) -> int:
    """The position of the first hash that differs."""
    pairs = ((stored[at : at + HASH_SIZE], wanted[at : at + HASH_SIZE]) for at in range(0, len(wanted), HASH_SIZE))
    return next(position for position, (ours, theirs) in enumerate(pairs) if ours != theirs)
