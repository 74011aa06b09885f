"""Secrets that the service itself has to read again, kept so that a copy of the database alone does not have them.

The key comes from SECRET_KEY (those of SECRET_KEY_FALLBACKS are still read by): who changes it without keeping the old
one enters such secrets again.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class UnsealableError(Exception):
    """What was sealed cannot be read with the keys of today."""


def seal(text: str, *, purpose: str) -> bytes:
    """Encrypted and authenticated, for one purpose only."""
    return _keys(purpose).encrypt(text.encode())


def unseal(sealed: bytes | memoryview, *, purpose: str) -> str:
    """Raises UnsealableError."""
    try:
        return _keys(purpose).decrypt(bytes(sealed)).decode()
    except InvalidToken:
        raise UnsealableError("it was kept under another SECRET_KEY") from None


def _keys(purpose: str) -> MultiFernet:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_derived(secret, purpose)) for secret in secrets])


def _derived(secret: str, purpose: str) -> bytes:
    derived = HKDF(SHA256(), 32, salt=None, info=f"prooftrail {purpose}".encode()).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
