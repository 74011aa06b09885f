"""C2SP tlog-checkpoint: what a log says about itself at one size."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evidence.tlog import b64
from evidence.tlog.errors import MalformedError, SignatureError
from evidence.tlog.merkle import HASH_SIZE
from evidence.tlog.note import Verifier, check_name, open_note, parse_note

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


@dataclass(frozen=True)
class LogKey(Verifier):
    """A log's verifier key with the tree sizes it signs for; ``to_size`` None while it is in force."""

    from_size: int = 0
    to_size: int | None = None

    def counts_at(self, size: int) -> bool:
        return self.from_size <= size and (self.to_size is None or size <= self.to_size)

    def sizes(self) -> str:
        """In words, for messages."""
        return f"from {self.from_size} on" if self.to_size is None else f"{self.from_size} to {self.to_size}"


def open_checkpoint(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint, once a trusted key of that name signed it.

    A key speaks for its own log alone: verifiers whose name is not the origin do not count. Neither does a `LogKey`
    for a size that is not its own: a line of a retired key under a later checkpoint is passed over like an unknown one.
    """
    checkpoint = parse_checkpoint(parse_note(note).text)
    counting = [key for key in verifiers if not isinstance(key, LogKey) or key.counts_at(checkpoint.size)]
    try:
        opened = open_note(note, counting)
    except SignatureError as error:
        raise _named(note, checkpoint, [key for key in verifiers if key not in counting]) or error from None
    if all(signer.name != checkpoint.origin for signer in opened.signers):
        raise SignatureError(f"the checkpoint of {checkpoint.origin} is signed by no key of that name")
    return checkpoint


def _named(note: str, checkpoint: Checkpoint, others: Sequence[Verifier]) -> SignatureError | None:
    """What to say of a note that only a key of other sizes signed."""
    parsed = parse_note(note)
    for key in others:
        for line in parsed.signatures:
            named = (line.name, line.key_id) == (key.name, key.key_id)
            if isinstance(key, LogKey) and named and key.verifies(parsed.text, line.signature):
                return SignatureError(
                    f"only the key {key.name} ({key.key_id}) signed size {checkpoint.size}, and it signs for sizes "
                    f"{key.sizes()}"
                )
    return None
