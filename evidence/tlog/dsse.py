"""DSSE envelopes: a payload, its type, and signatures over both (secure-systems-lab/dsse).

Signatures are checked over the payload's bytes as received. Nothing here re-serialises a payload.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from evidence.tlog import b64, signing
from evidence.tlog.canonical import canonical, parse_strict
from evidence.tlog.errors import MalformedError, SignatureError
from evidence.tlog.signing import PrivateKey, PublicKey

IN_TOTO = "application/vnd.in-toto+json"
MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
MAX_SIGNATURES = 16


class Signature(NamedTuple):
    """``keyid`` is unauthenticated: a hint which key to try first. Empty when absent."""

    keyid: str
    sig: bytes


class Envelope(NamedTuple):
    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]


def pae(payload_type: str, body: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that are signed."""
    type_ = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(type_), type_, len(body), body)


def parse_envelope(data: bytes) -> Envelope:
    """An envelope with 1 to 16 signatures, none of them checked. Unknown members are passed over."""
    return envelope_of(parse_strict(data))


def envelope_of(value: Any) -> Envelope:
    """The same from JSON that `parse_strict` has read."""
    if not isinstance(value, dict):
        raise MalformedError("an envelope is a JSON object", path="$")
    signatures = value.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise MalformedError("an envelope has at least one signature", path="$.signatures")
    if len(signatures) > MAX_SIGNATURES:
        raise MalformedError(f"an envelope has at most {MAX_SIGNATURES} signatures", path="$.signatures")
    return Envelope(
        payload=_base64(value, "payload", "$"),
        payload_type=_text(value, "payloadType", "$"),
        signatures=tuple(_signature(item, f"$.signatures[{i}]") for i, item in enumerate(signatures)),
    )


def sign_envelope(payload: bytes, *private_keys: PrivateKey, payload_type: str = IN_TOTO) -> bytes:
    """A canonical JSON envelope with a signature by each key, whose keyid is the key's digest."""
    message = pae(payload_type, payload)
    made = [(signing.digest(key.public_key()), b64.encode(signing.sign(key, message))) for key in private_keys]
    return b'{"payload":"%b","payloadType":%b,"signatures":[%b]}' % (
        b64.encode(payload).encode(),
        canonical(payload_type),
        b",".join(b'{"keyid":"%b","sig":"%b"}' % (keyid.encode(), sig.encode()) for keyid, sig in made),
    )


def verify_envelope(envelope: Envelope, keys: Mapping[str, PublicKey]) -> str:
    """The id, in ``keys``, of a key that signed this envelope."""
    signed = pae(envelope.payload_type, envelope.payload)
    for signature in envelope.signatures:
        if (by := _signer(signature, keys, signed)) is not None:
            return by
    raise SignatureError("no trusted key signed this envelope")


def signers(context: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the keys that, by a record's context, signed its envelope: ``key``, and where it took several, each of
    ``verification.keys``."""
    several = context["verification"].get("keys", [])
    if not isinstance(several, list) or not all(isinstance(keyid, str) for keyid in several):
        raise MalformedError("verification.keys is a list of key ids")
    return tuple(dict.fromkeys([context["key"], *several]))


def verify_threshold(envelope: Envelope, keys: Mapping[str, PublicKey], threshold: int) -> tuple[str, ...]:
    """The ids of the different keys that signed, at least ``threshold`` of them; further ones are not looked for.

    One key counts once, however often it signed and by whatever names ``keys`` has it.
    """
    if threshold < 1:
        raise SignatureError("a threshold is at least one signature")
    signed = pae(envelope.payload_type, envelope.payload)
    left = dict(keys)
    if len(left) > 1:
        left = dict({signing.encode(key): (keyid, key) for keyid, key in keys.items()}.values())
    found: list[str] = []
    for signature in envelope.signatures:
        by = _signer(signature, left, signed)
        if by is not None:
            del left[by]
            found.append(by)
        if len(found) == threshold:
            return tuple(found)
    if not found:
        raise SignatureError("no trusted key signed this envelope")
    raise SignatureError(f"{len(found)} of the {threshold} trusted keys that it takes signed this envelope")


def _signer(signature: Signature, keys: Mapping[str, PublicKey], signed: bytes) -> str | None:
    """The id of the key that made a signature; the one that it hints at is tried first."""
    hinted = keys.get(signature.keyid)
    if hinted is not None and signing.verifies(hinted, signature.sig, signed):
        return signature.keyid
    for keyid, key in keys.items():
        if key is not hinted and signing.verifies(key, signature.sig, signed):
            return keyid
    return None


def _signature(value: Any, path: str) -> Signature:
    if not isinstance(value, dict):
        raise MalformedError("a signature is a JSON object", path=path)
    keyid = value.get("keyid") or ""
    if not isinstance(keyid, str):
        raise MalformedError("a keyid is text", path=f"{path}.keyid")
    sig = _base64(value, "sig", path)
    if not sig:
        raise MalformedError("an empty signature", path=f"{path}.sig")
    return Signature(keyid, sig)


def _base64(value: dict[str, Any], member: str, path: str) -> bytes:
    try:
        return b64.decode_either(_text(value, member, path, empty=True))
    except MalformedError as error:
        raise error if error.path else MalformedError(str(error), path=f"{path}.{member}") from error


def _text(value: dict[str, Any], member: str, path: str, *, empty: bool = False) -> str:
    text = value.get(member)
    if not isinstance(text, str) or not (text or empty):
        raise MalformedError(f"{member} is missing or not text", path=f"{path}.{member}")
    return text
