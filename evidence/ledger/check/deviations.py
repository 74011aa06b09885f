"""What a check finds."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """`what` is wrong (entry, payload, tile …), `where` it is, and how it differs."""

    what: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.detail}"


#: What to do about each kind of deviation, where that helps.
ADVICE = {
    "entry": "keep this database as it is; compare with the outside copies (bucket of anchors) and a backup",
    "leaf": "the log itself was changed: keep this database as it is, and restore from a backup that checks clean",
    "leaf hash": "the leaf still gives the signed root: as the owner, store sha256(0x00 || leaf) again",
    "payload": "restore the payload of that entry from a backup; the leaf's digest tells when it is the right one",
    "signature": "see who could write to the table of keys then; the record counts for nothing until that is clear",
    "tile": "tiles follow from entries: as the owner, write the tile again from the leaf hashes",
    "head": "the head follows from entries: writes are refused until root and frontier fit; restore the row",
    "checkpoint": "compare with receipts, packs and outside copies of that size: they carry what was signed",
    "projection": "the ledger is right, the table is not: as the owner, give the row the values that the ledger gives",
    "kind": "set PROOFTRAIL_KINDS or PROOFTRAIL_DATA_PATHS as the service has it, check again",
    "anchor": "an outside copy and this database disagree: do not write; see docs/operations.md, outside copies",
}

Report = Callable[[Deviation], None]
#: Entries done, and how many there are.
Progress = Callable[[int, int], None]
#: (what, where, detail)
Deviates = Callable[[str, str, str], None]
