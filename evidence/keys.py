"""The service's own two Ed25519 keys: the log key signs checkpoints, the record key what arrived unsigned.

They come from files (0600) or the environment, never from the database, and are created by the embedded stack only.
"""

import functools
import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from config.errors import UnavailableError
from evidence.tlog.errors import TlogError
from evidence.tlog.keys import key_digest, load_private
from evidence.tlog.note import Signer, Verifier


def _private(variable: str, path: str) -> Ed25519PrivateKey:
    pem = os.environ.get(variable)
    try:
        return load_private(pem.encode() if pem else Path(path).read_bytes())
    except (OSError, TlogError) as error:
        raise UnavailableError(
            f"The signing key is not readable ({error}). Put a PEM of an Ed25519 key at {variable}_FILE.",
            code="signing_key_missing",
        ) from None


def is_private_file(path: str) -> bool:
    """Whether only its owner can read the file."""
    return stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0


@functools.cache
def log_signer() -> Signer:
    return Signer(settings.LOG_ORIGIN, _private("LOG_KEY", settings.LOG_KEY_FILE))


@functools.cache
def log_verifier() -> Verifier:
    return Verifier.parse(log_signer().vkey)


@functools.cache
def record_key() -> Ed25519PrivateKey:
    return _private("RECORD_KEY", settings.RECORD_KEY_FILE)


@functools.cache
def record_key_id() -> str:
    return key_digest(record_key().public_key())
