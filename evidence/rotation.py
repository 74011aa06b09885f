"""Keys that change: a successor begins beside the old key, the old one ends; each is a record (docs/ledger.md, Keys).

- `begin` adds a key: the private half is in the key file first, then `key.rotated` and its row in one transaction.
- `finish` ends the overlap: `key.retired` for all but the newest key, then their private halves leave the file.
- `revoke` ends one key at once (`key.revoked`); another has to be in force.
- `replace_lost` does without the private half of a key in force: its successor begins with the record itself.

Each may be repeated after a crash at any point: it goes on where the last one stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.errors import ConflictError, InvalidError, ProoftrailError
from evidence import keyfile, keys
from evidence.ledger import Actor, service_draft, store
from evidence.ledger.draft import Placed, Recorded
from evidence.models import SigningKey
from evidence.models.people import SERVICE
from evidence.projections import projection
from evidence.tlog.keyring import first_size, last_size
from evidence.tlog.keys import generate

# -- what the records mean -------------------------------------------------------------------------------------------


@projection("key.created", tables=[SigningKey])
def _created(record: Recorded) -> None:
    _begins(record, from_size=0)


@projection("key.rotated")
def _rotated(record: Recorded) -> None:
    """The successor signs from the next checkpoint on. That of a lost key begins with this very record."""
    if record.body["lost"]:
        _ends(record, record.body["replaces"], to_size=record.index, ending="lost")
        _begins(record, from_size=record.index + 1)
    else:
        _begins(record, from_size=first_size(record.index))


@projection("key.retired")
def _retired(record: Recorded) -> None:
    _ends(record, [record.body["key_id"]], to_size=last_size(record.index), ending="retired")


@projection("key.revoked")
def _revoked(record: Recorded) -> None:
    if "purpose" in record.body:  # else a pipeline's
        _ends(record, [record.body["key_id"]], to_size=last_size(record.index), ending="revoked")


def _begins(record: Recorded, *, from_size: int) -> None:
    body = record.body
    SigningKey.objects.create(
        key_id=body["key_id"],
        purpose=body["purpose"],
        public_key=bytes.fromhex(body["public_key"]),
        from_size=from_size,
        started_by=record.index,
    )


def _ends(record: Recorded, key_ids: Sequence[str], *, to_size: int, ending: str) -> None:
    rows = SigningKey.objects.filter(purpose=record.body["purpose"], key_id__in=key_ids, to_size=None)
    rows.update(to_size=to_size, ended_by=record.index, ending=ending)


# -- the first keys --------------------------------------------------------------------------------------------------


def publish_first(purpose: str) -> None:
    """Record the key that the file holds, where none is published yet."""
    if SigningKey.objects.filter(purpose=purpose).exists():
        return
    key_id, key = next(iter(keys.private_keys(purpose).items()))
    _write("key.created", _named(purpose, key_id, key), expected=())


def check_published(purpose: str) -> None:
    """Raise ConflictError ``signing_key_changed`` when the private half of a key in force is not here."""
    held = keys.private_keys(purpose)
    for key_id in keys.in_force(purpose):
        if key_id not in held:
            raise ConflictError(
                f"The {purpose} key in use is not the published one ({key_id}). Put the published key back, or change "
                f"keys with manage.py rotate_{purpose}_key.",
                code="signing_key_changed",
            )


# -- changes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What a command did; `index` is its record, None where everything had been done before."""

    said: str
    index: int | None = None


def begin(purpose: str, *, new: Ed25519PrivateKey | None = None, reason: str = "") -> Change:
    """Let a new key count beside those in force: the one given, one waiting in the key file, else a fresh one."""
    standing = _standing(purpose)
    for key_id in standing:
        keys.private_key(purpose, key_id)
    key_id = _successor(purpose, new, standing)
    if key_id in standing:
        return Change(f"{key_id} is in force beside its predecessor already. End the overlap with --finish.")
    placed = _rotate(purpose, key_id, standing, lost=False, reason=reason)
    return Change(f"{key_id} is in force beside {', '.join(standing)}. End the overlap with --finish.", placed.index)


def finish(purpose: str, *, reason: str = "") -> Change:
    """Retire every key in force but the newest, and drop the private halves of keys that have ended."""
    standing, index = _standing(purpose), None
    keys.private_key(purpose, standing[-1])
    for position, key_id in enumerate(standing[:-1]):
        body = {"purpose": purpose, "key_id": key_id} | _because(reason)
        index = _write("key.retired", body, expected=standing[position:]).index
    dropped = _drop_ended(purpose)
    return Change(f"Only {standing[-1]} is in force. {dropped}".strip(), index)


def revoke(purpose: str, wanted: str, *, reason: str) -> Change:
    """End one key at once: what it signs from now on counts no more."""
    row, standing = _find(purpose, wanted), _standing(purpose)
    if not reason:
        raise InvalidError("A revocation says why: give --reason.", code="reason_required")
    if row.to_size is not None and row.ending != "revoked":
        raise ConflictError(
            f"{row.key_id} ended with size {row.to_size} already ({row.ending}): nothing that it signs later counts.",
            code="key_ended",
        )
    index = None
    if row.to_size is None:
        if len(standing) == 1:
            raise ConflictError(
                f"{row.key_id} is the only {purpose} key in force: begin a rotation first, then revoke it.",
                code="key_needed",
            )
        body = {"purpose": purpose, "key_id": row.key_id, "reason": reason}
        index = _write("key.revoked", body, expected=standing).index
    return Change(f"{row.key_id} is revoked. {_drop_ended(purpose)}".strip(), index)


