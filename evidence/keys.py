"""The service's own Ed25519 keys: log keys sign checkpoints, record keys what arrived unsigned.

Private halves come from files (0600) or the environment, never from the database, and are created by the embedded
stack only. A file or variable may hold several PEM blocks in any order, as during a rotation: which of them are in
force, and from which size to which, is what the ledger says (`evidence.rotation`, table evidence_signingkey).
"""

import functools
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from config.errors import UnavailableError
from evidence.models import SigningKey
from evidence.tlog.checkpoint import LogKey
from evidence.tlog.errors import TlogError
from evidence.tlog.keys import key_digest, load_privates
from evidence.tlog.note import Signer, Verifier

LOG, RECORD = "log", "record"
PURPOSES = (LOG, RECORD)
#: Seconds for which a process goes on with the record key it last found in force. Both count in an overlap.
FRESH = 5.0


@dataclass(frozen=True)
class Source:
    """Where the private halves of one purpose are: a variable, else a file."""

    variable: str
    path: Path

    @property
    def from_environment(self) -> bool:
        return bool(os.environ.get(self.variable))

    def read(self) -> bytes:
        """The PEM. Raises OSError."""
        return (os.environ.get(self.variable) or "").encode() or self.path.read_bytes()

    def __str__(self) -> str:
        return self.variable if self.from_environment else str(self.path)


def source(purpose: str) -> Source:
    """Where the private halves for ``log`` or ``record`` are."""
    if purpose == LOG:
        return Source("LOG_KEY", Path(settings.LOG_KEY_FILE))
    return Source("RECORD_KEY", Path(settings.RECORD_KEY_FILE))


def is_private_file(path: str | Path) -> bool:
    """Whether only its owner can read the file."""
    return stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0


def key_id(purpose: str, key: Ed25519PrivateKey) -> str:
    """How evidence_signingkey names a key: its verifier key for ``log``, its digest for ``record``."""
    return Signer(settings.LOG_ORIGIN, key).vkey if purpose == LOG else key_digest(key.public_key())


def private_keys(purpose: str, *, or_none: bool = False) -> Mapping[str, Ed25519PrivateKey]:
    """The private halves that this process can use, by key id, in the order of file or variable.

    Raises UnavailableError ``signing_key_missing`` where there is none, unless that is expected.
    """
    where = source(purpose)
    try:
        return _parsed(purpose, settings.LOG_ORIGIN, where.read())
    except (OSError, TlogError) as error:
        if or_none and isinstance(error, FileNotFoundError):
            return {}
        raise UnavailableError(
            f"The signing key is not readable ({error}). Put a PEM of an Ed25519 key at {where.variable}_FILE.",
            code="signing_key_missing",
        ) from None


@functools.lru_cache(maxsize=8)
def _parsed(purpose: str, origin: str, pem: bytes) -> Mapping[str, Ed25519PrivateKey]:
    return {key_id(purpose, key): key for key in load_privates(pem)}


def private_key(purpose: str, wanted: str) -> Ed25519PrivateKey:
    """The private half of a key in force. Raises UnavailableError ``signing_key_missing`` naming it."""
    found = private_keys(purpose).get(wanted)
    if found is None:
        raise UnavailableError(
            f"The private half of the {purpose} key {wanted}, which is in force, is not in {source(purpose)}. Put it "
            f"there (several PEM blocks are fine); if it is lost, see docs/operations.md, Rotating keys.",
            code="signing_key_missing",
        )
    return found


# -- log keys ------------------------------------------------------------------------------------------------------


