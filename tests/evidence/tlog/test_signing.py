"""Keys of three kinds, and DSSE's own test vectors: what they accept is accepted, what they refuse is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from securesystemslib import dsse as theirs
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey

from evidence.tlog import signing
from evidence.tlog.dsse import IN_TOTO, parse_envelope, sign_envelope, verify_envelope, verify_threshold
from evidence.tlog.errors import MalformedError, SignatureError, TlogError
from evidence.tlog.keys import load_raw
from tests.evidence.tlog.helpers import fixed_key, flipped

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "dsse_vectors.json").read_text())
#: The key and signature that DSSE's reference implementation prints (implementation/signing_spec.py).
REFERENCE_POINT = ec.EllipticCurvePublicNumbers(
    46950820868899156662930047687818585632848591499744589407958293238635476079160,
    5640078356564379163099075877009565129882514886557779369047442380624545832820,
    ec.SECP256R1(),
)
REFERENCE_SIGNATURE = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="


def pem_of(public: signing.PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("name", VECTORS["vectors"])
def test_it_judges_the_protocols_test_vectors_as_the_protocol_does(name: str) -> None:
    vector = VECTORS["vectors"][name]
    signatures = [{"sig": sig} | ({"keyid": keyid} if keyid else {}) for keyid, sig in vector["signatures"]]
    members = {"payload": vector["payload"], "payloadType": vector["payloadType"], "signatures": signatures}
    keys = {trusted: load_raw(bytes.fromhex(VECTORS["keys"][trusted])) for trusted in vector["trusted"]}
    try:
        found = verify_threshold(parse_envelope(json.dumps(members).encode()), keys, vector["threshold"])
    except TlogError:
        assert vector["expect"] == "reject"
    else:
        assert vector["expect"] == "accept"
        assert set(found) == set(vector["trusted"])


def test_it_accepts_what_the_reference_implementation_signs() -> None:
    members = {
        "payload": "aGVsbG8gd29ybGQ=",
        "payloadType": "http://example.com/HelloWorld",
        "signatures": [{"keyid": "66301bbf", "sig": REFERENCE_SIGNATURE}],
    }
    key = REFERENCE_POINT.public_key()
    assert verify_envelope(parse_envelope(json.dumps(members).encode()), {"mykey": key}) == "mykey"
    members["payload"] = "aGVsbG8gd29ybGE="
    with pytest.raises(SignatureError):
        verify_envelope(parse_envelope(json.dumps(members).encode()), {"mykey": key})


@pytest.mark.parametrize("algorithm", signing.ALGORITHMS)
def test_it_signs_with_each_kind_of_key_and_reads_back_what_it_writes(algorithm: str) -> None:
    private = signing.generate(algorithm)
    public = private.public_key()
    envelope = parse_envelope(sign_envelope(b"{}", private))
    assert envelope.signatures[0].keyid == signing.digest(public)
    assert verify_envelope(envelope, {"k": signing.decode(signing.encode(public))}) == "k"
    assert signing.encode(signing.load_public(pem_of(public))) == signing.encode(public)
    assert signing.algorithm_of(public) == algorithm
    assert not signing.verifies(public, flipped(envelope.signatures[0].sig), b"DSSEv1")
    assert not signing.verifies(public, b"", b"")


@pytest.fixture(params=["libsodium", "OpenSSL"])
def judging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server has libsodium, a client alone does without it."""
    assert vars(signing)["sodium"] is not None
    if request.param == "OpenSSL":
        monkeypatch.setattr(signing, "sodium", None)
    name: str = request.param
    return name


def test_both_libraries_judge_ed25519_alike(judging: str) -> None:
    key = fixed_key(7)
    public, message = key.public_key(), b"DSSEv1 message"
    good = key.sign(message)
    assert signing.verifies(public, good, message)
    assert signing.verifies(public, key.sign(b""), b"")
    order = 2**252 + 27742317777372353535851937790883648493
    malleable = good[:32] + (int.from_bytes(good[32:], "little") + order).to_bytes(32, "little")
    for bad in (flipped(good), good[:63], good + b"\0", b"", bytes(64), malleable):
        assert not signing.verifies(public, bad, message)
    assert not signing.verifies(public, good, message + b"!")
    assert not signing.verifies(fixed_key(8).public_key(), good, message)


