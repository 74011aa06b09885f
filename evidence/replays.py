"""What was recorded is answered as it was the first time, also where it would be refused today (R4.1).

Since then its kind may have been retired, its release ended, its file disposed of, a grant or a key withdrawn: what was
accepted stays accepted, and whoever missed the answer gets it. The ledger settles keys before it judges anything
(`evidence/ledger/settling.py`). What refuses before that, while a record is prepared, asks here when it is about to
refuse, and not sooner: a write that nothing refuses pays nothing for it.

A replay still requires

1. a credential that works now and may write: 401, 403 for the token itself, 429 and 503 are what they are;
2. the same principal, and the same bytes to the same address;
3. that this principal sees the record's systems now, as far as its token reaches: a receipt shows what was recorded.
   Who has lost a system hears what anybody without it hears. Calls about one thing (an exception, a hold, a pack) look
   it up with the caller's eyes, whether they write or repeat.

It does not require what only new records need: the kind, the release, the file, the signing key.
"""

from collections.abc import Callable, Iterable

from config.errors import ProoftrailError, UnavailableError
from evidence import repeats
from evidence.ledger import Idempotency, Placed, reader
from evidence.ledger.draft import Outcome
from evidence.ledger.settling import settle_key
from evidence.models import Idempotency as Kept
from evidence.models import Record
from evidence.people import Principal, visible_systems
from evidence.tlog.errors import TlogError

#: Refusals of who asks, and those of a key that the ledger has settled.
_FINAL = frozenset({"not_authenticated", "token_invalid", "idempotency_key_reused", "record_disposed"})


def may_stand(refused: Exception) -> bool:
    """Whether a refusal is of a kind that an earlier answer goes before."""
    return not isinstance(refused, UnavailableError) and getattr(refused, "code", None) not in _FINAL


def recorded_once(write: Callable[[], Placed], principal: Principal, asked: Idempotency | None) -> Placed:
    """What `write` records. Raises what refuses it, unless this was recorded before: then that is the answer."""
    try:
        return write()
    except (ProoftrailError, TlogError) as refused:
        if asked is None or not may_stand(refused) or (first := first_answer(principal, asked)) is None:
            raise
        return placed_or_raised(first)


def placed_or_raised(outcome: Outcome) -> Placed:
    """Raises what an outcome refuses."""
    if isinstance(outcome, ProoftrailError):
        raise outcome
    return outcome


def first_answer(principal: Principal, asked: Idempotency) -> Outcome | None:
    """Of one key, see `first_answers`."""
    return first_answers(principal, [asked]).get(asked)


def first_answers(principal: Principal, asked: Iterable[Idempotency]) -> dict[Idempotency, Outcome]:
    """For each key that this principal has used, and whose record it sees, the first answer: a receipt, or why none
    (``idempotency_key_reused``, ``record_disposed``)."""
    several = list(asked)
    rows = Kept.objects.filter(principal=principal.uid, key_mac__in=[key.key_mac for key in several])
    kept = {bytes(row.key_mac): row for row in rows}
    if not kept:
        return {}
    seen = Record.objects.in_systems(visible_systems(principal)).filter(pk__in=[row.index for row in kept.values()])
    visible = set(seen.values_list("pk", flat=True))
    known = [(key, kept[key.key_mac]) for key in several if key.key_mac in kept]
    return {key: _answer(principal, key, row) for key, row in known if row.index in visible}


def _answer(principal: Principal, asked: Idempotency, row: Kept) -> Outcome:
    try:
        settled = settle_key(asked, bytes(row.request_mac) if row.request_mac is not None else None, row.index)
        if isinstance(settled, ProoftrailError):
            raise settled
        return reader.replay(settled)
    except ProoftrailError as refused:
        repeats.refused_key(principal.uid, asked, refused)
        return refused
