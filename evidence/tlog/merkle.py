"""RFC 6962 section 2.1: hashes, roots and proofs over a log's leaf hashes.

A tree of size n is read as levels: the node (level, index) is the root of the perfect subtree
over the leaves ``index << level`` to ``(index + 1) << level``. Everything that is not perfect lies
on the right edge and is folded from perfect subtrees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from evidence.tlog.errors import MalformedError, ProofError

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

NodeReader = Callable[[int, int], bytes]
"""(level, index) to the hash of that perfect subtree."""


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def pair_up(row: Sequence[bytes]) -> list[bytes]:
    """The level above ``row``; a last node without a sibling is left out."""
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)]


def tree_root(leaf_hashes: Sequence[bytes]) -> bytes:
    return Frontier(0, ()).extend(leaf_hashes).root


# --- verifying ------------------------------------------------------------------------------------


def verify_inclusion(*, index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raise `ProofError` unless ``leaf_hash`` is leaf ``index`` of ``size`` under ``root``."""
    if not 0 <= index < size:
        raise ProofError(f"index {index} is outside a tree of size {size}")
    inner, border = _proof_shape(index, size)
    _check_hashes(proof, inner + border)
    computed = _fold_border(_fold_inner(leaf_hash, proof[:inner], index), proof[inner:])
    if computed != root:
        raise ProofError(f"inclusion proof leads to root {computed.hex()}, not to {root.hex()}")


