"""What the list of exceptions can be narrowed to. Each is one choice, so that any of them together make sense."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from evidence.admin.forms import person
from evidence.models import System, User
from evidence.people import visible_systems
from exceptions import waiting
from exceptions.models import SecurityException
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.terms import CHASED, ENDED, in_state

#: Systems and owners that are offered; any other one is found by searching.
_OFFERED = 200
Choices = list[tuple[str, str]]


def reach(request: HttpRequest) -> list[str] | None:
    """`visible_systems` of who asks, looked up once for each request."""
    kept: Any = request
    if not hasattr(kept, "reach"):
        kept.reach = visible_systems(person(request))
    found: list[str] | None = kept.reach
    return found


def seen(request: HttpRequest) -> ExceptionQuerySet:
    """Exceptions that who asks may see."""
    kept: Any = request
    if not hasattr(kept, "seen_exceptions"):
        kept.seen_exceptions = SecurityException.objects.seen_by(person(request))
    found: ExceptionQuerySet = kept.seen_exceptions
    return found


def systems_named(request: HttpRequest) -> dict[str, str]:
    """Names of the systems that who asks may see, by their ids; once for each request."""
    kept: Any = request
    if not hasattr(kept, "systems_named"):
        seen = reach(request)
        found = System.objects.all() if seen is None else System.objects.filter(pk__in=seen)
        kept.systems_named = dict(found.order_by("name").values_list("pk", "name"))
    names: dict[str, str] = kept.systems_named
    return names


class _Filter(DropdownFilter):  # type: ignore[misc]  # unfold publishes no types
    """One choice out of a few. A value that is none of them finds nothing, instead of everything."""

    def queryset(self, request: HttpRequest, queryset: ExceptionQuerySet) -> ExceptionQuerySet:
        value = self.value()
        return self.narrowed(request, queryset, value) if value else queryset

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        raise NotImplementedError


class StateFilter(_Filter):
    title = "state"
    parameter_name = "state"
    STATES = ("requested", "claimed", "active", "expiring", "expired", "scheduled", *ENDED)
    WORDS = {"claimed": "Approved elsewhere (claim)", "expired": "Expired: overdue"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        groups = [("due", "Due: expires within 30 days, or has"), ("open", "Open")]
        return [*groups, *((state, self.WORDS.get(state, state.capitalize())) for state in self.STATES)]

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        if value not in dict(self.lookup_choices):
            return found.none()
        return found.in_state(value, timezone.now())


class SeverityFilter(ChoicesDropdownFilter):  # type: ignore[misc]  # unfold publishes no types
    """The choices of the field, as a list to choose from."""


class SystemFilter(_Filter):
    title = "system"
    parameter_name = "system"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, name) for name in list(systems_named(request).values())[:_OFFERED]]

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        named = [pk for pk, name in systems_named(request).items() if name == value]
        return found.filter(systems__overlap=named) if named else found.none()


class OwnerFilter(_Filter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        owned = seen(request).filter(owner=OuterRef("uid")).order_by()
        return list(User.objects.filter(Exists(owned)).order_by("name").values_list("uid", "name")[:_OFFERED])

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        return found.filter(owner=value)


def midnight_after(now: datetime, days: int) -> datetime:
    """The end of the UTC day that is so many days ahead."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=days + 1), time(0), UTC)


def expiring_between(now: datetime, first: int, last: int) -> Q:
    """What somebody answers for that ends in the UTC days `first` to `last` ahead, and has not ended yet."""
    after = now if first == 0 else midnight_after(now, first - 1)
    return Q(decision__in=CHASED, expires_at__gt=after, expires_at__lte=midnight_after(now, last))


class ExpiryFilter(_Filter):
    title = "expiry"
    parameter_name = "expires"
    #: Days ahead, both included.
    WINDOWS = {"today": (0, 0), "week": (0, 7), "month": (0, 30), "quarter": (0, 90)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        words = {"today": "Today", "week": "Within 7 days", "month": "Within 30 days", "quarter": "Within 90 days"}
        return [("overdue", "Overdue"), *words.items()]

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        now = timezone.now()
        if value == "overdue":
            return found.filter(in_state("expired", now))
        window = self.WINDOWS.get(value)
        return found.filter(expiring_between(now, *window)) if window else found.none()


class MineFilter(_Filter):
    title = "mine"
    parameter_name = "mine"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("yes", "I own or requested it"), ("owned", "I own it"), ("requested", "I requested it")]

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        me = person(request).uid
        owned, requested = Q(owner=me), Q(requester=me)
        asked = {"yes": owned | requested, "owned": owned, "requested": requested}.get(value)
        return found.none() if asked is None else found.filter(asked)


#: By value of the filter: whose question it is.
_WAITING: dict[str, Callable[[User, waiting.Visible, datetime], ExceptionQuerySet]] = {
    "me": waiting.waiting_for,
    "decisions": waiting.decisions_for,
    "claims": waiting.claims_for,
}


class WaitingFilter(_Filter):
    title = "waiting for me"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("me", "All that I may decide"), ("decisions", "Requests and renewals"), ("claims", "Claims to ratify")]

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        if value not in _WAITING:
            return found.none()
        asked = _WAITING[value](person(request), reach(request), timezone.now())
        return found.filter(pk__in=asked.order_by().values("pk"))


class RenewalFilter(_Filter):
    title = "renewals"
    parameter_name = "renewals"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("pending", "A renewal waits"), ("more", "Renewed more than once")]

    def narrowed(self, request: HttpRequest, found: ExceptionQuerySet, value: str) -> ExceptionQuerySet:
        asked = {"pending": Q(renewal_pending=True), "more": Q(renewals_made__gt=1)}.get(value)
        return found.none() if asked is None else found.filter(asked)


FILTERS = (
    StateFilter,
    ("severity", SeverityFilter),
    SystemFilter,
    OwnerFilter,
    ExpiryFilter,
    WaitingFilter,
    MineFilter,
    RenewalFilter,
)
#: What a view may consist of: these filters, the search and the order.
PARAMETERS = frozenset(
    {"state", "severity__exact", "system", "owner", "expires", "waiting", "mine", "renewals", "q", "o"}
)
