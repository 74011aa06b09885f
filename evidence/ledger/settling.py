"""Step 2 of a write: what was asked before is answered as before, and who was cut off is refused."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from config.errors import ForbiddenError, GoneError, InvalidError
from evidence.ledger.draft import Draft, Outcome


def settle_keys(drafts: Sequence[Draft], outcomes: dict[int, Outcome], replays: dict[int, int]) -> None:
    keyed = {
        (draft.actor.principal, draft.idempotency.key_mac): None for draft in drafts if draft.idempotency is not None
    }
    if not keyed:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT principal, key_mac, request_mac, "index" FROM evidence_idempotency JOIN '
            "unnest(%s::text[], %s::bytea[]) AS asked(p, k) ON principal = p AND key_mac = k",
            [[principal for principal, _ in keyed], [mac for _, mac in keyed]],
        )
        found = {(row[0], bytes(row[1])): (row[2], row[3]) for row in cursor.fetchall()}
    for position, draft in enumerate(drafts):
        if draft.idempotency is None:
            continue
        match = found.get((draft.actor.principal, draft.idempotency.key_mac))
        if match is None:
            continue
        request_mac, index = match
        if request_mac is None:
            outcomes[position] = GoneError(f"Record {index} was written for this key and has been disposed of.")
        elif bytes(request_mac) != draft.idempotency.request_mac:
            outcomes[position] = InvalidError(
                "This Idempotency-Key was used for another request. Use a new key for a new record.",
                code="idempotency_key_reused",
            )
        else:
            replays[position] = index


def repeated_in_batch(drafts: Sequence[Draft], outcomes: dict[int, Outcome], replays: dict[int, int]) -> list[int]:
    """Positions whose key appears earlier in the same batch: they are settled after it, as replays."""
    seen: set[tuple[str, bytes]] = set()
    again: list[int] = []
    for position, draft in enumerate(drafts):
        if draft.idempotency is None or position in outcomes or position in replays:
            continue
        key = (draft.actor.principal, draft.idempotency.key_mac)
        if key in seen:
            again.append(position)
        seen.add(key)
    return again


def recheck_credentials(
    drafts: Sequence[Draft], at: datetime, outcomes: dict[int, Outcome], replays: dict[int, int]
) -> None:
    """Revocation is immediate: what authenticated or signed must still be valid inside the transaction."""
    asked = [_credentials(draft) for draft in drafts]
    if not any(asked):
        return
    ids = {kind: [value for one in asked for k, value in one if k == kind] for kind in ("token", "user", "key")}
    with connection.cursor() as cursor:
        cursor.execute(_VALID_CREDENTIALS, {**ids, "at": at})
        valid = set(cursor.fetchall())
    for position, wanted in enumerate(asked):
        if not wanted <= valid:
            replays.pop(position, None)
            outcomes[position] = ForbiddenError(
                "The token, account or key was revoked or has expired.", code="credential_revoked"
            )


_VALID_CREDENTIALS = """
SELECT 'token', t.id FROM evidence_token t
  LEFT JOIN evidence_user u ON u.id = t.user_id LEFT JOIN evidence_pipeline p ON p.id = t.pipeline_id
  WHERE t.id = ANY(%(token)s) AND t.revoked_at IS NULL AND t.expires_at > %(at)s AND coalesce(u.is_active, p.is_active)
UNION ALL SELECT 'user', uid FROM evidence_user WHERE uid = ANY(%(user)s) AND is_active
UNION ALL SELECT 'key', key_id FROM evidence_pipelinekey
  WHERE key_id = ANY(%(key)s) AND valid_from <= %(at)s AND (valid_until IS NULL OR valid_until > %(at)s)
"""


def _credentials(draft: Draft) -> set[tuple[str, str]]:
    found = {draft.actor.credential} if draft.actor.credential is not None else set()
    return found | ({("key", draft.key)} if draft.signed_by == "pipeline" else set())
