"""What waits for somebody: the question that lists and the first page ask, in SQL, for any number of exceptions.

Whether a person may decide is settled by `rules` under the head lock, each time; a test holds this question to them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import (
    CharField,
    Count,
    DateTimeField,
    DurationField,
    Exists,
    Expression,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce, Greatest, TruncDate

from evidence.models import User
from exceptions import policy, rules
from exceptions.models import ExceptionApproval, Renewal, SecurityException, Transition
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.terms import APPROVED, CLAIMED, REQUESTED

#: Opaque ids of the systems that the person may see (`visible_systems`), None for all of them.
Visible = Sequence[str] | None


def waiting_for(person: User, visible: Visible, now: datetime) -> ExceptionQuerySet:
    """Requests, claims and renewals that the person may approve now."""
    return _within_reach(person, visible).filter(_asked(person, now, REQUESTED, CLAIMED) | _again(person, now))


def decisions_for(person: User, visible: Visible, now: datetime) -> ExceptionQuerySet:
    """Requests and renewals alone."""
    return _within_reach(person, visible).filter(_asked(person, now, REQUESTED) | _again(person, now))


def claims_for(person: User, visible: Visible, now: datetime) -> ExceptionQuerySet:
    """What imported sheets call approved, and the person may ratify."""
    return _within_reach(person, visible).filter(_asked(person, now, CLAIMED))


def _within_reach(person: User, visible: Visible) -> ExceptionQuerySet:
    """Of a decider's own systems, all of them, and nothing that the person asked for, wrote, imported or owns."""
    everything = SecurityException.objects.alias(term=_term("term_from"))
    if not person.has_role(*rules.DECIDERS):
        return everything.none()
    found = everything.in_systems(visible)
    if visible is not None:
        found = found.filter(systems__contained_by=visible)
    found = found.exclude(Q(requester=person.uid) | Q(owner=person.uid) | Q(imported_by=person.uid))
    amended = Transition.objects.filter(kind="exception.amended", by=person.uid)
    return found.exclude(pk__in=amended.order_by().values("exception"))


def _asked(person: User, now: datetime, *decisions: str) -> Q:
    """Requests without this person's approval, which is not too late, and needs no executive that the person is not."""
    given = ExceptionApproval.objects.filter(exception=OuterRef("pk"), renewal=None, standing=True)
    wanted = Q(~Exists(given.filter(person=person.uid)), decision__in=decisions, expires_at__gt=now)
    if "executive" in person.roles:
        return wanted
    completes = Q(approvals_needed__lte=_counted(given, "exception") + 1)
    by_executive = Q(Exists(given.filter(role="executive")))
    return wanted & (~_over_long() | ~completes | by_executive)


def _again(person: User, now: datetime) -> Q:
    """Those whose renewal waits, in the same sense."""
    given = ExceptionApproval.objects.filter(renewal=OuterRef("pk"))
    pending = Renewal.objects.filter(exception=OuterRef("pk"), state=Renewal.PENDING, expires_at__gt=now).order_by()
    pending = pending.exclude(requested_by=person.uid).exclude(Exists(given.filter(person=person.uid)))
    if "executive" not in person.roles:
        completes = Q(approvals_needed__lte=_counted(given, "renewal") + 1)
        begins = Greatest("previous_expires_at", "requested_at")
        # Of the exception, from the query around: joined, the register would be read once more.
        severity = ExpressionWrapper(OuterRef("severity"), output_field=CharField())
        made = ExpressionWrapper(OuterRef("renewals_made"), output_field=IntegerField())
        pending = pending.alias(term=_term(begins), severity=severity, renewals_made=made)
        beyond = _over_long() | ~_within_limit()
        pending = pending.exclude(beyond & completes & ~Exists(given.filter(role="executive")))
    return Q(Exists(pending), renewal_pending=True, decision=APPROVED)


def _within_limit() -> Q:
    """Those whose severity allows one renewal more without an executive."""
    found = Q()
    for severity, limit in policy.load().renewals_without_executive.items():
        found |= Q(severity=severity, renewals_made__lt=limit)
    return found


def _counted(given: QuerySet[ExceptionApproval], of: str) -> Coalesce:
    each = given.order_by().values(of).annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(each, output_field=IntegerField()), 0)


def _term(begins: str | Expression) -> Expression:
    """In UTC calendar days, as `days_between` counts them."""
    last = ExpressionWrapper(F("expires_at") - timedelta(microseconds=1), output_field=DateTimeField())
    return ExpressionWrapper(TruncDate(last, tzinfo=UTC) - TruncDate(begins, tzinfo=UTC), DurationField())


def _over_long() -> Q:
    """A longer `term` than the severity allows without an executive."""
    longer = Q()
    for severity, longest in policy.load().longest_term.items():
        longer |= Q(severity=severity, term__gt=longest)
    return longer
