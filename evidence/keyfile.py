"""The file with private halves: read by every process, changed only by rotations, whole or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.errors import ConflictError, InvalidError
from evidence.keys import Source, is_private_file
from evidence.tlog.errors import TlogError
from evidence.tlog.keys import dump_private, load_private


def load(path: Path) -> Ed25519PrivateKey:
    """A key that an operator brings: one PEM that only its owner can read. Raises InvalidError."""
    try:
        private, pem = is_private_file(path), path.read_bytes()
    except OSError as error:
        raise InvalidError(f"Cannot read {path}: {error.strerror}.", code="key_unreadable") from None
    if not private:
        raise InvalidError(f"Others can read {path}: chmod 600, or better make a new key.", code="key_exposed")
    try:
        return load_private(pem)
    except TlogError as error:
        raise InvalidError(f"{path} is {error}.", code="key_invalid") from None


def add(source: Source, key: Ed25519PrivateKey) -> None:
    """Put a key behind those that are there."""
    if source.from_environment:
        raise ConflictError(
            f"The keys come from the variable {source.variable}: put the PEM of the new one there, behind the old "
            "one's, on every host, restart, and run this again.",
            code="key_from_environment",
        )
    before = source.path.read_bytes() if source.path.exists() else b""
    _replace(source.path, before + (b"\n" if before and not before.endswith(b"\n") else b"") + dump_private(key))


def keep(source: Source, kept: Sequence[Ed25519PrivateKey]) -> None:
    """Let the file hold these keys and no other."""
    _replace(source.path, b"".join(dump_private(key) for key in kept))


def _replace(path: Path, pem: bytes) -> None:
    """0600, of the same owner: who runs the command need not be who runs the service."""
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if path.exists() and os.geteuid() == 0:
                os.fchown(file.fileno(), path.stat().st_uid, path.stat().st_gid)
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise ConflictError(
            f"{path} cannot be written ({error.strerror}): put the PEM of the new key there yourself, behind the old "
            "one's, and run this again.",
            code="key_file_unwritable",
        ) from None
