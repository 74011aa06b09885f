"""Bulk ratification of what imported sheets call approved: one record signs the list, each exception gets its approval.

All of a list or none: whoever ratifies has seen exactly these terms. Separation is that of any approval (`rules`).
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from config.errors import ConflictError, InvalidError, ProoftrailError
from evidence.ledger import Actor, Draft, Idempotency, Placed, append_all, service_draft
from evidence.models import User
from evidence.replays import recorded_once
from evidence.tlog.canonical import canonical
from exceptions import lifecycle, rules
from exceptions.frozen import terms_digest
from exceptions.models import Announcement, ExceptionApproval, SecurityException
from exceptions.models.terms import CLAIMED

MOST = 500
#: One approval of the list, as `exception.approved` says it.
Chosen = tuple[SecurityException, str]


def ratify(*, actor: Actor, exceptions: Sequence[str], reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Ratify imported claims as one list; returns the place of `register.list_ratified`.

    Raises ConflictError ``list_not_ratifiable`` with every exception that cannot be and why, or ``list_changed``;
    InvalidError ``list_invalid``, ``reason_required``.
    """
    numbers = list(dict.fromkeys(exceptions))
    if not 1 <= len(numbers) <= MOST:
        raise InvalidError(f"A list has 1 to {MOST} exceptions.", code="list_invalid", where="$.exceptions")
    lifecycle.require_reason(reason)
    person = rules.person_of(actor)
    # A retry would be refused for what the first call did: it gets the first answer.
    return recorded_once(lambda: _ratified(actor, person, numbers, reason, idempotency), person, idempotency)


def _ratified(
    actor: Actor, person: User, numbers: Sequence[str], reason: str, idempotency: Idempotency | None
) -> Placed:
    given = _given(numbers)
    chosen = _judged(numbers, person)
    rows = [_row(found) for found, _ in chosen]
    digest = "sha256:" + hashlib.sha256(canonical(rows)).hexdigest()
    admitted: list[bool] = []

    def admit(at: datetime) -> None:
        admitted.clear()
        _require_unchanged(rows, given, person, at)
        admitted.append(True)

    body = {"digest": digest, "count": len(rows), "exceptions": rows, "reason": reason}
    scope = sorted({system for found, _ in chosen for system in found.systems})
    signed = service_draft(
        "register.list_ratified", body, actor=actor, systems=scope, idempotency=idempotency, admit=admit
    )
    approvals = [_approval(found, role, reason, digest, actor, admitted) for found, role in chosen]
    placed, *others = append_all([signed, *approvals])
    if isinstance(placed, ProoftrailError):
        raise placed
    refused = next((one for one in others if isinstance(one, ProoftrailError)), None)
    if refused is not None and not placed.replayed:
        raise refused
    return placed


def _judged(numbers: Sequence[str], person: User) -> list[Chosen]:
    """Each with the role in which the person decides."""
    chosen: list[Chosen] = []
    wrong: list[dict[str, str]] = []
    now = datetime.now().astimezone()
    for number in numbers:
        try:
            found = rules.exception_for(person, number)
            rules.require_decision(found, CLAIMED, doing="ratified")
            chosen.append((found, rules.may_approve(found, person, now)))
        except ProoftrailError as error:
            wrong.append({"where": number, "code": error.code, "detail": error.detail})
    if wrong:
        raise ConflictError(
            f"{len(wrong)} of {len(numbers)} cannot be ratified by you, the first because: {wrong[0]['detail']}",
            code="list_not_ratifiable",
            errors=wrong,
        )
    return chosen


def _row(found: SecurityException) -> dict[str, Any]:
    return {"exception": found.pk, "index": found.last_index, "terms": terms_digest(found)}


def _given(numbers: Collection[str]) -> set[int]:
    """The approvals that count of these so far."""
    standing = ExceptionApproval.objects.filter(exception__in=numbers, renewal=None, standing=True)
    return set(standing.values_list("index", flat=True))


def _require_unchanged(rows: Sequence[Mapping[str, Any]], given: set[int], person: User, at: datetime) -> None:
    """Under the head lock, in three queries: still claims, with the very terms and approvals that were judged, and not
    too late. One approval more may make this the last, which may need an executive.
    """
    listed = {row["exception"]: row["terms"] for row in rows}
    found = SecurityException.objects.filter(pk__in=listed, decision=CLAIMED, expires_at__gt=at)
    same = {one.pk for one in found if terms_digest(one) == listed[one.pk]}
    rules.require_role(User.objects.get(pk=person.pk), *rules.DECIDERS)
    if len(same) < len(listed) or _given(listed.keys()) != given:
        raise ConflictError("Some of the list changed meanwhile: look at it again.", code="list_changed")


def _approval(
    found: SecurityException, role: str, reason: str, digest: str, actor: Actor, admitted: Sequence[bool]
) -> Draft:
    """Follows the list in its batch; refused where the list was."""

    def admit(_: datetime) -> None:
        if not admitted:
            raise ConflictError("Its list was not ratified.", code="list_changed")

    def apply(index: int, at: datetime) -> None:
        lifecycle.keep_record(found.pk, at)
        Announcement.objects.create(index=index)

    decided = {"decision": "approved", "role": role, "terms": terms_digest(found)}
    body = {"exception": found.pk, **decided, "reason": reason, "list": digest}
    return service_draft(
        "exception.approved",
        body,
        actor=actor,
        systems=found.systems,
        admit=admit,
        apply=apply,
    )
