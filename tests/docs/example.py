"""The receipt of docs/ledger.md: record 2 of a log of five, from fixed keys, salts and times."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence.tlog.canonical import canonical
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, key_digest
from evidence.tlog.leaf import Leaf, payload_digest
from evidence.tlog.merkle import Frontier, leaf_hash
from evidence.tlog.note import Signer, sign_note
from evidence.tlog.receipt import Receipt
from evidence.tlog.statement import build_statement, predicate_type_for
from evidence.tlog.tlog_proof import format_proof

ORIGIN = "prooftrail.example/log"
LOG_KEY = Ed25519PrivateKey.from_private_bytes(sha256(b"the log key of docs/ledger.md").digest())
RECORD_KEY = Ed25519PrivateKey.from_private_bytes(sha256(b"the record key of docs/ledger.md").digest())
INDEX, SIZE = 2, 5
_START = datetime(2026, 3, 12, 15, 0, tzinfo=UTC)
_PRINCIPAL, _SYSTEM = "pip_4f9c2e7a10b8", "sys_6d1b0c93e5a2"


def files() -> dict[str, bytes]:
    """What lies in docs/example."""
    return {
        "receipt.json": _receipt().to_json(),
        "log.pub.pem": dump_public(LOG_KEY.public_key()),
        "record.pub.pem": dump_public(RECORD_KEY.public_key()),
    }


def _receipt() -> Receipt:
    entries = [_entry(number) for number in range(SIZE)]
    growth = Frontier(0, ()).extend([leaf_hash(entry["leaf"]) for entry in entries])
    signer = Signer(ORIGIN, LOG_KEY)
    note = sign_note(Checkpoint(ORIGIN, SIZE, growth.root).text(), [signer])
    proof = format_proof(INDEX, growth.inclusion_proof(INDEX), note)
    return Receipt(
        index=INDEX, checkpoint=note, proof=proof, principal=_PRINCIPAL, signed_by="service", **entries[INDEX]
    )


def _entry(number: int) -> dict[str, Any]:
    kind = "test.result"
    body = {"outcome": "passed", "passed": 400 + number, "suite": "unit"}
    subject = {"name": kind, "digest": {"sha256": sha256(canonical(body)).hexdigest()}}
    statement = build_statement(subjects=[subject], predicate_type=predicate_type_for(kind), predicate=body)
    envelope = sign_envelope(statement, RECORD_KEY)
    context = canonical(
        {
            "claims": {},
            "key": key_digest(RECORD_KEY.public_key()),
            "occurred": None,
            "principal": _PRINCIPAL,
            "release": "netlify-trading:release-20260312",
            "verification": {"schema": predicate_type_for(kind), "signature": "service"},
        }
    )
    salt = sha256(b"salt %d of docs/ledger.md" % number).digest()[:16]
    at = _START + timedelta(seconds=number, microseconds=123456)
    leaf = Leaf(kind, at, at, _PRINCIPAL, (_SYSTEM,), payload_digest(salt, context, envelope))
    return {"leaf": leaf.encode(), "salt": salt, "context": context, "envelope": envelope}
