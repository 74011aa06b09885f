"""The life of an exception: each function appends one record, and nothing else changes its state.

requested → approved | rejected | withdrawn; approved → renewal requested → renewed | refused;
approved → revoked | remediated | superseded, also while a renewal waits; an amendment leads back to requested.
Everything is checked under the head lock (`rules`), so it holds whatever happens at the same time.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from config.errors import ForbiddenError, InvalidError, ProoftrailError
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor, Idempotency, Placed
from evidence.models import System, User
from evidence.people import find_user
from evidence.tlog.leaf import format_time
from exceptions import policy, rules
from exceptions.frozen import require_terms, terms_digest
from exceptions.models import Announcement, SecurityException, Transition
from exceptions.models.terms import SEVERITIES
from exceptions.records import keep_until_closed, next_exception
from exceptions.risks import risk_for

logger = logging.getLogger(__name__)

#: What a transition adds to its record's body: given the exception, the person and the time of receipt.
Judge = Callable[[SecurityException, User, datetime], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Application:
    """What is asked for. `systems` are names, `owner` a mail address, controls are ``{title, evidence?}``.

    `releases` are ids (``SYSTEM:TAG``), opened or not yet: it waives for these alone. None means every release.
    """

    title: str
    justification: str
    severity: str
    systems: Sequence[str]
    owner: str
    expires_at: datetime
    effective_from: datetime | None = None
    requirements: Sequence[str] = ()
    releases: Sequence[str] = ()
    risk: str | None = None
    compensating_controls: Sequence[Mapping[str, str]] = field(default_factory=tuple)


def request_exception(*, actor: Actor, application: Application, idempotency: Idempotency | None = None) -> Placed:
    """Enter a request. The record's body carries the exception's number, as ``EXC-0001``.

    Raises ``role_required``, ``system_unknown``, ``person_unknown``, ``risk_unknown``, ``severity_unknown``,
    ``release_invalid``, ``expiry_in_past``, ``date_invalid``, ``effective_too_early``, ``term_too_long``.
    """

    def compose(at: datetime) -> Composed:
        person = rules.person_of(actor)
        rules.require_role(person, *rules.REQUESTERS)
        needed = _approvals_needed(application.severity)
        systems = rules.systems_named(application.systems, person)
        rules.check_releases(application.releases, {system.name for system in systems})
        owner = find_user(application.owner, where="$.owner")
        start = application.effective_from or at
        rules.check_dates(application.severity, start, application.expires_at, at)
        body = {
            "exception": next_exception(),
            "title": application.title,
            "justification": application.justification,
            "severity": application.severity,
            "systems": [system.name for system in systems],
            "requirements": list(dict.fromkeys(application.requirements)),
            "releases": list(dict.fromkeys(application.releases)),
            "compensating_controls": [dict(control) for control in application.compensating_controls],
            "owner": owner.uid,
            "owner_name": owner.name,
            "effective_from": format_time(start),
            "expires_at": format_time(application.expires_at),
            "approvals_needed": needed,
        }
        if application.risk:
            body["risk"] = risk_for(person, application.risk).id
        return Composed(body, [system.id for system in systems])

    return append_composed("exception.requested", compose, actor=actor, idempotency=idempotency, apply=announced)


def approve(
    *, actor: Actor, exception: str, reason: str = "", terms: str | None = None, idempotency: Idempotency | None = None
) -> Placed:
    """Approve; a critical one counts as approved when the second person did. What a sheet called approved is
    ratified so. `terms` is the digest of what the person saw: anything else is not approved.

    Raises ``transition_not_allowed``, ``self_approval``, ``already_approved``, ``role_required``, ``expiry_in_past``,
    ``executive_required``, ``terms_changed``.
    """

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        role, frozen = rules.may_approve(found, person, at), terms_digest(found)
        require_terms(terms, frozen, found.pk)
        return {"decision": "approved", "role": role, "terms": frozen}

    return _transition("exception.approved", actor, exception, reason, judge, idempotency)


def reject(*, actor: Actor, exception: str, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Refuse a request for good. Raises ``transition_not_allowed``, ``self_approval``, ``role_required``."""

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        return {"decision": "rejected", "role": rules.may_reject(found, person, at)}

    return _transition("exception.rejected", actor, exception, require_reason(reason), judge, idempotency)


