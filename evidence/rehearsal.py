"""A record rehearsed: everything that could refuse it is asked, and nothing is written.

1. rights, kind, secrets, signature, release, subjects, schema and size, as for the record itself
2. the time that it claims, and whether the ledger takes records now
3. what becomes of its Idempotency-Key, as far as a new record would come (`replays` answers what comes again)
4. what is otherwise asked under the head's lock

Files need not have been uploaded: the answer says which are still to come. What changes until the record is really
sent is asked again then.
"""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from config.errors import InvalidError, ProoftrailError
from evidence import anchors, retention
from evidence.authority import Facts
from evidence.ledger import Draft
from evidence.ledger.settling import settle_key
from evidence.ledger.store import MAX_AHEAD
from evidence.models import Idempotency, System
from evidence.tlog.leaf import format_time


def rehearse(prepare: Callable[[Facts], Draft]) -> dict[str, Any]:
    """What would be recorded. Raises what would refuse it."""
    facts = Facts()
    facts.to_come = []
    draft = prepare(facts)
    now = timezone.now()
    if draft.occurred is not None and draft.occurred - now > MAX_AHEAD:
        raise InvalidError(
            f"occurred_at lies {draft.occurred - now} ahead of the time of receipt.",
            code="occurred_in_future",
            where="$.occurred_at",
        )
    if (read_only := anchors.current()) is not None:
        raise read_only.error()
    replayed = _replayed(draft)
    if draft.admit is not None and replayed is None:
        with transaction.atomic():
            draft.admit(now)
            transaction.set_rollback(True)
    systems = System.objects.filter(pk__in=draft.scope).order_by("name").values_list("name", flat=True)
    return {
        "dry_run": True,
        "would": "record" if replayed is None else "replay",
        "index": replayed,
        "kind": draft.kind.name,
        "release": draft.release,
        "systems": list(systems),
        "occurred": format_time(draft.occurred) if draft.occurred else None,
        "signed_by": draft.signed_by,
        "verification": dict(draft.verification),
        "retain_until": format_time(retention.retain_until(draft.kind.retention, now)),
        "bytes": len(draft.envelope),
        "files_to_come": facts.to_come,
    }


def _replayed(draft: Draft) -> int | None:
    """The record that the key has led to. Raises ``idempotency_key_reused``, ``record_disposed``."""
    key = draft.idempotency
    if key is None:
        return None
    row = Idempotency.objects.filter(principal=draft.actor.principal, key_mac=key.key_mac).first()
    if row is None:
        return None
    settled = settle_key(key, bytes(row.request_mac) if row.request_mac is not None else None, row.index)
    if isinstance(settled, ProoftrailError):
        raise settled
    return settled
