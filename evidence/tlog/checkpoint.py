"""C2SP tlog-checkpoint: what a log says about itself at one size."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evidence.tlog import b64
from evidence.tlog.errors import MalformedError, SignatureError
from evidence.tlog.merkle import HASH_SIZE
from evidence.tlog.note import Verifier, check_name, open_note

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_decimal(text: str) -> int:
    """ASCII decimal without leading zeros, below 2**63."""
    if not _DECIMAL.fullmatch(text) or int(text) >= 1 << 63:
        raise MalformedError(f"{text[:32]!r} is not a decimal number without leading zeros")
    return int(text)


@dataclass(frozen=True)
class Checkpoint:
    """``origin`` names the log and is the name of its key; ``root`` is over the first ``size`` leaves."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_name(self.origin)
        if self.size < 0 or len(self.root) != HASH_SIZE:
            raise MalformedError("a checkpoint has a size and a root of 32 bytes")

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64.encode(self.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Exactly three lines: this log writes no extension lines and reads none."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise MalformedError("a checkpoint has exactly three lines")
    return Checkpoint(lines[0], parse_decimal(lines[1]), b64.decode(lines[2]))


def open_checkpoint(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint, once a trusted key of that name signed it.

    A key speaks for its own log alone: verifiers whose name is not the origin do not count.
    """
    opened = open_note(note, verifiers)
    checkpoint = parse_checkpoint(opened.text)
    if all(signer.name != checkpoint.origin for signer in opened.signers):
        raise SignatureError(f"the checkpoint of {checkpoint.origin} is signed by no key of that name")
    return checkpoint
