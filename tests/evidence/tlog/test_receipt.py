"""Receipts, made of fixed keys and times so that the golden files below pin the format for ever."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from evidence.tlog.canonical import canonical
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.errors import MalformedError
from evidence.tlog.keys import key_digest
from evidence.tlog.leaf import Leaf, payload_digest
from evidence.tlog.merkle import Frontier, leaf_hash
from evidence.tlog.note import Signer, Verifier, sign_note
from evidence.tlog.receipt import Receipt, parse_receipt, verify_receipt
from evidence.tlog.report import Step, VerificationError
from evidence.tlog.statement import Subject, build_statement, predicate_type_for
from evidence.tlog.tlog_proof import format_proof
from tests.evidence.tlog.helpers import fixed_key, flipped, hashes

GOLDEN = Path(__file__).parent / "golden"
LOG = Signer("ledger.example/prooftrail", fixed_key(1))
RECORD_KEY = fixed_key(2)
PIPELINE_KEY = fixed_key(3)
BODY = {"check": "smoke", "environment": "staging", "outcome": "passed", "manifest_digest": "c" * 64}
REQUEST = {"kind": "validation.result", "release": "web:release-20261122", "body": BODY}
STATEMENT = build_statement(
    subjects=[Subject("validation.result", {"sha256": sha256(canonical(BODY)).hexdigest()})],
    predicate_type=predicate_type_for("validation.result"),
    predicate=BODY,
)
SERVICE_ENVELOPE = sign_envelope(STATEMENT, RECORD_KEY)
PIPELINE_ENVELOPE = sign_envelope(STATEMENT, PIPELINE_KEY)
RECORD_KEYS = {key_digest(RECORD_KEY.public_key()): RECORD_KEY.public_key()}
PIPELINE_KEYS = {key_digest(PIPELINE_KEY.public_key()): PIPELINE_KEY.public_key()}
VERIFIERS = [Verifier.parse(LOG.vkey)]


def receipt_for(envelope: bytes, signed_by: str) -> Receipt:
    salt = bytes(range(16))
    key = next(iter(RECORD_KEYS if signed_by == "service" else PIPELINE_KEYS))
    context = canonical(
        {
            "claims": {},
            "key": key,
            "occurred": None,
            "principal": "p_7",
            "release": "web:release-20261122",
            "verification": {"schema": predicate_type_for("validation.result"), "signature": signed_by},
        }
    )
    at = datetime(2026, 11, 22, 5, 0, 0, 123456, tzinfo=UTC)
    leaf = Leaf("validation.result", at, at, "p_7", ("s_1",), payload_digest(salt, context, envelope))
    growth = Frontier(0, ()).extend(hashes(5)).frontier.extend([leaf_hash(leaf.encode()), *hashes(2)])
    note = sign_note(Checkpoint(LOG.name, growth.size, growth.root).text(), [LOG])
    return Receipt(
        index=5,
        leaf=leaf.encode(),
        salt=salt,
        context=context,
        envelope=envelope if signed_by == "service" else None,
        checkpoint=note,
        proof=format_proof(5, growth.inclusion_proof(5), note),
        principal="p_7",
        signed_by=signed_by,
    )


SERVICE = receipt_for(SERVICE_ENVELOPE, "service")
PIPELINE = receipt_for(PIPELINE_ENVELOPE, "pipeline")


def verify(receipt: Receipt, **options: Any) -> list[Step]:
    return list(verify_receipt(receipt, **({"verifiers": VERIFIERS} | options)))


def failed_step(receipt: Receipt, **options: Any) -> int:
    with pytest.raises(VerificationError) as caught:
        verify(receipt, **options)
    assert caught.value.code == "verification_failed"
    return caught.value.step


@pytest.mark.parametrize(("receipt", "name"), [(SERVICE, "service"), (PIPELINE, "pipeline")])
def test_it_keeps_the_format_of_the_golden_files(receipt: Receipt, name: str) -> None:
    golden = (GOLDEN / f"receipt-{name}.json").read_bytes()
    assert receipt.to_json() == golden
    assert parse_receipt(golden) == receipt


def test_it_verifies_the_golden_receipts() -> None:
    vkey = (GOLDEN / "log.vkey").read_text().strip()
    for name in ("service", "pipeline"):
        receipt = parse_receipt((GOLDEN / f"receipt-{name}.json").read_bytes())
        sent = (GOLDEN / "envelope-pipeline.json").read_bytes() if name == "pipeline" else None
        steps = list(verify_receipt(receipt, verifiers=[Verifier.parse(vkey)], sent=sent))
        assert [(step.number, step.ok) for step in steps] == [(n, True) for n in range(1, 6)]


def test_it_writes_its_members_in_a_fixed_order() -> None:
    expected = ["index", "leaf", "salt", "context", "envelope", "checkpoint", "proof", "principal", "signed_by"]
    assert list(json.loads(SERVICE.to_json())) == expected
    assert list(json.loads(PIPELINE.to_json())) == [name for name in expected if name != "envelope"]


def test_it_verifies_the_envelopes_signature_when_it_knows_a_key() -> None:
    steps = verify(SERVICE, record_keys=RECORD_KEYS)
    assert (steps[-1].number, steps[-1].ok) == (6, True)
    assert next(iter(RECORD_KEYS)) in steps[-1].detail
    assert verify(PIPELINE, sent=PIPELINE_ENVELOPE, record_keys=PIPELINE_KEYS)[-1].ok is True
    assert failed_step(SERVICE, record_keys=PIPELINE_KEYS) == 6
    assert failed_step(PIPELINE, sent=PIPELINE_ENVELOPE, record_keys={}) == 6


def test_it_says_that_the_signer_is_unknown_without_a_key() -> None:
    step = verify(SERVICE, verifiers=[])[4]
    assert (step.number, step.ok) == (5, None)
    assert "consistent, signer unknown" in step.detail


def test_it_says_that_nothing_was_checked_without_the_envelope() -> None:
    steps = verify(PIPELINE, record_keys=PIPELINE_KEYS)
    assert [step.ok for step in steps] == [True, None, True, True, True, None]


def test_it_compares_the_record_with_what_was_sent() -> None:
    spaced = json.dumps(REQUEST, indent=2).encode()
    for sent in (SERVICE_ENVELOPE, spaced, canonical(REQUEST)):
        assert all(step.ok for step in verify(SERVICE, sent=sent))
    for change in ({"kind": "drill"}, {"body": BODY | {"outcome": "failed"}}):
        assert failed_step(SERVICE, sent=canonical(REQUEST | change)) == 2
    assert failed_step(SERVICE, sent=canonical({"kind": "validation.result"})) == 2
    assert failed_step(SERVICE, sent=b"[]") == 2
    assert failed_step(SERVICE, sent=b"not json") == 2
    assert failed_step(PIPELINE, sent=SERVICE_ENVELOPE) == 2


def test_it_refuses_another_log() -> None:
    stranger = Verifier.parse(Signer(LOG.name, fixed_key(9)).vkey)
    assert failed_step(SERVICE, verifiers=[stranger]) == 5


def test_it_names_the_step_that_any_change_breaks() -> None:
    other_note = sign_note(Checkpoint(LOG.name, 8, b"\x01" * 32).text(), [LOG])
    moved = format_proof(4, [b"\x00" * 32] * 3, SERVICE.checkpoint)
    wrong = format_proof(5, [b"\x00" * 32] * 3, SERVICE.checkpoint)
    short = format_proof(5, [], SERVICE.checkpoint)
    later = SERVICE.leaf.replace(b"05:00:00.123456Z", b"05:00:00.123457Z")
    assert SERVICE.envelope is not None
    cases: list[tuple[dict[str, Any], int]] = [
        ({"leaf": SERVICE.leaf + b" "}, 1),
        ({"index": 4}, 1),
        ({"proof": moved}, 1),
        ({"proof": "x"}, 1),
        ({"checkpoint": other_note}, 1),
        ({"checkpoint": "x"}, 1),
        ({"principal": "p_8"}, 1),
        ({"context": b'{"release": null}'}, 1),
        ({"context": b"x"}, 1),
        ({"context": b"[]"}, 1),
        ({"context": SERVICE.context.replace(b"p_7", b"p_8")}, 1),
        ({"context": SERVICE.context.replace(b'"service"', b'"pipeline"')}, 1),
        ({"context": b'{"principal":"p_7","verification":7}'}, 1),
        ({"salt": flipped(SERVICE.salt)}, 2),
        ({"context": SERVICE.context.replace(b"release-2026", b"release-2027")}, 2),
        ({"envelope": SERVICE.envelope.replace(b"payload", b"Payload", 1)}, 2),
        ({"leaf": later}, 4),
        ({"proof": wrong}, 4),
        ({"proof": short}, 4),
    ]
    for changes, step in cases:
        assert failed_step(replace(SERVICE, **changes)) == step, changes


def test_it_refuses_a_checkpoint_that_the_log_never_signed() -> None:
    forged = Signer(LOG.name, fixed_key(9))
    note = sign_note(SERVICE.checkpoint.partition("\n\n")[0] + "\n", [forged])
    proof = SERVICE.proof.replace(SERVICE.checkpoint, note)
    assert failed_step(replace(SERVICE, checkpoint=note, proof=proof)) == 5


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"index": -1}, "$.index"),
        ({"index": True}, "$.index"),
        ({"index": "5"}, "$.index"),
        ({"leaf": "not base64"}, "$.leaf"),
        ({"leaf": 7}, "$.leaf"),
        ({"salt": base64.b64encode(b"short").decode()}, "$.salt"),
        ({"checkpoint": None}, "$.checkpoint"),
        ({"signed_by": "nobody"}, "$.signed_by"),
        ({"signed_by": "pipeline"}, "$.envelope"),
        ({"extra": 1}, "$"),
    ],
    ids=str,
)
def test_it_refuses_what_is_not_a_receipt(change: dict[str, Any], path: str) -> None:
    data = json.dumps(json.loads(SERVICE.to_json()) | change).encode()
    with pytest.raises(MalformedError) as caught:
        parse_receipt(data)
    assert caught.value.path == path


def test_it_refuses_a_receipt_with_something_missing() -> None:
    members = json.loads(SERVICE.to_json())
    for name in members:
        with pytest.raises(MalformedError):
            parse_receipt(json.dumps({key: value for key, value in members.items() if key != name}).encode())
    with pytest.raises(MalformedError):
        parse_receipt(b"[]")