def verify_consistency(
    *, old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raise `ProofError` unless the tree under ``new_root`` begins with the whole tree under ``old_root``.

    From size 0 there is nothing to prove, so asking is an error (RFC 9162 section 2.1.4.2).
    """
    if not 0 < old_size <= new_size:
        raise ProofError(f"no consistency proof goes from size {old_size} to size {new_size}")
    if old_size == new_size:
        _check_hashes(proof, 0)
        if old_root != new_root:
            raise ProofError(f"two roots for size {old_size}: {old_root.hex()} and {new_root.hex()}")
        return
    old_computed, new_computed = _fold_both(old_size, new_size, proof, old_root)
    if old_computed != old_root:
        raise ProofError(f"consistency proof leads to old root {old_computed.hex()}, not to {old_root.hex()}")
    if new_computed != new_root:
        raise ProofError(f"consistency proof leads to new root {new_computed.hex()}, not to {new_root.hex()}")


def _fold_both(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """The old and the new root that follow from a consistency proof.

    It is the inclusion proof of the old tree's last perfect subtree; that subtree's hash stands
    first, unless the old tree is that subtree.
    """
    level = _trailing_zeros(old_size)
    inner, border = _proof_shape(old_size - 1, new_size)
    inner -= level
    whole = old_size == 1 << level
    _check_hashes(proof, inner + border + (not whole))
    seed, rest = (old_root, proof) if whole else (proof[0], proof[1:])
    path = (old_size - 1) >> level
    left_only = [hash_ for bit, hash_ in enumerate(rest[:inner]) if path >> bit & 1]
    old = _fold_border(_fold_border(seed, left_only), rest[inner:])
    return old, _fold_border(_fold_inner(seed, rest[:inner], path), rest[inner:])


def _proof_shape(index: int, size: int) -> tuple[int, int]:
    """How many hashes lie below, and above, where the paths to ``index`` and to the last leaf part."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _check_hashes(proof: Sequence[bytes], count: int) -> None:
    if len(proof) != count:
        raise ProofError(f"proof has {len(proof)} hashes, expected {count}")
    if any(len(hash_) != HASH_SIZE for hash_ in proof):
        raise ProofError("proof holds a hash that is not 32 bytes")


def _fold_inner(seed: bytes, hashes: Sequence[bytes], index: int) -> bytes:
    for bit, hash_ in enumerate(hashes):
        seed = node_hash(hash_, seed) if index >> bit & 1 else node_hash(seed, hash_)
    return seed


def _fold_border(seed: bytes, hashes: Sequence[bytes]) -> bytes:
    for hash_ in hashes:
        seed = node_hash(hash_, seed)
    return seed


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1


# --- proving --------------------------------------------------------------------------------------


def root_at(size: int, node: NodeReader) -> bytes:
    """The root of the first ``size`` leaves."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """The leaf's sibling first, the root's child last."""
    if not 0 <= index < size:
        raise ProofError(f"index {index} is outside a tree of size {size}")
    return _siblings(0, index, size, node)


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """Empty from size 0 and between equal sizes, where there is nothing to prove."""
    if not 0 <= old <= new:
        raise ProofError(f"no consistency proof goes from size {old} to size {new}")
    if old in (0, new):
        return []
    level = _trailing_zeros(old)
    last = (old - 1) >> level
    start = [node(level, last)] if last else []
    return start + _siblings(level, last, new, node)


def _siblings(level: int, index: int, size: int, node: NodeReader) -> list[bytes]:
    """The siblings on the way from a perfect subtree up to the root of ``size`` leaves."""
    hashes = []
    last = (size - 1) >> level
    while last:
        sibling = index ^ 1
        if sibling < last:
            hashes.append(node(level, sibling))
        elif sibling == last:
            hashes.append(_range_root(sibling << level, size, node))
        level, index, last = level + 1, index >> 1, last >> 1
    return hashes


def _range_root(start: int, end: int, node: NodeReader) -> bytes:
    """The root over the leaves from ``start``, where a perfect subtree begins, to ``end``."""
    hashes = []
    while start < end:
        level = (end - start).bit_length() - 1
        hashes.append(node(level, start >> level))
        start += 1 << level
    return _fold_border(hashes[-1], hashes[-2::-1])


# --- growing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frontier:
    """The perfect subtrees of a tree from the left, largest first: all that appending needs."""

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise MalformedError(f"a frontier of size {self.size} does not have {len(self.hashes)} hashes")
        if any(len(hash_) != HASH_SIZE for hash_ in self.hashes):
            raise MalformedError("a frontier holds a hash that is not 32 bytes")

    def root(self) -> bytes:
        return _fold_border(self.hashes[-1], self.hashes[-2::-1]) if self.size else EMPTY_ROOT

    def extend(self, leaf_hashes: Sequence[bytes]) -> "Growth":
        return Growth(self, leaf_hashes)

    def by_level(self) -> dict[int, bytes]:
        levels = [level for level in reversed(range(self.size.bit_length())) if self.size >> level & 1]
        return dict(zip(levels, self.hashes, strict=True))


class Growth:
    """A tree grown by some leaves: every new node, the new frontier and root, the new leaves' proofs.

    Works on whole levels, so a batch costs about one hash per leaf. A level holds the nodes that
    are new, preceded by the old frontier's node where the first new one is a right child.
    """

    def __init__(self, old: Frontier, leaf_hashes: Sequence[bytes]) -> None:
        self.old_size = old.size
        self.size = old.size + len(leaf_hashes)
        self._first: list[int] = []  # index of the first node of each row
        self._rows: list[list[bytes]] = []
        self._build(old.by_level(), list(leaf_hashes))
        self._tails = self._right_edge()
        self.root = self._tails[-1] if leaf_hashes else old.root()
        self.frontier = Frontier(self.size, self._frontier_hashes())

    def node(self, level: int, index: int) -> bytes:
        """A perfect subtree that is new or a left sibling of one; anything else is not known here."""
        if not 0 <= level < len(self._rows):
            raise ProofError(f"level {level} is above this growth")
        position = index - self._first[level]
        if not 0 <= position < len(self._rows[level]):
            raise ProofError(f"node {index} of level {level} is not part of this growth")
        return self._rows[level][position]

    def inclusion_proof(self, index: int) -> list[bytes]:
        """The proof of a new leaf against the new size."""
        if not self.old_size <= index < self.size:
            raise ProofError(f"leaf {index} is not one of this growth")
        hashes = []
        last = self.size - 1
        for level in range(last.bit_length()):
            sibling = (index >> level) ^ 1
            edge = last >> level
            if sibling < edge:
                hashes.append(self._rows[level][sibling - self._first[level]])
            elif sibling == edge:
                hashes.append(self._tails[level])
        return hashes

    def _build(self, old: dict[int, bytes], row: list[bytes]) -> None:
        for level in range(max(self.size.bit_length(), 1)):
            first = self.old_size >> level
            if first & 1:
                first -= 1
                row = [old[level], *row]
            self._first.append(first)
            self._rows.append(row)
            row = pair_up(row)

    def _right_edge(self) -> list[bytes]:
        """For each level the root over the last, often imperfect, subtree of that level."""
        if self.size == self.old_size:
            return []
        last = self.size - 1
        tails: list[bytes] = []
        for level in range(last.bit_length() + 1):
            if self.size & ((1 << level) - 1) == 0:
                tails.append(self.node(level, last >> level))
            elif last >> (level - 1) & 1:
                tails.append(node_hash(self.node(level - 1, (last >> (level - 1)) - 1), tails[-1]))
            else:
                tails.append(tails[-1])
        return tails

    def _frontier_hashes(self) -> tuple[bytes, ...]:
        levels = (level for level in reversed(range(self.size.bit_length())) if self.size >> level & 1)
        return tuple(self.node(level, (self.size >> level) - 1) for level in levels)
