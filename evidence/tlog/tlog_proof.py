"""C2SP tlog-proof: an inclusion proof and the signed checkpoint it leads to, as one text."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from evidence.tlog import b64
from evidence.tlog.checkpoint import parse_decimal
from evidence.tlog.errors import MalformedError
from evidence.tlog.merkle import HASH_SIZE

HEADER = "c2sp.org/tlog-proof@v1"
_MAX_HASHES = 63


@dataclass(frozen=True)
class TlogProof:
    """``hashes`` from the leaf's sibling to the root's child; ``note`` is the signed checkpoint, unchecked.

    ``extra`` is what a foreign tool put beside the proof: authenticated by nothing, never used here.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: str
    extra: bytes | None = None


def format_proof(index: int, hashes: Sequence[bytes], note: str) -> str:
    lines = [HEADER, f"index {index}", *map(_spelled, hashes)]
    return "\n".join(lines) + "\n\n" + note


@functools.lru_cache(maxsize=4096)  # the proofs of a batch share most of theirs
def _spelled(hash_: bytes) -> str:
    return b64.encode(hash_)


def parse_proof(text: str) -> TlogProof:
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or not note or lines[0] != HEADER:
        raise MalformedError(f"not a proof: it does not begin with {HEADER} or holds no checkpoint")
    del lines[0]
    extra = b64.decode(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise MalformedError("a proof names the index of its leaf")
    index = parse_decimal(lines.pop(0).removeprefix("index "))
    hashes = tuple(map(b64.decode, lines))
    if len(hashes) > _MAX_HASHES or any(len(hash_) != HASH_SIZE for hash_ in hashes):
        raise MalformedError(f"a proof holds at most {_MAX_HASHES} hashes of 32 bytes")
    return TlogProof(index, hashes, note, extra)
