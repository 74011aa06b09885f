"""Figures of the register as they are now: what is open, waits, is overdue. A few queries, whatever its size."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Avg, Count, F, Func, Min, Q, QuerySet

from evidence.models import System
from evidence.people import display_names
from exceptions.models import SecurityException, Transition
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.terms import APPROVED, CLAIMED, OPEN, REQUESTED, SEVERITIES, in_state

SELF_APPROVAL = "exception.self_approval_refused"
#: Nobody has decided about them here.
_UNDECIDED = (REQUESTED, CLAIMED)
#: Ages of open exceptions: up to so many days since they were requested.
AGES = (30, 90, 180, 365)
#: Owners and systems with the most open exceptions that are named.
MOST = 50


def metrics(seen: ExceptionQuerySet, *, now: datetime) -> dict[str, Any]:
    """Of the exceptions that somebody sees. Times in days are of 24 h, from receipt to receipt of records."""
    return _counts(seen, now) | {
        "awaiting_decision": _waiting(seen, now),
        "average_days_to_decision": _days_to_decision(seen),
        "self_approval_attempts": Transition.objects.filter(exception__in=seen, kind=SELF_APPROVAL).count(),
        "by_severity": _by_severity(seen),
        "by_system": _by_system(seen),
        "by_owner": _by_owner(seen),
        "by_age": _by_age(seen, now),
    }


def _counts(seen: ExceptionQuerySet, now: datetime) -> dict[str, Any]:
    def expiring(days: int) -> Q:
        return in_state("active", now) & Q(expires_at__lte=now + timedelta(days=days))

    found = seen.order_by().aggregate(
        open=Count("pk", filter=in_state("open", now)),
        active=Count("pk", filter=in_state("active", now)),
        expiring_7=Count("pk", filter=expiring(7)),
        expiring_30=Count("pk", filter=expiring(30)),
        overdue=Count("pk", filter=in_state("expired", now)),
        expired_without_decision=Count("pk", filter=Q(decision__in=_UNDECIDED, expires_at__lte=now)),
        renewed_more_than_once=Count("pk", filter=Q(renewals_made__gt=1)),
    )
    soon = {"7": found.pop("expiring_7"), "30": found.pop("expiring_30")}
    return found | {"expiring_in_days": soon}


def _waiting(seen: ExceptionQuerySet, now: datetime) -> dict[str, Any]:
    """Requests, with what imported sheets claim, and renewals of what was approved."""
    asked = seen.filter(decision__in=_UNDECIDED).order_by().aggregate(n=Count("pk"), oldest=Min("requested_at"))
    again = seen.filter(decision=APPROVED, renewals__state="pending").order_by()
    renewals = again.aggregate(n=Count("pk"), oldest=Min("renewals__requested_at"))
    oldest = min((found["oldest"] for found in (asked, renewals) if found["oldest"]), default=None)
    return {
        "requests": asked["n"],
        "renewals": renewals["n"],
        "oldest_since": oldest,
        "oldest_days": _days(now - oldest) if oldest else None,
    }


def _days_to_decision(seen: ExceptionQuerySet) -> float | None:
    """From the request to the first decision: the approval that completed it, or the refusal."""
    decided = Transition.objects.filter(exception__in=seen, decision__in=[APPROVED, "rejected"])
    first = decided.order_by().values("exception").annotate(took=Min("at") - F("exception__requested_at"))
    took = first.aggregate(average=Avg("took"))["average"]
    return _days(took) if took is not None else None


def _days(span: timedelta) -> float:
    return round(span / timedelta(days=1), 2)


def _open(seen: ExceptionQuerySet) -> QuerySet[SecurityException]:
    return seen.filter(decision__in=OPEN).order_by()


def _by_severity(seen: ExceptionQuerySet) -> dict[str, int]:
    found = dict(_open(seen).values_list("severity").annotate(n=Count("pk")))
    return {name: found.get(name, 0) for name, _ in SEVERITIES}


def _by_system(seen: ExceptionQuerySet) -> list[dict[str, Any]]:
    each = _open(seen).annotate(system=Func(F("systems"), function="unnest"))
    found = dict(each.values_list("system").annotate(n=Count("pk")).order_by("-n", "system")[:MOST])
    names = dict(System.objects.filter(pk__in=found).values_list("pk", "name"))
    return [{"system": names.get(pk, pk), "open": n} for pk, n in found.items()]


def _by_owner(seen: ExceptionQuerySet) -> list[dict[str, Any]]:
    found = dict(_open(seen).values_list("owner").annotate(n=Count("pk")).order_by("-n", "owner")[:MOST])
    names = display_names(found)
    return [{"owner": {"id": uid, "name": names[uid]}, "open": n} for uid, n in found.items()]


def _by_age(seen: ExceptionQuerySet, now: datetime) -> list[dict[str, Any]]:
    """Open ones by days since the request; the last row has no upper end."""
    since = {str(days): now - timedelta(days=days) for days in AGES}
    younger = {days: Count("pk", filter=Q(requested_at__gt=start)) for days, start in since.items()}
    counts = _open(seen).aggregate(total=Count("pk"), **younger)
    rows, before = list[dict[str, Any]](), 0
    for days in AGES:
        rows.append({"up_to_days": days, "open": counts[str(days)] - before})
        before = counts[str(days)]
    return [*rows, {"up_to_days": None, "open": counts["total"] - before}]
