"""Ed25519 keys as PEM (PKCS #8 and SubjectPublicKeyInfo) and their digests."""

import re
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from evidence.tlog.errors import MalformedError

_PRIVATE_BLOCK = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


def generate() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def load_private(pem: bytes) -> Ed25519PrivateKey:
    """An unencrypted PKCS #8 key."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("not an unencrypted private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedError("a private key, but not an Ed25519 one")
    return key


def load_privates(pem: bytes) -> list[Ed25519PrivateKey]:
    """Every key of a text with one or more PEM blocks, in their order."""
    blocks = _PRIVATE_BLOCK.findall(pem)
    if not blocks:
        raise MalformedError("holds no unencrypted private key in PEM")
    return [load_private(block) for block in blocks]


def dump_private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_public(pem: bytes) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise MalformedError("a public key, but not an Ed25519 one")
    return key


def dump_public(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_raw(raw: bytes) -> Ed25519PublicKey:
    """A public key from its 32 bytes (RFC 8032)."""
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError as error:
        raise MalformedError("not the 32 bytes of an Ed25519 public key") from error


def key_digest(public: Ed25519PublicKey) -> str:
    """Hex SHA-256 of the raw 32 bytes; what envelopes name as ``keyid`` (`signing.digest` for other keys)."""
    return sha256(public.public_bytes_raw()).hexdigest()
