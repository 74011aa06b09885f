from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from evidence.tlog import keys
from evidence.tlog.errors import MalformedError
from tests.evidence.tlog.helpers import fixed_key

# RFC 8410 section 10.3, the private key without attributes.
RFC8410 = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""
RFC8410_PUBLIC = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""


def test_it_reads_and_writes_the_keys_of_the_rfc() -> None:
    key = keys.load_private(RFC8410)
    assert keys.dump_private(key) == RFC8410
    assert keys.dump_public(key.public_key()) == RFC8410_PUBLIC
    assert keys.load_public(RFC8410_PUBLIC) == key.public_key()


def test_it_makes_a_new_key_each_time() -> None:
    assert keys.dump_private(keys.generate()) != keys.dump_private(keys.generate())


def test_it_digests_the_raw_key() -> None:
    public = fixed_key(1).public_key()
    raw = public.public_bytes_raw()
    assert keys.key_digest(public) == sha256(raw).hexdigest()
    assert keys.load_raw(raw) == public


def test_it_refuses_what_is_not_an_ed25519_key() -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    private = elliptic.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = elliptic.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    for data in (private, public, RFC8410_PUBLIC, b"", b"\xff"):
        with pytest.raises(MalformedError):
            keys.load_private(data)
    for data in (private, public, RFC8410, b"", b"\xff"):
        with pytest.raises(MalformedError):
            keys.load_public(data)
    with pytest.raises(MalformedError):
        keys.load_raw(b"\x00" * 31)


def test_it_refuses_a_key_that_needs_a_passphrase() -> None:
    locked = fixed_key(1).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(MalformedError, match="unencrypted"):
        keys.load_private(locked)
