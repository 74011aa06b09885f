"""The first page of whoever works with exceptions: what is due, what waits for them, what they asked for.

Each part is one query that ends after a screenful, whatever the register's size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from evidence.admin import start
from evidence.admin.forms import page, person
from evidence.admin_base import has_role
from evidence.api.permissions import INSIDE
from evidence.models import User
from exceptions import rules, waiting
from exceptions.admin.approving import approvable
from exceptions.admin.filters import expiring_between, reach, seen
from exceptions.admin.risks import rated, review_words
from exceptions.admin.risks import url as risk_url
from exceptions.admin.shown import LEFT_TONES, left, state_word, url
from exceptions.models import Risk, SecurityException
from exceptions.models.terms import OPEN, REQUESTED, in_state

#: Rows that a part shows, and how far it counts.
_SHOWN, _COUNTED = 6, 99
#: Parts whose rows may be approved from here.
_DECIDED = frozenset({"waiting", "claims"})
_BY_EXPIRY = ("expires_at", "requested_index")


@dataclass(frozen=True)
class Line:
    """One row: `left` is how urgent (a key of LEFT_TONES) and in words; `button` decides it from here."""

    number: str
    title: str
    url: str
    words: str
    left: tuple[str, str] | None = None
    button: str = ""

    @property
    def tone(self) -> str:
        return LEFT_TONES[self.left[0]] if self.left else ""


@dataclass(frozen=True)
class Part:
    """One of the page's lists. `url` leads to all of it; `empty` says what it means that there is none."""

    key: str
    title: str
    tone: str
    url: str
    empty: str
    lines: Sequence[Line]
    #: As far as it was counted.
    found: int

    @property
    def count(self) -> str:
        return f"{_COUNTED}+" if self.found > _COUNTED else str(self.found)


@start.register
def desk(request: HttpRequest) -> HttpResponse | None:
    """Today, for whoever may see exceptions."""
    if not has_role(request, INSIDE):
        return None
    me, now = person(request), timezone.now()
    return page(
        request,
        "exceptions/desk.html",
        title="Today",
        now=now,
        columns=[[*_due(request, now), _reviews(request, now)], [*_waiting(request, me, now), _own(request, me)]],
        may_request=me.has_role(*rules.REQUESTERS),
        may_import=me.has_role("liaison", "admin"),
        is_empty=not seen(request).exists(),
        register=_register(""),
    )


def _register(query: str) -> str:
    return f"{reverse('admin:exceptions_securityexception_changelist')}{'?' * bool(query)}{query}"


def _part(
    request: HttpRequest,
    key: str,
    title: str,
    tone: str,
    query: str,
    empty: str,
    found: QuerySet[SecurityException],
    *order: str,
) -> Part:
    """A screenful of exceptions, and how many more there are."""
    rows, now = list(found.order_by(*order)[: _COUNTED + 1]), timezone.now()
    shown = rows[:_SHOWN]
    mine = approvable(request, shown) if key in _DECIDED else {}
    lines = [
        Line(
            one.pk,
            one.title,
            url(one),
            _words(one, now),
            left(one, now),
            mine[one.pk].button() if one.pk in mine else "",
        )
        for one in shown
    ]
    return Part(key, title, tone, _register(query), empty, lines, len(rows))


def _words(found: SecurityException, now: datetime) -> str:
    said = [str(found.get_severity_display()), state_word(found), found.owner_name, _since(found, now)]
    return " · ".join(filter(None, said))


def _since(found: SecurityException, now: datetime) -> str:
    """How long somebody has waited for an answer to a request."""
    days = (now - found.requested_at).days
    if found.decision != REQUESTED or days < 1:
        return ""
    return f"waits {days} day{'s' * (days != 1)}"


def _waiting(request: HttpRequest, me: User, now: datetime) -> Iterator[Part]:
    """What the person may decide: never what they asked for or own."""
    if not me.has_role(*rules.DECIDERS):
        return
    yield _part(
        request,
        "waiting",
        "Waiting for me",
        "info",
        "waiting=decisions",
        "Nothing waits for your decision. Requests and renewals of others come here.",
        waiting.decisions_for(me, reach(request), now),
        "last_index",
    )
    yield _part(
        request,
        "claims",
        "Claims to ratify",
        "warning",
        "waiting=claims",
        "Nothing is left to ratify. What an imported sheet calls approved comes here.",
        waiting.claims_for(me, reach(request), now),
        *_BY_EXPIRY,
    )


def _due(request: HttpRequest, now: datetime) -> Iterator[Part]:
    found = seen(request)
    for key, title, tone, query, empty, asked in (
        ("overdue", "Overdue", "danger", "overdue", "Nothing is overdue. Well kept.", in_state("expired", now)),
        ("today", "Due today", "warning", "today", "Nothing ends today (UTC).", expiring_between(now, 0, 0)),
        ("week", "In the next 7 days", "info", "week", "Nothing ends in the seven days after today.",
         expiring_between(now, 1, 7)),
    ):  # fmt: skip
        yield _part(request, key, title, tone, f"expires={query}", empty, found.filter(asked), *_BY_EXPIRY)


def _reviews(request: HttpRequest, now: datetime) -> Part:
    """Risks that somebody has to look at again."""
    today = now.date()
    due = Risk.objects.in_systems(reach(request)).review_due(today).order_by("review_by", "pk")
    rows = list(due[: _COUNTED + 1])
    lines = [
        Line(
            one.pk,
            one.title,
            risk_url(one),
            f"{rated(one.now_rating)[1]} · {one.owner_name}",
            ("overdue" if one.review_is_overdue(today) else "urgent", review_words(one).partition(", ")[2]),
        )
        for one in rows[:_SHOWN]
    ]
    link = f"{reverse('admin:exceptions_risk_changelist')}?review=due"
    return Part("reviews", "Reviews of risks", "warning", link, "No risk is due for a review.", lines, len(rows))


def _own(request: HttpRequest, me: User) -> Part:
    return _part(
        request,
        "mine",
        "Mine",
        "neutral",
        "mine=yes&state=open",
        "You have requested no exception that is open, and own none.",
        seen(request).filter(Q(owner=me.uid) | Q(requester=me.uid), decision__in=OPEN),
        *_BY_EXPIRY,
    )
