"""Receipts: the answer to a write, complete enough to be checked years later without the service.

`verify_receipt` argues in these steps, numbered alike here, in the documentation and in what the
command line prints:

1. The receipt's parts are what they should be, and agree on index, checkpoint, principal and signer.
2. The leaf's digest is the one of salt, context and envelope; with it, of what was sent.
3. The leaf hashes to the value that the proof starts from.
4. The inclusion proof leads from there to the checkpoint's root.
5. A trusted key of the log signed the checkpoint.
6. A known key signed the envelope (only when such keys are given).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json.encoder import encode_basestring as _quoted
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evidence.tlog import b64
from evidence.tlog.canonical import canonical, parse_strict
from evidence.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from evidence.tlog.dsse import parse_envelope, verify_envelope
from evidence.tlog.errors import MalformedError, TlogError
from evidence.tlog.leaf import SALT_SIZE, Leaf, parse_leaf, payload_digest
from evidence.tlog.merkle import leaf_hash, verify_inclusion
from evidence.tlog.note import Verifier, parse_note
from evidence.tlog.report import Step, VerificationError
from evidence.tlog.statement import parse_statement
from evidence.tlog.tlog_proof import TlogProof, parse_proof

#: The step that depends on whom the verifier trusts.
SIGNATURE_STEP = 5
SIGNED_BY = ("pipeline", "service")
_BASE64 = ("leaf", "salt", "context", "envelope")
_TEXT = ("checkpoint", "proof", "principal", "signed_by")


@dataclass(frozen=True)
class Receipt:
    """``envelope`` is here when the service signed it; a pipeline keeps the one that it sent."""

    index: int
    leaf: bytes
    salt: bytes
    context: bytes
    envelope: bytes | None
    checkpoint: str
    proof: str
    principal: str
    signed_by: str

    def __post_init__(self) -> None:
        if self.signed_by not in SIGNED_BY:
            raise MalformedError("a receipt is signed by pipeline or service", path="$.signed_by")
        if (self.envelope is not None) != (self.signed_by == "service"):
            raise MalformedError("a receipt carries the envelope when the service signed it", path="$.envelope")
        if self.index < 0:
            raise MalformedError("an index is not negative", path="$.index")
        if len(self.salt) != SALT_SIZE:
            raise MalformedError(f"a salt has {SALT_SIZE} bytes", path="$.salt")

    def to_json(self) -> bytes:
        """The same bytes for the same receipt."""
        members = [f'"index":{self.index}']
        for name in _BASE64:
            data = getattr(self, name)
            if data is not None:
                members.append(f'"{name}":"{b64.encode(data)}"')
        members += [f'"{name}":{_quoted(getattr(self, name))}' for name in _TEXT]
        return f"{{{','.join(members)}}}".encode()


def parse_receipt(data: bytes) -> Receipt:
    """A receipt with exactly its members, each of its type; what it claims is not checked."""
    value = parse_strict(data)
    required = {"index", *_BASE64, *_TEXT} - {"envelope"}
    if not isinstance(value, dict) or value.keys() - {"envelope"} != required:
        raise MalformedError("a receipt has exactly the members " + ", ".join(sorted(required)), path="$")
    if type(value["index"]) is not int:
        raise MalformedError("an index is an integer", path="$.index")
    return Receipt(
        index=value["index"],
        leaf=_decode(value, "leaf"),
        salt=_decode(value, "salt"),
        context=_decode(value, "context"),
        envelope=_decode(value, "envelope") if "envelope" in value else None,
        checkpoint=_text(value, "checkpoint"),
        proof=_text(value, "proof"),
        principal=_text(value, "principal"),
        signed_by=_text(value, "signed_by"),
    )


def _text(value: dict[str, Any], name: str) -> str:
    text = value[name]
    if not isinstance(text, str):
        raise MalformedError(f"{name} is text", path=f"$.{name}")
    return text


def _decode(value: dict[str, Any], name: str) -> bytes:
    try:
        return b64.decode(_text(value, name))
    except MalformedError as error:
        raise MalformedError(f"{name} is not base64", path=f"$.{name}") from error


def verify_receipt(
    receipt: Receipt,
    *,
    verifiers: Sequence[Verifier],
    sent: bytes | None = None,
    record_keys: Mapping[str, Ed25519PublicKey] | None = None,
) -> Iterator[Step]:
    """The steps above, each as it is done; `VerificationError` at the first that does not hold.

    Without ``verifiers`` step 5 has ``ok`` None: the receipt is consistent, its signer unknown.
    Without the envelope (a pipeline signed and nothing was ``sent``) steps 2 and 6 have ``ok`` None.
    ``sent`` is the envelope as posted, or the JSON request that the service wrapped.
    """
    with _step(1):
        leaf, proof, checkpoint = _parts(receipt)
    yield Step(1, "Receipt is well formed", f"{leaf.kind}, index {receipt.index} of {checkpoint.size}")
    envelope = receipt.envelope if receipt.signed_by == "service" else sent
    with _step(2):
        yield _check_digest(receipt, leaf, envelope, sent)
    hash_ = leaf_hash(receipt.leaf)
    yield Step(3, "Leaf hash computed from the leaf's bytes", hash_.hex())
    with _step(4):
        verify_inclusion(
            index=receipt.index,
            size=checkpoint.size,
            leaf_hash=hash_,
            proof=proof.hashes,
            root=checkpoint.root,
        )
    yield Step(
        4,
        "Leaf is included in the ledger",
        f"{len(proof.hashes)} hashes lead to root {checkpoint.root.hex()}",
    )
    with _step(5):
        yield _check_signer(receipt.checkpoint, checkpoint, verifiers)
    if record_keys is not None:
        with _step(6):
            yield _check_envelope(envelope, record_keys)


@contextmanager
def _step(number: int) -> Iterator[None]:
    try:
        yield
    except VerificationError:
        raise
    except TlogError as error:
        raise VerificationError(number, str(error)) from error


def _parts(receipt: Receipt) -> tuple[Leaf, TlogProof, Checkpoint]:
    leaf = parse_leaf(receipt.leaf)
    _check_context(receipt)
    proof = parse_proof(receipt.proof)
    checkpoint = parse_checkpoint(parse_note(receipt.checkpoint).text)
    if proof.index != receipt.index:
        raise VerificationError(1, f"the receipt says index {receipt.index}, its proof {proof.index}")
    if proof.note != receipt.checkpoint:
        raise VerificationError(1, "the proof leads to another checkpoint than the receipt's")
    if leaf.by != receipt.principal:
        raise VerificationError(1, f"the receipt names principal {receipt.principal}, its leaf {leaf.by}")
    return leaf, proof, checkpoint


def _check_context(receipt: Receipt) -> None:
    """The context is what the leaf commits to, so what the receipt says must be what it says."""
    context = parse_strict(receipt.context)
    if not isinstance(context, dict) or canonical(context) != receipt.context:
        raise VerificationError(1, "the context is not a JSON object in canonical form")
    if context.get("principal") != receipt.principal:
        raise VerificationError(1, f"the context does not name principal {receipt.principal}")
    verification = context.get("verification")
    if not isinstance(verification, dict) or verification.get("signature") != receipt.signed_by:
        raise VerificationError(1, f"the context does not say that the {receipt.signed_by} signed")


def _check_digest(receipt: Receipt, leaf: Leaf, envelope: bytes | None, sent: bytes | None) -> Step:
    if envelope is None:
        return Step(2, "Envelope is what the leaf commits to", "not checked: the envelope was not given", ok=None)
    computed = payload_digest(receipt.salt, receipt.context, envelope)
    if computed != leaf.digest:
        raise VerificationError(2, f"salt, context and envelope have digest {computed}, the leaf says {leaf.digest}")
    if receipt.signed_by == "service" and sent is not None:
        _check_wrapped(leaf, envelope, sent)
    return Step(2, "Envelope is what the leaf commits to", leaf.digest)


def _check_wrapped(leaf: Leaf, envelope: bytes, sent: bytes) -> None:
    """The service's envelope says what the request said: its kind, and its body as the predicate."""
    if sent == envelope:
        return
    request = parse_strict(sent)
    if not isinstance(request, dict) or not {"kind", "body"} <= request.keys():
        raise VerificationError(2, "what was sent is neither the envelope nor a request with kind and body")
    statement = parse_statement(parse_envelope(envelope).payload)
    if request["kind"] != leaf.kind:
        raise VerificationError(2, f"sent was kind {request['kind']}, recorded is {leaf.kind}")
    if canonical(request["body"]) != canonical(statement.predicate):
        raise VerificationError(2, "the recorded predicate differs from the body that was sent")


def _check_signer(note: str, checkpoint: Checkpoint, verifiers: Sequence[Verifier]) -> Step:
    title = "Checkpoint is signed by the log"
    if not verifiers:
        return Step(5, title, "consistent, signer unknown: no trusted log key was given", ok=None)
    open_checkpoint(note, verifiers)
    return Step(5, title, f"{checkpoint.origin}, size {checkpoint.size}")


def _check_envelope(envelope: bytes | None, keys: Mapping[str, Ed25519PublicKey]) -> Step:
    title = "Envelope is signed by a known key"
    if envelope is None:
        return Step(6, title, "not checked: the envelope was not given", ok=None)
    return Step(6, title, f"key {verify_envelope(parse_envelope(envelope), keys)}")