def log_signers(key_ids: tuple[str, ...]) -> list[Signer]:
    """Signers for the log keys in force, in that order; every checkpoint carries a line of each.

    No ids means that nothing is published yet: the first key of the file signs. A key that this process has not seen
    is looked for in the file, so that a rotation needs no restart.
    Raises UnavailableError ``signing_key_missing`` naming the key whose private half is not there.
    """
    standing_in = _standing_in.get(LOG)
    if standing_in is not None:
        key_ids = tuple(wanted for wanted in key_ids if wanted not in standing_in.lost)
        present = _log_signers(settings.LOG_ORIGIN, settings.LOG_KEY_FILE, key_ids) if key_ids else ()
        return [*present, Signer(settings.LOG_ORIGIN, standing_in.key)]
    return list(_log_signers(settings.LOG_ORIGIN, settings.LOG_KEY_FILE, key_ids))


@functools.lru_cache(maxsize=8)
def _log_signers(origin: str, path: str, key_ids: tuple[str, ...]) -> tuple[Signer, ...]:
    if not key_ids:
        return (Signer(origin, next(iter(private_keys(LOG).values()))),)
    return tuple(Signer(origin, private_key(LOG, wanted)) for wanted in key_ids)


def log_signer() -> Signer:
    """The newest log key in force."""
    return log_signers(in_force(LOG)[-1:])[0]


def log_verifier() -> Verifier:
    """The newest log key in force, as others trust it."""
    return Verifier.parse(log_signer().vkey)


def log_keys() -> list[LogKey]:
    """Every log key that was ever published, with its sizes."""
    rows = SigningKey.objects.filter(purpose=LOG).order_by("from_size")
    found = [(Verifier.parse(row.key_id), row) for row in rows]
    return [LogKey(known.name, known.public_key, row.from_size, row.to_size) for known, row in found]


def in_force(purpose: str) -> tuple[str, ...]:
    """Ids of the published keys that have not ended, oldest first."""
    rows = SigningKey.objects.filter(purpose=purpose, to_size=None).order_by("from_size")
    return tuple(rows.values_list("key_id", flat=True))


# -- record keys ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordSigner:
    """A record key and its id. They come together: who asks again for the other may be told of a successor."""

    id: str
    key: Ed25519PrivateKey


@dataclass(frozen=True)
class _Found:
    signer: RecordSigner
    #: What it was found for; another file, origin of settings or moment asks again.
    place: tuple[str, str | None]
    until: float


_record: _Found | None = None


def record_signer() -> RecordSigner:
    """The newest record key in force: what arrives unsigned is signed with it.

    Any call may answer with another key than the last: what is signed and what names the key take one answer.
    """
    global _record
    if (standing_in := _standing_in.get(RECORD)) is not None:
        return RecordSigner(key_id(RECORD, standing_in.key), standing_in.key)
    found, place = _record, (settings.RECORD_KEY_FILE, os.environ.get("RECORD_KEY"))
    if found is None or found.place != place or time.monotonic() > found.until:
        newest = in_force(RECORD)[-1:] or tuple(private_keys(RECORD))[:1]
        signer = RecordSigner(newest[0], private_key(RECORD, newest[0]))
        found = _record = _Found(signer, place, time.monotonic() + FRESH)
    return found.signer


def may_sign_records(wanted: str, standing: Collection[str]) -> bool:
    """Whether an envelope under this record key may be written while those of `standing` are in force.

    Nothing is in force before the first start has published a key. If not, the key is looked up again for the retry.
    """
    if not standing or wanted in standing or RECORD in _standing_in:
        return True
    forget()
    return False


def forget() -> None:
    """Look again at files and ledger: after a rotation, or when a draft was signed with a key that has ended."""
    global _record
    _record = None
    _log_signers.cache_clear()


# -- a key that is lost --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _StandIn:
    lost: tuple[str, ...]
    key: Ed25519PrivateKey


_standing_in: dict[str, _StandIn] = {}


@contextmanager
def standing_in(purpose: str, lost: tuple[str, ...], key: Ed25519PrivateKey) -> Iterator[None]:
    """Let `key` sign in this process in the place of those lost: for the record that says so, and nothing else."""
    _standing_in[purpose] = _StandIn(lost, key)
    try:
        yield
    finally:
        del _standing_in[purpose]
