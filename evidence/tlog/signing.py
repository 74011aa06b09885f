"""Keys that sign envelopes: Ed25519, and ECDSA over P-256 with SHA-256 or P-384 with SHA-384.

A key is stored and digested as bytes of one spelling: the 32 raw bytes of Ed25519 (RFC 8032), else the DER of its
SubjectPublicKeyInfo with an uncompressed point (RFC 5480). The service's own keys are Ed25519 only (`keys`).
"""

import functools
from collections.abc import Callable
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from evidence.tlog import keys
from evidence.tlog.errors import MalformedError

try:
    from nacl import bindings as sodium  # the server has it
    from nacl.exceptions import BadSignatureError
except ImportError:
    sodium = None  # type: ignore[assignment]

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

ED25519, P256, P384 = "ed25519", "ecdsa-p256", "ecdsa-p384"
ALGORITHMS = (ED25519, P256, P384)
_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    P256: (ec.SECP256R1(), hashes.SHA256()),
    P384: (ec.SECP384R1(), hashes.SHA384()),
}
_NAMES = {curve.name: name for name, (curve, _) in _CURVES.items()}
_WANTED = "Ed25519, ECDSA P-256 or P-384"


def generate(algorithm: str = ED25519) -> PrivateKey:
    return keys.generate() if algorithm == ED25519 else ec.generate_private_key(_CURVES[algorithm][0])


def algorithm_of(key: PublicKey | PrivateKey) -> str:
    """One of `ALGORITHMS`. Raises MalformedError for another curve."""
    if isinstance(key, Ed25519PublicKey | Ed25519PrivateKey):
        return ED25519
    if key.curve.name not in _NAMES:
        raise MalformedError(f"a key on the curve {key.curve.name}; take {_WANTED}")
    return _NAMES[key.curve.name]


def load_private(pem: bytes) -> PrivateKey:
    """An unencrypted private key in PEM."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("not an unencrypted private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise MalformedError(f"a private key, but none of {_WANTED}")
    algorithm_of(key)
    return key


def dump_private(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def dump_public(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_public(pem: bytes) -> PublicKey:
    try:
        return _checked(serialization.load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("not a public key in PEM") from error


def _checked(key: object) -> PublicKey:
    if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise MalformedError(f"a public key, but none of {_WANTED}")
    algorithm_of(key)
    return key


def encode(public: PublicKey) -> bytes:
    """The one spelling of a public key."""
    if isinstance(public, Ed25519PublicKey):
        return public.public_bytes_raw()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def digest(public: PublicKey) -> str:
    """Hex SHA-256 of `encode`: what envelopes name as ``keyid``, and by which a pipeline's key is known."""
    return sha256(encode(public)).hexdigest()


def decode(data: bytes) -> PublicKey:
    """The public key of its one spelling."""
    if len(data) == 32:
        return keys.load_raw(data)
    try:
        public = _checked(serialization.load_der_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("neither 32 bytes of an Ed25519 key nor the DER of a public key") from error
    if isinstance(public, Ed25519PublicKey) or encode(public) != data:
        raise MalformedError("a public key in another spelling than ours")
    return public


def sign(private: PrivateKey, message: bytes) -> bytes:
    """A signature; of ECDSA its DER (RFC 3279), as most tools write it."""
    if isinstance(private, Ed25519PrivateKey):
        return private.sign(message)
    return private.sign(message, ec.ECDSA(_CURVES[algorithm_of(private)][1]))


def verifies(public: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the key signed the message. Of ECDSA also r and s side by side count: DSSE's reference signs so.

    Where libsodium is installed it judges Ed25519: in two thirds of OpenSSL's time (docs/performance.md), and more
    strictly (RFC 8032 section 5.1.7, and no points of small order), so that OpenSSL accepts whatever it has accepted.
    """
    if isinstance(public, Ed25519PublicKey):
        return _verifies_ed25519(public, signature, message)
    algorithm, size = ec.ECDSA(_CURVES[algorithm_of(public)][1]), (public.key_size + 7) // 8
    spellings = [signature]
    if len(signature) == 2 * size:
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        spellings.append(encode_dss_signature(r, s))
    return any(_holds(functools.partial(public.verify, der, message, algorithm)) for der in spellings)


def _verifies_ed25519(public: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    if sodium is None:
        return _holds(lambda: public.verify(signature, message))
    if len(signature) != sodium.crypto_sign_BYTES:
        return False
    try:
        sodium.crypto_sign_open(signature + message, public.public_bytes_raw())
    except BadSignatureError:
        return False
    return True


def _holds(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True