def replace_lost(purpose: str, *, new: Ed25519PrivateKey | None = None, reason: str) -> Change:
    """Begin a new key in the place of those in force whose private half is nowhere any more.

    The log cannot vouch for it: whoever pinned the lost key has to accept the new one by other means.
    """
    standing, held = _standing(purpose), keys.private_keys(purpose, or_none=True)
    lost = tuple(key_id for key_id in standing if key_id not in held)
    if not lost:
        raise ConflictError(f"No {purpose} key in force is lost: their private halves are here.", code="key_not_lost")
    if not reason:
        raise InvalidError("Say how the key was lost: give --reason.", code="reason_required")
    key_id = _successor(purpose, new, ())
    with keys.standing_in(purpose, lost, keys.private_key(purpose, key_id)):
        placed = _rotate(purpose, key_id, lost, lost=True, reason=reason, expected=standing)
    return Change(f"{key_id} is in force; {', '.join(lost)} ended as lost.", placed.index)


def _standing(purpose: str) -> tuple[str, ...]:
    standing = keys.in_force(purpose)
    if not standing:
        raise ConflictError(f"No {purpose} key is published yet: run manage.py setup.", code="key_unpublished")
    return standing


def _find(purpose: str, wanted: str) -> SigningKey:
    """A key by its id or the beginning of it; a log key also by the eight digits in it."""
    rows = SigningKey.objects.filter(purpose=purpose)
    found = [row for row in rows if wanted and (row.key_id.startswith(wanted) or f"+{wanted}+" in row.key_id)]
    if len(found) != 1:
        raise InvalidError(f"{len(found)} {purpose} keys are called {wanted!r}: give its id.", code="key_unknown")
    return found[0]


def _successor(purpose: str, new: Ed25519PrivateKey | None, standing: tuple[str, ...]) -> str:
    """The id of the key to begin. When this returns, its private half is where the service looks for it."""
    published = set(SigningKey.objects.filter(purpose=purpose).values_list("key_id", flat=True))
    held = keys.private_keys(purpose, or_none=True)
    if new is not None:
        key_id = keys.key_id(purpose, new)
        if key_id in published and key_id not in standing[1:]:
            raise ConflictError(f"{key_id} was published before: a successor is a fresh key.", code="key_known")
    else:
        waiting = [key_id for key_id in held if key_id not in published]
        if len(waiting) > 1:
            raise ConflictError(
                f"{keys.source(purpose)} holds {len(waiting)} keys that are not published: name one with --new-key.",
                code="key_ambiguous",
            )
        if not waiting and len(standing) > 1:
            return standing[-1]
        new = held[waiting[0]] if waiting else generate()
        key_id = keys.key_id(purpose, new)
    if key_id not in held:
        keyfile.add(keys.source(purpose), new)
    return key_id


def _rotate(
    purpose: str,
    key_id: str,
    replaces: Sequence[str],
    *,
    lost: bool,
    reason: str,
    expected: tuple[str, ...] | None = None,
) -> Placed:
    body = _named(purpose, key_id, keys.private_key(purpose, key_id))
    body |= {"replaces": list(replaces), "lost": lost} | _because(reason)
    return _write("key.rotated", body, expected=tuple(replaces) if expected is None else expected)


def _named(purpose: str, key_id: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    return {"purpose": purpose, "key_id": key_id, "public_key": key.public_key().public_bytes_raw().hex()}


def _because(reason: str) -> dict[str, str]:
    return {"reason": reason} if reason else {}


def _write(kind: str, body: Mapping[str, Any], *, expected: tuple[str, ...]) -> Placed:
    """One record in a batch of its own, so that ranges of sizes begin and end exactly at its checkpoint."""
    purpose = body["purpose"]

    def admit(_: datetime) -> None:
        if keys.in_force(purpose) != expected:
            raise ConflictError(
                f"The {purpose} keys in force changed meanwhile. Look at them, then run the command again.",
                code="signing_key_changed",
            )

    keys.forget()
    try:
        (outcome,) = store.write([service_draft(kind, body, actor=Actor(SERVICE), admit=admit)])
    finally:
        keys.forget()
    if isinstance(outcome, ProoftrailError):
        raise outcome
    return outcome


def _drop_ended(purpose: str) -> str:
    """Remove private halves that count no more; what to do by hand where they are in a variable."""
    ended = SigningKey.objects.filter(purpose=purpose).exclude(to_size=None).values_list("key_id", flat=True)
    held = keys.private_keys(purpose)
    gone = [key_id for key_id in ended if key_id in held]
    if not gone:
        return ""
    where = keys.source(purpose)
    if where.from_environment:
        return f"Remove the private half of {', '.join(gone)} from {where.variable}."
    keyfile.keep(where, [key for key_id, key in held.items() if key_id not in gone])
    keys.forget()
    return f"The private half of {', '.join(gone)} is out of {where.path}; destroy its copies."