def test_the_server_is_stricter_about_keys_that_fit_every_message(judging: str) -> None:
    """With the neutral point as its key, one signature is good for anything; libsodium knows it."""
    neutral = (1).to_bytes(32, "little")
    assert signing.verifies(load_raw(neutral), neutral + bytes(32), b"anything") is (judging == "OpenSSL")


@pytest.mark.parametrize("algorithm", [signing.P256, signing.P384])
def test_it_takes_ecdsa_signatures_in_both_spellings(algorithm: str) -> None:
    private = signing.generate(algorithm)
    public, size = private.public_key(), 32 if algorithm == signing.P256 else 48
    r, s = decode_dss_signature(signing.sign(private, b"m"))
    side_by_side = r.to_bytes(size) + s.to_bytes(size)
    assert signing.verifies(public, side_by_side, b"m")
    assert not signing.verifies(public, side_by_side, b"n")
    assert not signing.verifies(public, b"\x00" * (2 * size), b"m")


def test_it_agrees_on_ecdsa_with_an_implementation_from_elsewhere() -> None:
    for algorithm, scheme in ((signing.P256, "ecdsa-sha2-nistp256"), (signing.P384, "ecdsa-sha2-nistp384")):
        private = signing.generate(algorithm)
        pem = pem_of(private.public_key()).decode()
        key = SSlibKey(signing.digest(private.public_key()), "ecdsa", scheme, {"public": pem})
        ours = theirs.Envelope.from_dict(json.loads(sign_envelope(b"payload", private)))
        assert ours.verify([key], threshold=1)
        signed = theirs.Envelope(b"payload", IN_TOTO, {})
        signed.sign(CryptoSigner(private, key))
        read = parse_envelope(json.dumps(signed.to_dict()).encode())
        assert verify_envelope(read, {"ours": private.public_key()}) == "ours"


def test_it_counts_different_keys_up_to_the_threshold() -> None:
    one, two, three = fixed_key(1), signing.generate(signing.P256), signing.generate(signing.P384)
    keys = {name: key.public_key() for name, key in (("1", one), ("2", two), ("3", three))}
    both = parse_envelope(sign_envelope(b"{}", two, one))
    assert verify_threshold(both, keys, 2) == ("2", "1")
    assert verify_threshold(both, keys, 1) == ("2",)
    with pytest.raises(SignatureError, match="2 of the 3"):
        verify_threshold(both, keys, 3)
    with pytest.raises(SignatureError, match="no trusted key"):
        verify_threshold(both, {"3": keys["3"]}, 1)
    with pytest.raises(SignatureError, match="at least one"):
        verify_threshold(both, keys, 0)
    alone = parse_envelope(sign_envelope(b"{}", one, one))
    with pytest.raises(SignatureError, match="1 of the 2"):
        verify_threshold(alone, {"name": keys["1"], "another name": keys["1"]}, 2)


def test_it_refuses_other_keys_and_other_spellings() -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    spki = elliptic.public_bytes(*der)
    squeezed = spki[:24].replace(bytes.fromhex("3059"), bytes.fromhex("3039")).replace(
        bytes.fromhex("034200"), bytes.fromhex("032200")
    ) + elliptic.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    others = rsa.generate_private_key(65537, 2048).public_key(), ec.generate_private_key(ec.SECP256K1()).public_key()
    for public in others:
        with pytest.raises(MalformedError):
            signing.load_public(pem_of(public))  # type: ignore[arg-type]  # a kind of key that is refused
        with pytest.raises(MalformedError):
            signing.decode(public.public_bytes(*der))
    for data in (b"", b"\x00" * 31, spki + b"\x00", squeezed, fixed_key(1).public_key().public_bytes(*der)):
        with pytest.raises(MalformedError):
            signing.decode(data)
    assert signing.digest(signing.decode(spki)) == signing.digest(elliptic)
