"""Step 2 of a write: what was asked before is answered as before, and who was cut off is refused."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connection

from config.errors import ForbiddenError, GoneError, InvalidError, ProoftrailError
from evidence import keys
from evidence.ledger.draft import Draft, FactsChangedError, Idempotency, Outcome

if TYPE_CHECKING:
    from evidence.ledger.head import Start


#: (principal, HMAC of a key) to (HMAC of its request, None once disposed of; index).
Known = dict[tuple[str, bytes], tuple[bytes | None, int]]
#: ("token", token id), ("user", principal id) or ("key", key id).
Credential = tuple[str, str]


def settle_keys(drafts: Sequence[Draft], found: Known, outcomes: dict[int, Outcome], replays: dict[int, int]) -> None:
    """Point each draft whose key is known to its record (`replays`), or refuse it (`outcomes`)."""
    for position, draft in enumerate(drafts):
        if draft.idempotency is None:
            continue
        match = found.get((draft.actor.principal, draft.idempotency.key_mac))
        if match is None:
            continue
        settled = settle_key(draft.idempotency, *match)
        if isinstance(settled, int):
            replays[position] = settled
        else:
            outcomes[position] = settled


def settle_key(asked: Idempotency, request_mac: bytes | None, index: int) -> int | ProoftrailError:
    """The record that a key, kept with the HMAC of its request, has led to; or why this request is refused."""
    if request_mac is None:
        return GoneError(f"Record {index} was written for this key and has been disposed of.")
    return index if request_mac == asked.request_mac else key_reused()


def key_reused() -> InvalidError:
    return InvalidError(
        "This Idempotency-Key was used for another request. Use a new key for a new record.",
        code="idempotency_key_reused",
    )


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


class Rights:
    """Whether what the drafts of a batch hang on still counts, as its transaction sees it.

    That is not one moment: a record of the batch may end what the next one was signed with.
    """

    def __init__(self, drafts: Sequence[Draft], start: "Start") -> None:
        self._start = start
        self._asked: set[Credential] = set().union(*map(_credentials, drafts))
        #: Whether they changed since every draft was judged, before the first record.
        self.moved = False
        self._look()

    def _look(self) -> None:
        self._valid = _valid_credentials(self._asked, self._start.at) if self._asked else set()

    def look_again(self, epoch: int) -> None:
        """After a record of the batch; `epoch` as it is now says whether any right has changed."""
        if epoch != self._start.epoch:
            self._start.epoch, self.moved = epoch, True
            self._look()

    def refusal(self, draft: Draft) -> ProoftrailError | None:
        """Revocation is immediate: what authenticated or signed must still be valid inside the transaction."""
        refused = _outdated(draft, self._start)
        if refused is None and not _credentials(draft) <= self._valid:
            refused = _revoked()
        return refused


def recheck(drafts: Sequence[Draft], rights: Rights, outcomes: dict[int, Outcome], replays: dict[int, int]) -> None:
    """Refuse each draft, also one that was recorded before, whose right is gone."""
    for position, draft in enumerate(drafts):
        refused = rights.refusal(draft)
        if refused is not None:
            replays.pop(position, None)
            outcomes[position] = refused


def hangs_on_rights(draft: Draft) -> bool:
    """Whether what an earlier record of its batch changes may refuse a draft; the service's own hang on nothing."""
    return draft.remembered is not None or bool(_credentials(draft))


def _revoked() -> ForbiddenError:
    return ForbiddenError("The token, account or key was revoked or has expired.", code="credential_revoked")


def _outdated(draft: Draft, start: "Start") -> ProoftrailError | None:
    """Why a draft does not count: what it was prepared from is no longer so. Else None."""
    if draft.signed_by == "service" and not keys.may_sign_records(draft.key, start.record_keys):
        return FactsChangedError("The key that signs records was changed. Send it again.", code="signing_key_changed")
    facts = draft.remembered
    if facts is None:
        return None
    if facts.epoch != start.epoch or not start.files.isdisjoint(facts.files):
        return FactsChangedError("Rights, keys or files changed while the record was prepared. Send it again.")
    if facts.valid_until is not None and facts.valid_until <= start.at:
        return _revoked()
    return None


def _valid_credentials(asked: set[Credential], at: datetime) -> set[Credential]:
    ids = {kind: [value for k, value in asked if k == kind] for kind in ("token", "user", "key")}
    with connection.cursor() as cursor:
        cursor.execute(_VALID_CREDENTIALS, {**ids, "at": at})
        return set(cursor.fetchall())


_VALID_CREDENTIALS = """
SELECT 'token', t.id FROM evidence_token t
  LEFT JOIN evidence_user u ON u.id = t.user_id LEFT JOIN evidence_pipeline p ON p.id = t.pipeline_id
  WHERE t.id = ANY(%(token)s) AND t.revoked_at IS NULL AND t.expires_at > %(at)s AND coalesce(u.is_active, p.is_active)
UNION ALL SELECT 'user', uid FROM evidence_user WHERE uid = ANY(%(user)s) AND is_active
UNION ALL SELECT 'key', key_id FROM evidence_pipelinekey
  WHERE key_id = ANY(%(key)s) AND to_index IS NULL
"""


def _credentials(draft: Draft) -> set[Credential]:
    if draft.remembered is not None:
        return set()
    found = {draft.actor.credential} if draft.actor.credential is not None else set()
    return found | ({("key", draft.key)} if draft.signed_by == "pipeline" else set())
