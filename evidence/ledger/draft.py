"""What goes into the ledger and what comes out: a prepared record, and its place with proof."""

import functools
import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import zstandard
from django.conf import settings

from config.errors import ProoftrailError, UnavailableError
from evidence.keys import RecordSigner, record_signer
from evidence.kinds import Kind
from evidence.kinds import load as load_kinds
from evidence.models import Payload
from evidence.tlog.canonical import canonical
from evidence.tlog.dsse import parse_envelope, sign_envelope
from evidence.tlog.leaf import SALT_SIZE, Leaf, format_time, payload_digest
from evidence.tlog.receipt import Receipt
from evidence.tlog.statement import Statement, build_statement, parse_statement


class Idempotency(NamedTuple):
    """A client's key and its request, both as HMACs: the ledger keeps neither (R4.1)."""

    key_mac: bytes
    request_mac: bytes

    @classmethod
    def of(cls, key: str, *, method: str, path: str, body: bytes) -> "Idempotency":
        return cls(_mac(b"key", key.encode()), _mac(b"request", method.encode(), path.encode(), body))

    @classmethod
    def of_envelope(cls, *, method: str, path: str, body: bytes) -> "Idempotency":
        """A signed envelope without a key is keyed by itself: sent again, it is the same record."""
        request = _mac(b"request", method.encode(), path.encode(), body)
        return cls(_mac(b"envelope", request), request)


def _mac(*parts: bytes) -> bytes:
    framed = b"".join([piece for part in parts for piece in (len(part).to_bytes(8, "big"), part)])
    return hmac.digest(settings.SECRET_KEY.encode(), framed, "sha256")


@dataclass(frozen=True)
class Actor:
    """Who does something: an opaque principal id, and the credential that is checked again inside the transaction.

    `credential` is ``("token", token id)``, ``("user", principal id)`` or None for the service itself.
    """

    principal: str
    credential: tuple[str, str] | None = None
    #: Claims of the credential worth keeping with the record (an OIDC token's issuer, repository, run).
    claims: Mapping[str, Any] = field(default_factory=dict)


class FactsChangedError(UnavailableError):
    """What a draft was prepared from is no longer so: it is prepared again (`records.record`)."""

    code = "facts_changed"


@dataclass(frozen=True)
class Remembered:
    """What a draft was prepared from without asking the database; its batch asks whether that still holds."""

    epoch: int
    #: When the token ends; a key ends by a record, which moves the epoch.
    valid_until: datetime | None
    #: (system id, SHA-256) of subjects that were not looked up as artifacts: if one is, the draft is prepared again.
    files: tuple[tuple[str, str], ...] = ()


class Sealed(NamedTuple):
    """What the leaf commits to, and the envelope as it is stored."""

    salt: bytes
    members: Mapping[str, Any]
    context: bytes
    digest: str
    stored: bytes
    codec: int


@dataclass(eq=False)
class Draft:
    """A record ready to be appended: everything expensive is done, nothing is written yet.

    `admit(at)` runs under the head lock, after every earlier record of the batch is visible, and raises a
    ProoftrailError to refuse; `apply(index, at)` runs in the same transaction after the record's own projections.
    Without `remembered` the credential of `actor` and the key are looked up in the batch's transaction.
    """

    kind: Kind
    actor: Actor
    scope: tuple[str, ...]
    release: str | None
    occurred: datetime | None
    statement: Statement
    envelope: bytes
    signed_by: str
    key: str
    verification: Mapping[str, Any]
    idempotency: Idempotency | None = None
    admit: Callable[[datetime], None] | None = None
    apply: Callable[[int, datetime], None] | None = None
    remembered: Remembered | None = None
    #: See `evidence.ledger.rows.spelled`.
    spelled: tuple[bytes, ...] | None = field(default=None, init=False, repr=False)

    @functools.cached_property
    def sealed(self) -> Sealed:
        """Computed once, by the writer, before the head is locked."""
        members = {
            "claims": dict(self.actor.claims),
            "key": self.key,
            "occurred": format_time(self.occurred) if self.occurred else None,
            "principal": self.actor.principal,
            "release": self.release,
            "verification": dict(self.verification),
        }
        salt, context = _salts.take(), context_bytes(members)
        stored, codec = _compress(self.envelope)
        return Sealed(salt, members, context, payload_digest(salt, context, self.envelope), stored, codec)

    def unseal(self) -> None:
        """After a change of what it says."""
        vars(self).pop("sealed", None)
        self.spelled = None


def context_bytes(members: Mapping[str, Any]) -> bytes:
    """RFC 8785. Without claims it is texts under plain names, which orjson spells the same, quicker."""
    return canonical(members) if members["claims"] else orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


