"""How exceptions and risks look outside. Names are looked up once for a whole page."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from django.utils import timezone

from evidence.models import System, User
from evidence.people import Principal, display_names
from exceptions import risk_links, risk_policy, risks, rules
from exceptions.frozen import terms_digest
from exceptions.models import ExceptionApproval, Renewal, Risk, SecurityException, Transition

Person = dict[str, str]


class Names:
    """Names for the opaque ids on one page: of people and of systems. Three queries."""

    def __init__(self, people: Iterable[str], systems: Iterable[str]) -> None:
        self._people = display_names(people)
        self._systems = dict(System.objects.filter(pk__in=set(systems)).values_list("pk", "name"))

    def person(self, uid: str) -> Person:
        return {"id": uid, "name": self._people.get(uid, uid)}

    def systems(self, ids: Iterable[str]) -> list[str]:
        return sorted(self._systems.get(pk, pk) for pk in ids)


def exceptions_out(
    found: Sequence[SecurityException], *, now: datetime, as_of: datetime | None = None
) -> list[dict[str, Any]]:
    """Rows of a list. Expects `approvals` and `renewals` prefetched, and `then` for an as-of question."""
    people = {uid for one in found for uid in (one.requester, one.owner, *(a.person for a in one.approvals.all()))} | {
        renewal.requested_by for one in found for renewal in one.renewals.all()
    }
    names = Names(people, (pk for one in found for pk in one.systems))
    return [_exception(one, names, now, as_of) for one in found]


def exception_out(found: SecurityException, *, now: datetime) -> dict[str, Any]:
    """One exception with its timeline."""
    transitions = list(found.transitions.all())
    names = Names({t.by for t in transitions}, [])
    timeline = [
        {"index": t.index, "kind": t.kind, "at": t.at, "by": names.person(t.by), "reason": t.reason}
        for t in transitions
    ]
    return exceptions_out([found], now=now)[0] | {"transitions": timeline}


def _exception(one: SecurityException, names: Names, now: datetime, as_of: datetime | None) -> dict[str, Any]:
    terms: SecurityException | Transition = one.then[0] if as_of else one  # type: ignore[attr-defined]  # prefetched
    when = as_of or now
    return {
        "id": one.id,
        "title": one.title,
        "justification": one.justification,
        "severity": terms.severity,
        "state": terms.state(when),
        "expiring": terms.is_expiring(when),
        "days_left": terms.days_left(when),
        "systems": names.systems(terms.systems),
        "requirements": terms.requirements,
        "releases": terms.releases,
        "risk": one.risk_id,
        "compensating_controls": one.compensating_controls,
        "requester": names.person(one.requester),
        "owner": names.person(one.owner),
        "approvals": [_approval(approval, names) for approval in one.approvals.all() if approval.standing],
        "approvals_needed": one.approvals_needed,
        "needs_executive": rules.needs_executive(one) or None,
        "requested_at": one.requested_at,
        "approved_at": one.approved_at,
        "effective_from": terms.effective_from,
        "expires_at": terms.expires_at,
        "original_expires_at": one.original_expires_at,
        "renewal_pending": one.renewal_pending,
        "renewals": [_renewal(renewal, names) for renewal in one.renewals.all()],
        "closed_at": one.closed_at,
        "superseded_by": one.superseded_by or None,
        "terms": terms_digest(one),
        "reference": one.reference,
        "claim": one.claim,
        "index": one.requested_index,
    }


def _approval(approval: ExceptionApproval, names: Names) -> dict[str, Any]:
    return {name: getattr(approval, name) for name in ("role", "at", "index", "terms")} | {
        "person": names.person(approval.person),
        "renewal": approval.renewal_id,
    }


def _renewal(renewal: Renewal, names: Names) -> dict[str, Any]:
    return {
        "index": renewal.index,
        "state": renewal.state,
        "previous_expires_at": renewal.previous_expires_at,
        "expires_at": renewal.expires_at,
        "reason": renewal.reason,
        "requested_by": names.person(renewal.requested_by),
        "requested_at": renewal.requested_at,
        "decided_at": renewal.decided_at,
    }


def risks_out(found: Sequence[Risk]) -> list[dict[str, Any]]:
    """Rows of a list."""
    people = {uid for one in found for uid in (one.owner, one.added_by, one.reviewed_by) if uid}
    people |= {item["owner"] for one in found for item in one.action_items}
    names = Names(people, (pk for r in found for pk in r.systems))
    today = timezone.now().date()
    return [_risk(one, names, today) for one in found]


def risk_out(found: Risk, principal: Principal) -> dict[str, Any]:
    """One risk with its records, and what it points to as far as the principal may see."""
    changes = list(found.changes.all())
    names = Names({change.by for change in changes}, [])
    rows = [
        {"index": c.index, "kind": c.kind, "at": c.at, "by": names.person(c.by), "reason": c.reason} for c in changes
    ]
    links = risk_links.shown(found, principal)
    may = isinstance(principal, User) and risks.may_keep(found, principal)
    return risks_out([found])[0] | {
        "changes": rows,
        "links": links,
        "exceptions": links["exceptions"],
        "moves": ["changed", "reviewed", "closed"] if may else [],
    }


def _risk(one: Risk, names: Names, today: date) -> dict[str, Any]:
    scale = risk_policy.load()
    after = one.residual_rating
    plain = ("id", "reference", "title", "description", "cause", "consequence", "likelihood", "impact", "rating")
    treated = ("residual_likelihood", "residual_impact", "residual_rating", "mitigation", "contingency", "status")
    return {name: getattr(one, name) for name in (*plain, *treated)} | {
        "level": scale.level(one.rating),
        "residual_level": scale.level(after) if after else None,
        "systems": names.systems(one.systems),
        "owner": names.person(one.owner),
        "action_items": [_item(item, names) for item in one.action_items],
        "review_by": one.review_by,
        "review_overdue": one.review_is_overdue(today),
        "reviewed_at": one.reviewed_at,
        "reviewed_by": names.person(one.reviewed_by) if one.reviewed_by else None,
        "added_by": names.person(one.added_by),
        "added_at": one.added_at,
        "closed_at": one.closed_at,
        "index": one.added_index,
    }


def _item(item: Mapping[str, Any], names: Names) -> dict[str, Any]:
    return {
        "title": item["title"],
        "owner": names.person(item["owner"]),
        "state": item["state"],
        "due": item.get("due"),
    }
