"""Writing records whose body depends on what other records say: composed under the head lock."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evidence.keys import RecordSigner, record_signer
from evidence.kinds import load as load_kinds
from evidence.ledger import Actor, Draft, Idempotency, Placed, append, service_draft
from evidence.tlog.statement import build_statement, parse_statement


@dataclass(frozen=True)
class Composed:
    """A record's body and scope (opaque system ids)."""

    body: Mapping[str, Any]
    systems: Sequence[str]


Compose = Callable[[datetime], Composed]
Apply = Callable[[int, datetime, Composed], None]


def append_composed(
    kind: str,
    compose: Compose,
    *,
    actor: Actor,
    release: str | None = None,
    idempotency: Idempotency | None = None,
    apply: Apply | None = None,
) -> Placed:
    """Append a record that is composed under the head lock, when all earlier records are visible.

    `compose(at)` raises a ProoftrailError to refuse. Numbers are gap-free because they are drawn there.
    """
    composed: list[Composed] = []
    signer = record_signer()  # of the draft that is judged and of what it comes to say

    def admit(at: datetime) -> None:
        composed[:] = [compose(at)]
        settled = service_draft(kind, composed[0].body, actor=actor, systems=composed[0].systems, signer=signer)
        draft.scope, draft.statement, draft.envelope = settled.scope, settled.statement, settled.envelope
        draft.verification = settled.verification
        draft.unseal()  # what was sealed before, or by an attempt that failed, says something else

    def applied(index: int, at: datetime) -> None:
        if apply is not None:
            apply(index, at, composed[0])

    draft = _empty(kind, actor, release, idempotency, signer)
    draft.admit, draft.apply = admit, applied
    return append(draft)


def _empty(
    name: str, actor: Actor, release: str | None, idempotency: Idempotency | None, signer: RecordSigner
) -> Draft:
    """A draft that says nothing yet; `admit` fills it or refuses."""
    kind = load_kinds().named(name)
    nothing = build_statement(
        subjects=[{"name": name, "digest": {"sha256": "0" * 64}}], predicate_type=kind.predicate_types[0], predicate={}
    )
    return Draft(
        kind=kind,
        actor=actor,
        scope=(),
        release=release,
        occurred=None,
        statement=parse_statement(nothing),
        envelope=b"",
        signed_by="service",
        key=signer.id,
        verification={},
        idempotency=idempotency,
    )
