"""What waits for somebody: the question that lists and the first page ask, in SQL, for any number of exceptions.

Whether a person may decide is settled by `rules` under the head lock, each time; a test holds this question to them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import (
    Count,
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce, TruncDate

from evidence.models import User
from evidence.people import visible_systems
from exceptions import policy, rules
from exceptions.models import ExceptionApproval, Renewal, SecurityException, Transition
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.terms import APPROVED, CLAIMED, REQUESTED


def waiting_for(person: User, now: datetime, among: Sequence[str] | None = None) -> ExceptionQuerySet:
    """Requests, claims and renewals that the person may approve now; `among` limits the question to some numbers."""
    return _either(person, now, (REQUESTED, CLAIMED), among)


def decisions_for(person: User, now: datetime) -> ExceptionQuerySet:
    """Requests and renewals alone."""
    return _either(person, now, (REQUESTED,))


def claims_for(person: User, now: datetime) -> ExceptionQuerySet:
    """What imported sheets call approved, and the person may ratify."""
    return _within_reach(person).filter(pk__in=_asked(person, now, CLAIMED).values("pk"))


def _either(
    person: User, now: datetime, decisions: Sequence[str], among: Sequence[str] | None = None
) -> ExceptionQuerySet:
    """What was asked for in one of these ways, and renewals. As a union, each side goes by an index of its own."""
    asked, again = _asked(person, now, *decisions), _again(person, now)
    if among is not None:
        asked, again = asked.filter(pk__in=among), again.filter(exception__in=among)
    return _within_reach(person).filter(pk__in=asked.values("pk").union(again.values("exception")))


def _within_reach(person: User) -> ExceptionQuerySet:
    """Of a decider's own systems, all of them, and nothing that the person asked for, wrote, imported or owns."""
    if not person.has_role(*rules.DECIDERS):
        return SecurityException.objects.none()
    visible = visible_systems(person)
    found = SecurityException.objects.in_systems(visible)
    if visible is not None:
        found = found.filter(systems__contained_by=visible)
    amended = Transition.objects.filter(kind="exception.amended", by=person.uid)
    found = found.exclude(Q(requester=person.uid) | Q(owner=person.uid) | Q(imported_by=person.uid))
    return found.exclude(pk__in=amended.order_by().values("exception"))


def _asked(person: User, now: datetime, *decisions: str) -> ExceptionQuerySet:
    """Requests without this person's approval, which is not too late, and needs no executive that the person is not."""
    found = SecurityException.objects.filter(decision__in=decisions, expires_at__gt=now).order_by()
    given = ExceptionApproval.objects.filter(exception=OuterRef("pk"), renewal=None, standing=True)
    found = found.exclude(Exists(given.filter(person=person.uid)))
    if "executive" in person.roles:
        return found
    completes = Q(approvals_needed__lte=_counted(given, "exception") + 1)
    alone = ~Q(imported_by="") & ~Exists(given.filter(role="executive"))
    return found.alias(term=_term()).exclude(alone & completes & _over_long())


def _again(person: User, now: datetime) -> QuerySet[Renewal]:
    """Renewals that wait, in the same sense."""
    found = Renewal.objects.filter(
        state=Renewal.PENDING, exception__decision=APPROVED, exception__renewal_pending=True, expires_at__gt=now
    )
    given = ExceptionApproval.objects.filter(renewal=OuterRef("pk"))
    found = found.exclude(requested_by=person.uid).exclude(Exists(given.filter(person=person.uid))).order_by()
    if "executive" in person.roles:
        return found
    completes = Q(approvals_needed__lte=_counted(given, "renewal") + 1)
    often = Q(exception__renewals_made__gte=policy.load().renewals_without_executive)
    return found.exclude(completes & often & ~Exists(given.filter(role="executive")))


def _counted(given: QuerySet[ExceptionApproval], of: str) -> Coalesce:
    each = given.order_by().values(of).annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(each, output_field=IntegerField()), 0)


def _term() -> ExpressionWrapper:
    """In UTC calendar days, as `rules.check_term` counts them."""
    last = ExpressionWrapper(F("expires_at") - timedelta(microseconds=1), output_field=DateTimeField())
    return ExpressionWrapper(TruncDate(last, tzinfo=UTC) - TruncDate("term_from", tzinfo=UTC), DurationField())


def _over_long() -> Q:
    """A longer `term` than the severity allows."""
    longer = Q(pk__in=[])
    for severity, longest in policy.load().longest_term.items():
        longer |= Q(severity=severity, term__gt=longest)
    return longer