class _Salts(threading.local):
    """Random salts, drawn many at once: each call to the kernel hands the interpreter to another thread."""

    def __init__(self) -> None:
        self._drawn: list[bytes] = []

    def take(self) -> bytes:
        if not self._drawn:
            random = os.urandom(256 * SALT_SIZE)
            self._drawn = [random[i : i + SALT_SIZE] for i in range(0, len(random), SALT_SIZE)]
        return self._drawn.pop()

    def forget(self) -> None:
        self._drawn = []


_salts = _Salts()
os.register_at_fork(after_in_child=_salts.forget)  # or parent and child would draw the same
_kept = threading.local()


def _compressor() -> zstandard.ZstdCompressor:
    """One for each thread: making it takes three times as long as using it."""
    if not hasattr(_kept, "compressor"):
        _kept.compressor = zstandard.ZstdCompressor(level=3)
    compressor: zstandard.ZstdCompressor = _kept.compressor
    return compressor


def _compress(envelope: bytes) -> tuple[bytes, int]:
    """zstd where it saves a tenth or more (R4.7), from a kilobyte on: below, a fifth of a small record is not worth it
    (docs/performance.md)."""
    if len(envelope) < 1024:
        return envelope, Payload.RAW
    packed = _compressor().compress(envelope)
    return (packed, Payload.ZSTD) if len(packed) < 0.9 * len(envelope) else (envelope, Payload.RAW)


def service_draft(
    kind_name: str,
    body: Mapping[str, Any],
    *,
    actor: Actor,
    systems: Sequence[str] = (),
    release: str | None = None,
    occurred: datetime | None = None,
    subjects: Sequence[Mapping[str, Any]] = (),
    idempotency: Idempotency | None = None,
    admit: Callable[[datetime], None] | None = None,
    apply: Callable[[int, datetime], None] | None = None,
    remembered: Remembered | None = None,
    signer: RecordSigner | None = None,
) -> Draft:
    """Wrap and sign `body` as the service, for the principal that sent it.

    `systems` are opaque ids; without `subjects` (``{name, digest: {alg: hex}}``) the subject is the predicate itself.
    `signer` is the record key, the newest unless given.
    Raises InvalidError when the body does not follow the kind's schema, MalformedError when it is not canonical JSON.
    """
    kind = load_kinds().named(kind_name)
    predicate_type = kind.predicate_types[0]
    kind.validate(body, predicate_type)
    digest = hashlib.sha256(canonical(body)).hexdigest()
    payload = build_statement(
        subjects=list(subjects) or [{"name": kind.name, "digest": {"sha256": digest}}],
        predicate_type=predicate_type,
        predicate=dict(body),
    )
    signer = signer or record_signer()
    return Draft(
        kind=kind,
        actor=actor,
        scope=tuple(sorted(set(systems))),
        release=release,
        occurred=occurred,
        statement=parse_statement(payload),
        envelope=sign_envelope(payload, signer.key),
        signed_by="service",
        key=signer.id,
        verification={"schema": predicate_type, "signature": "service"},
        idempotency=idempotency,
        admit=admit,
        apply=apply,
        remembered=remembered,
    )


@dataclass(frozen=True)
class Recorded:
    """A record as projections see it, when it is written and when it is recomputed."""

    index: int
    leaf: Leaf
    statement: Statement
    context: Mapping[str, Any]
    signed_by: str

    @property
    def body(self) -> dict[str, Any]:
        return self.statement.predicate

    @property
    def release(self) -> str | None:
        release: str | None = self.context["release"]
        return release


def part_of(context: Mapping[str, Any]) -> str | None:
    """The import that the record of this context belongs to: tables show it when that is complete."""
    part: str | None = context.get("claims", {}).get("import")
    return part


@dataclass(frozen=True)
class Placed:
    """A durable record with its proof."""

    index: int
    leaf: bytes
    salt: bytes
    context: bytes
    envelope: bytes
    checkpoint: str
    proof: str
    principal: str
    signed_by: str
    at: datetime
    replayed: bool = False

    def receipt(self) -> bytes:
        """The receipt's JSON: the same bytes for every replay."""
        return self._receipt

    @functools.cached_property
    def _receipt(self) -> bytes:
        return Receipt(
            index=self.index,
            leaf=self.leaf,
            salt=self.salt,
            context=self.context,
            envelope=self.envelope if self.signed_by == "service" else None,
            checkpoint=self.checkpoint,
            proof=self.proof,
            principal=self.principal,
            signed_by=self.signed_by,
        ).to_json()

    @property
    def body(self) -> dict[str, Any]:
        """The predicate that was recorded; on a replay, that of the first answer."""
        return parse_statement(parse_envelope(self.envelope).payload).predicate


#: What becomes of a draft: its place, or why it was refused.
Outcome = Placed | ProoftrailError
