"""Exceptions as of a moment (R0.4): by severity, age, owner and expiry, and what is overdue.

"As of" is answered from the transitions, that is from records: last month's report can be asked for again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from exceptions.models import Transition
from exceptions.models.terms import CLAIMED, ENDED, OPEN, REQUESTED, SEVERITIES, standing

#: (title, least days since the request)
AGES = [("under 30 days", 0), ("30 to 89 days", 30), ("90 to 179 days", 90), ("180 days and more", 180)]
#: (title, most days until the expiry)
EXPIRIES = [("overdue", 0), ("within 7 days", 7), ("8 to 30 days", 30), ("31 to 90 days", 90), ("later", 10**6)]
OPENINGS = ("exception.requested",)
CLOSINGS = tuple(f"exception.{name}" for name in ENDED)


@dataclass(frozen=True)
class Count:
    """A figure with the one of the period before, and where its population is listed."""

    title: str
    value: int
    before: int = 0
    link: str = ""

    @property
    def delta(self) -> int:
        return self.value - self.before


@dataclass(frozen=True)
class Overdue:
    id: str
    title: str
    severity: str
    owner: str
    expired_at: datetime
    days: int


@dataclass(frozen=True)
class Owner:
    name: str
    open: int
    overdue: int
    next_expiry: datetime | None


@dataclass(frozen=True)
class Exceptions:
    open: Count
    overdue_count: Count
    #: Those that are open, by state.
    by_state: list[Count]
    opened: Count
    closed: Count
    by_severity: list[Count]
    by_age: list[Count]
    by_expiry: list[Count]
    owners: list[Owner]
    overdue: list[Overdue]

    @property
    def states(self) -> str:
        """In a sentence: what an approval elsewhere claims is told apart from what was approved here."""
        return ", ".join(f"{count.value} {count.title}" for count in self.by_state) + "."


#: What an open exception may be, and how that is said.
_STATES = [
    ("active", "active"),
    ("scheduled", "approved and not begun"),
    (REQUESTED, "waiting for approval"),
    (CLAIMED, "approved elsewhere and not ratified"),
    ("expired", "expired"),
]


def as_of(moment: datetime, systems: Sequence[str]) -> list[Transition]:
    """What applied to each open exception of these systems at `moment`."""
    found = Transition.objects.filter(standing(moment), decision__in=OPEN, systems__overlap=list(systems))
    return list(found.select_related("exception").order_by("exception__requested_index"))


def changes(kinds: Sequence[str], start: datetime, end: datetime, systems: Sequence[str]) -> QuerySet[Transition]:
    """Openings or closings received in [start, end)."""
    return Transition.objects.filter(kind__in=kinds, at__gte=start, at__lt=end, systems__overlap=list(systems))


def figures(
    *, start: datetime, end: datetime, before_start: datetime, before_end: datetime, systems: Sequence[str]
) -> Exceptions:
    """The period [start, end) beside the one before it; states are those at the end of each."""
    now, then = as_of(end, systems), as_of(before_end, systems)
    link = "/admin/exceptions/securityexception/"

    def states(rows: list[Transition], moment: datetime) -> Counter[str]:
        return Counter(row.state(moment) for row in rows)

    at, was = states(now, end), states(then, before_end)
    return Exceptions(
        open=Count("exceptions open", len(now), len(then), f"{link}?state=open"),
        overdue_count=Count("expired, still open", at["expired"], was["expired"], f"{link}?state=expired"),
        by_state=[Count(title, at[state], was[state], f"{link}?state={state}") for state, title in _STATES],
        opened=Count(
            "requested",
            changes(OPENINGS, start, end, systems).count(),
            changes(OPENINGS, before_start, before_end, systems).count(),
            link,
        ),
        closed=Count(
            "closed",
            changes(CLOSINGS, start, end, systems).count(),
            changes(CLOSINGS, before_start, before_end, systems).count(),
            link,
        ),
        by_severity=_by_severity(now, then, link),
        by_age=_by_age(now, then, end, before_end, link),
        by_expiry=_by_expiry(now, then, end, before_end, link),
        owners=_owners(now, end),
        overdue=_overdue(now, end),
    )


def _by_severity(now: list[Transition], then: list[Transition], link: str) -> list[Count]:
    at, was = Counter(row.severity for row in now), Counter(row.severity for row in then)
    return [
        Count(name, at[value], was[value], f"{link}?severity__exact={value}&state=open") for value, name in SEVERITIES
    ]


def _by_age(
    now: list[Transition], then: list[Transition], end: datetime, before_end: datetime, link: str
) -> list[Count]:
    def ages(rows: list[Transition], moment: datetime) -> Counter[str]:
        days = [(moment - row.exception.requested_at).days for row in rows]
        return Counter(next(title for title, least in reversed(AGES) if age >= least) for age in days)

    at, was = ages(now, end), ages(then, before_end)
    return [Count(title, at[title], was[title], f"{link}?state=open") for title, _ in AGES]


def _by_expiry(
    now: list[Transition], then: list[Transition], end: datetime, before_end: datetime, link: str
) -> list[Count]:
    def dates(rows: list[Transition], moment: datetime) -> Counter[str]:
        left = [row.expires_at - moment for row in rows]
        return Counter(next(title for title, most in EXPIRIES if span <= timedelta(days=most)) for span in left)

    at, was = dates(now, end), dates(then, before_end)
    return [Count(title, at[title], was[title], f"{link}?state=open") for title, _ in EXPIRIES]


def _owners(rows: list[Transition], moment: datetime) -> list[Owner]:
    by_owner: dict[str, list[Transition]] = {}
    for row in rows:
        by_owner.setdefault(row.exception.owner, []).append(row)
    owners = [
        Owner(
            name=found[0].exception.owner_name,
            open=len(found),
            overdue=sum(row.state(moment) == "expired" for row in found),
            next_expiry=min((row.expires_at for row in found if row.expires_at > moment), default=None),
        )
        for found in by_owner.values()
    ]
    return sorted(owners, key=lambda owner: (-owner.overdue, -owner.open, owner.name))


def _overdue(rows: list[Transition], moment: datetime) -> list[Overdue]:
    severities = [value for value, _ in SEVERITIES]
    found = [row for row in rows if row.state(moment) == "expired"]
    found.sort(key=lambda row: (severities.index(row.severity), row.expires_at))
    return [
        Overdue(
            id=row.exception.pk,
            title=row.exception.title,
            severity=row.severity,
            owner=row.exception.owner_name,
            expired_at=row.expires_at,
            days=-row.days_left(moment),
        )
        for row in found
    ]
