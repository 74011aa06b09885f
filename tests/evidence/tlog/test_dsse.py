import base64
import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib import dsse as theirs
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey

from evidence.tlog.canonical import canonical
from evidence.tlog.dsse import (
    IN_TOTO,
    Envelope,
    Signature,
    pae,
    parse_envelope,
    sign_envelope,
    verify_envelope,
)
from evidence.tlog.errors import MalformedError, SignatureError
from evidence.tlog.keys import key_digest
from tests.evidence.tlog.helpers import fixed_key, flipped, quick

KEY = fixed_key(1)
PUBLIC = KEY.public_key()
ID = key_digest(PUBLIC)
OTHER = fixed_key(2).public_key()


def envelope(**changes: Any) -> bytes:
    members: dict[str, Any] = {"payload": "eA==", "payloadType": "t", "signatures": [{"keyid": "k", "sig": "eA=="}]}
    return json.dumps(members | changes).encode()


def test_it_encodes_the_example_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_it_counts_bytes_rather_than_characters() -> None:
    assert pae("é", "ö".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xb6"


@quick
@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_it_verifies_what_it_signs_and_writes_it_canonically(payload: bytes, payload_type: str) -> None:
    data = sign_envelope(payload, KEY, payload_type=payload_type)
    assert canonical(json.loads(data)) == data
    parsed = parse_envelope(data)
    assert (parsed.payload, parsed.payload_type) == (payload, payload_type)
    assert parsed.signatures[0].keyid == ID == sha256(PUBLIC.public_bytes_raw()).hexdigest()
    assert verify_envelope(parsed, {ID: PUBLIC}) == ID


def test_it_is_about_in_toto_unless_told() -> None:
    assert parse_envelope(sign_envelope(b"{}", KEY)).payload_type == IN_TOTO


def test_it_treats_the_keyid_as_a_hint_only() -> None:
    data = sign_envelope(b"{}", KEY)
    for keyid in ("", "unknown", "other"):
        hinted = data.replace(ID.encode(), keyid.encode())
        assert verify_envelope(parse_envelope(hinted), {"other": OTHER, "ours": PUBLIC}) == "ours"
    with pytest.raises(SignatureError):
        verify_envelope(parse_envelope(data), {ID: OTHER})


def test_it_accepts_one_good_signature_among_several() -> None:
    good = parse_envelope(sign_envelope(b"{}", KEY)).signatures[0]
    several = Envelope(b"{}", IN_TOTO, (Signature("x", b"short"), Signature("other", b"\x00" * 64), good))
    assert verify_envelope(several, {"other": OTHER, ID: PUBLIC}) == ID


@pytest.mark.parametrize("keys", [{}, {"other": OTHER}])
def test_it_refuses_an_envelope_of_strangers(keys: dict[str, Any]) -> None:
    with pytest.raises(SignatureError, match="no trusted key"):
        verify_envelope(parse_envelope(sign_envelope(b"{}", KEY)), keys)


def test_it_refuses_any_changed_part() -> None:
    good = parse_envelope(sign_envelope(b"payload", KEY))
    signature = good.signatures[0]
    for bad in (
        Envelope(b"Payload", IN_TOTO, good.signatures),
        Envelope(b"payload", "application/json", good.signatures),
        Envelope(b"payload", IN_TOTO, (Signature(ID, flipped(signature.sig)),)),
        Envelope(b"payload", IN_TOTO, (Signature(ID, signature.sig + b"\x00"),)),
    ):
        with pytest.raises(SignatureError):
            verify_envelope(bad, {ID: PUBLIC})


def test_it_keeps_a_payload_that_is_not_canonical() -> None:
    payload = b'{ "b":1,\n "a":1 }'
    assert parse_envelope(sign_envelope(payload, KEY)).payload == payload


def test_it_reads_both_base64_alphabets() -> None:
    payload = b"\xfb\xff\xfe?>"
    for encoded in (base64.b64encode(payload), base64.urlsafe_b64encode(payload)):
        assert parse_envelope(envelope(payload=encoded.decode())).payload == payload


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"[]", "$"),
        (b'{"payload":"","payload":""}', "$.payload"),
        (envelope(signatures=[]), "$.signatures"),
        (envelope(signatures=None), "$.signatures"),
        (envelope(signatures={"sig": "eA=="}), "$.signatures"),
        (envelope(signatures=[{"sig": "eA=="}] * 17), "$.signatures"),
        (envelope(signatures=[{"sig": "eA=="}, "eA=="]), "$.signatures[1]"),
        (envelope(signatures=[{"keyid": "k"}]), "$.signatures[0].sig"),
        (envelope(signatures=[{"sig": ""}]), "$.signatures[0].sig"),
        (envelope(signatures=[{"sig": "eA"}]), "$.signatures[0].sig"),
        (envelope(signatures=[{"keyid": 7, "sig": "eA=="}]), "$.signatures[0].keyid"),
        (envelope(payload=None), "$.payload"),
        (envelope(payload="eB=="), "$.payload"),
        (envelope(payload=" eA=="), "$.payload"),
        (envelope(payload="é"), "$.payload"),
        (envelope(payload="+A-A"), "$.payload"),
        (envelope(payloadType=""), "$.payloadType"),
        (envelope(payloadType=1), "$.payloadType"),
    ],
)
def test_it_refuses_what_is_not_an_envelope(data: bytes, path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_envelope(data)
    assert caught.value.path == path


def test_it_passes_over_members_it_does_not_know() -> None:
    extra = envelope(signatures=[{"sig": "eA==", "cert": "x"}], extension=1)
    assert parse_envelope(extra).signatures == (Signature("", b"x"),)
    assert len(parse_envelope(envelope(signatures=[{"sig": "eA=="}] * 16)).signatures) == 16


def test_it_agrees_with_an_implementation_from_elsewhere() -> None:
    payload = b'{"hello":"world"}'
    ours = theirs.Envelope.from_dict(json.loads(sign_envelope(payload, KEY)))
    key = SSlibKey(ID, "ed25519", "ed25519", {"public": PUBLIC.public_bytes_raw().hex()})
    assert ours.verify([key], threshold=1)
    assert ours.pae() == pae(IN_TOTO, payload)

    signed = theirs.Envelope(payload, IN_TOTO, {})
    signer = CryptoSigner(KEY)
    signed.sign(signer)
    read = parse_envelope(json.dumps(signed.to_dict()).encode())
    assert read.signatures[0].keyid == signer.public_key.keyid != ID
    assert verify_envelope(read, {ID: PUBLIC}) == ID