def withdraw(*, actor: Actor, exception: str, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Take a request back: its requester, its owner or a liaison."""

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        rules.may_withdraw(found, person, at)
        return {}

    return _transition("exception.withdrawn", actor, exception, require_reason(reason), judge, idempotency)


def request_renewal(
    *, actor: Actor, exception: str, expires_at: datetime, reason: str, idempotency: Idempotency | None = None
) -> Placed:
    """Ask for more time; the present dates hold until somebody approves, and are kept afterwards.

    Raises ``transition_not_allowed``, ``expiry_in_past``, ``expiry_not_later``, ``term_too_long``.
    """

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        rules.may_ask_renewal(found, person, at)
        rules.check_renewal(found, expires_at, at)
        return {
            "previous_expires_at": format_time(found.expires_at),
            "original_expires_at": format_time(found.original_expires_at),
            "expires_at": format_time(expires_at),
            "approvals_needed": _approvals_needed(found.severity),
        }

    return _transition("exception.renewal_requested", actor, exception, require_reason(reason), judge, idempotency)


def approve_renewal(
    *, actor: Actor, exception: str, reason: str = "", terms: str | None = None, idempotency: Idempotency | None = None
) -> Placed:
    """Approve the pending renewal, under the same separation as the exception itself; `terms` are those with the
    expiry asked for.

    Raises ``transition_not_allowed``, ``self_approval``, ``already_approved``, ``executive_required``,
    ``terms_changed``, …
    """

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        role = rules.may_renew(found, person, at)
        renewal = rules.pending_renewal(found, at)
        frozen = terms_digest(found, expires_at=renewal.expires_at)
        require_terms(terms, frozen, found.pk)
        decided = {"renewal": renewal.index, "expires_at": format_time(renewal.expires_at), "decision": "approved"}
        return decided | {"role": role, "terms": frozen}

    return _transition("exception.renewed", actor, exception, reason, judge, idempotency)


def refuse_renewal(*, actor: Actor, exception: str, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Refuse the pending renewal; the present expiry stays."""

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        role = rules.may_refuse_renewal(found, person, at)
        renewal = rules.pending_renewal(found, at)
        return {"renewal": renewal.index, "decision": "rejected", "role": role}

    return _transition("exception.renewal_refused", actor, exception, require_reason(reason), judge, idempotency)


def revoke(*, actor: Actor, exception: str, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """End an approved exception before its time. Taking permission away needs no second person."""

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        rules.may_revoke(found, person, at)
        return {}

    return _transition("exception.revoked", actor, exception, require_reason(reason), judge, idempotency)


def remediate(
    *,
    actor: Actor,
    exception: str,
    reason: str,
    evidence: Sequence[int] = (),
    idempotency: Idempotency | None = None,
) -> Placed:
    """Close what was approved, here or elsewhere, as put right: the owner, the requester or a liaison.

    `evidence` are indexes of records that show it. Raises ``evidence_required`` where the policy asks for some,
    ``evidence_unknown``.
    """

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        rules.may_remediate(found, person, at)
        return {"evidence": rules.evidence_named(evidence, found, person)}

    return _transition("exception.remediated", actor, exception, require_reason(reason), judge, idempotency)


def supersede(*, actor: Actor, exception: str, by: str, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Close what was approved because another active exception takes its place: the owner, the requester or a
    liaison. Raises ``replacement_not_active``."""

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        rules.may_supersede(found, person, at)
        return {"by": rules.replacement(by, found, person, at).pk}

    return _transition("exception.superseded", actor, exception, require_reason(reason), judge, idempotency)


#: What `amend` may change; dates only move by renewals.
AMENDABLE = (
    *("title", "justification", "severity", "requirements", "releases", "compensating_controls", "risk", "owner"),
    "systems",
)


def amend(
    *,
    actor: Actor,
    exception: str,
    reason: str,
    changes: Mapping[str, Any],
    idempotency: Idempotency | None = None,
) -> Placed:
    """Change what was asked for: it waives nothing until it is approved again.

    `changes` holds members of `Application` out of AMENDABLE. Raises ``transition_not_allowed``, ``nothing_changed`` …
    """
    unknown = changes.keys() - set(AMENDABLE)
    if unknown or not changes:
        raise InvalidError(f"An amendment changes some of {', '.join(AMENDABLE)}.", code="amendment_invalid")

    def judge(found: SecurityException, person: User, at: datetime) -> Mapping[str, Any]:
        rules.may_amend(found, person, at)
        severity = changes.get("severity", found.severity)
        needed = _approvals_needed(severity)
        if severity != found.severity:  # no amendment moves dates: what an import brought may be put right
            rules.check_term(severity, found.term_from, found.expires_at)
        _check_releases(found, changes)
        return {"changes": _resolved(changes, person), "approvals_needed": needed}

    return _transition("exception.amended", actor, exception, require_reason(reason), judge, idempotency)


def _check_releases(found: SecurityException, changes: Mapping[str, Any]) -> None:
    """Releases are of the systems, whichever of the two changes."""
    if not {"releases", "systems"} & changes.keys():
        return
    names = changes.get("systems") or System.objects.filter(pk__in=found.systems).values_list("name", flat=True)
    rules.check_releases(changes.get("releases", found.releases), set(names))


def _resolved(changes: Mapping[str, Any], person: User) -> dict[str, Any]:
    """Mail addresses and names of an amendment as ids, where they exist and the person may use them."""
    resolved = dict(changes)
    if "owner" in changes:
        owner = find_user(changes["owner"], where="$.changes.owner")
        resolved |= {"owner": owner.uid, "owner_name": owner.name}
    if changes.get("risk"):
        resolved["risk"] = risk_for(person, changes["risk"]).id
    return resolved


def _transition(
    kind: str, actor: Actor, number: str, reason: str, judge: Judge, idempotency: Idempotency | None
) -> Placed:
    def compose(at: datetime) -> Composed:
        person = rules.person_of(actor)
        found = rules.exception_for(person, number)
        body = {"exception": found.id, "reason": reason, **judge(found, person, at)}
        named = body.get("changes", {}).get("systems")
        systems = [system.id for system in rules.systems_named(named, person)] if named else found.systems
        return Composed(body, systems)

    try:
        return append_composed(kind, compose, actor=actor, idempotency=idempotency, apply=announced)
    except ForbiddenError as refused:
        if refused.code == "self_approval" and kind in ("exception.approved", "exception.renewed"):
            _note_attempt(kind, actor, number)
        raise


def _note_attempt(kind: str, actor: Actor, number: str) -> None:
    """That somebody tried to approve their own is evidence; once a day is enough of it."""

    def compose(_: datetime) -> Composed:
        found = rules.exception_for(rules.person_of(actor), number)
        return Composed({"exception": found.id, "attempted": kind}, found.systems)

    once = Idempotency.of(f"{kind} {number} {timezone.now():%Y-%m-%d}", method="", path="self-approval", body=b"")
    try:
        append_composed("exception.self_approval_refused", compose, actor=actor, idempotency=once, apply=keep)
    except ProoftrailError as error:
        logger.warning("a self-approval of %s by %s is not recorded: %s", number, actor.principal, error)


def announced(index: int, at: datetime, composed: Composed) -> None:
    """Kept, and somebody is to be told of it (`exceptions.notices`)."""
    keep(index, at, composed)
    Announcement.objects.create(index=index)


def keep(index: int, at: datetime, composed: Composed) -> None:
    """Retention runs from the closing: while it is open, from its expiry, or from now if that is later."""
    keep_record(composed.body["exception"], at)


def keep_record(number: str, at: datetime) -> None:
    found = SecurityException.objects.get(pk=number)
    reference = max(at, found.expires_at) if found.is_open else at
    keep_until_closed(Transition.objects.filter(exception=found).values("index"), reference)


def require_reason(reason: str) -> str:
    if not reason.strip():
        raise InvalidError("Say why: the reason is part of the record.", code="reason_required", where="$.reason")
    return reason


def _approvals_needed(severity: str) -> int:
    if severity not in dict(SEVERITIES):
        raise InvalidError(
            f"There is no severity {severity!r}: critical, high, medium, low.",
            code="severity_unknown",
            where="$.severity",
        )
    return policy.load().approvals_needed.get(severity, 1)
