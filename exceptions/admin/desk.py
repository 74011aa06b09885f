"""The first page of whoever works with exceptions: what is due, what waits for them, what they asked for.

Each part is one query that ends after a screenful, whatever the register's size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

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
from exceptions.admin.approving import Approving, approvable
from exceptions.admin.filters import expiring_between, reach, seen
from exceptions.admin.shown import LEFT_TONES, SEVERITY_TONES, TONES, left, state_word, url
from exceptions.models import SecurityException
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.terms import OPEN, REQUESTED, in_state

#: Rows that a part shows, and how far it counts.
_SHOWN, _COUNTED = 6, 99


@dataclass(frozen=True)
class Part:
    """One of the page's lists. `query` leads to all of it; `empty` says what it means that there is none."""

    key: str
    title: str
    tone: str
    query: str
    empty: str
    found: Sequence[SecurityException]
    more_url: str = ""
    approving: Mapping[str, Approving] = field(default_factory=dict)

    @property
    def shown(self) -> Sequence[SecurityException]:
        return self.found[:_SHOWN]

    @property
    def count(self) -> str:
        return f"{_COUNTED}+" if len(self.found) > _COUNTED else str(len(self.found))

    def rows(self) -> Iterator[dict[str, Any]]:
        """What is shown of each."""
        now = timezone.now()
        for one in self.shown:
            time, word, severity = left(one, now), state_word(one), str(one.get_severity_display())
            yield {
                "exception": one,
                "url": url(one),
                "state": word,
                "tone": TONES[word],
                "severity": severity,
                "severity_tone": SEVERITY_TONES[severity],
                "left": time[1] if time else "",
                "left_tone": LEFT_TONES[time[0]] if time else "",
                "since": _since(one, now),
                "approving": self.approving.get(one.pk),
            }


@start.register
def desk(request: HttpRequest) -> HttpResponse | None:
    """Today, for whoever may see exceptions."""
    if not has_role(request, INSIDE):
        return None
    me, now = person(request), timezone.now()
    mine_to_see = seen(request)
    return page(
        request,
        "exceptions/desk.html",
        title="Today",
        now=now,
        columns=[list(_due(mine_to_see, now)), [*_waiting(request, me, now), _own(mine_to_see, me)]],
        may_request=me.has_role(*rules.REQUESTERS),
        may_import=me.has_role("liaison", "admin"),
        is_empty=not mine_to_see.exists(),
        register=_register(""),
    )


def _register(query: str) -> str:
    return f"{reverse('admin:exceptions_securityexception_changelist')}{'?' * bool(query)}{query}"


def _part(
    key: str, title: str, tone: str, query: str, empty: str, found: QuerySet[SecurityException], *order: str
) -> Part:
    rows = list(found.order_by(*order)[: _COUNTED + 1])
    return Part(key, title, tone, query, empty, rows, more_url=_register(query))


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
    for part in _decisions(me, reach(request), now):
        yield replace(part, approving=approvable(request, part.shown))


def _decisions(me: User, visible: waiting.Visible, now: datetime) -> Iterator[Part]:
    decisions, claims = waiting.decisions_for(me, visible, now), waiting.claims_for(me, visible, now)
    yield _part(
        "waiting",
        "Waiting for me",
        "info",
        "waiting=decisions",
        "Nothing waits for your decision. Requests and renewals of others come here.",
        decisions,
        "last_index",
    )
    yield _part(
        "claims",
        "Claims to ratify",
        "warning",
        "waiting=claims",
        "Nothing is left to ratify. What an imported sheet calls approved comes here.",
        claims,
        "expires_at",
        "requested_index",
    )


def _due(found: ExceptionQuerySet, now: datetime) -> Iterator[Part]:
    order = "expires_at", "requested_index"
    overdue = found.filter(in_state("expired", now))
    yield _part("overdue", "Overdue", "danger", "expires=overdue", "Nothing is overdue. Well kept.", overdue, *order)
    today = found.filter(expiring_between(now, 0, 0))
    yield _part("today", "Due today", "warning", "expires=today", "Nothing ends today (UTC).", today, *order)
    week = found.filter(expiring_between(now, 1, 7))
    yield _part(
        "week",
        "In the next 7 days",
        "info",
        "expires=week",
        "Nothing ends in the seven days after today.",
        week,
        *order,
    )


def _own(found: ExceptionQuerySet, me: User) -> Part:
    mine = found.filter(Q(owner=me.uid) | Q(requester=me.uid), decision__in=OPEN)
    return _part(
        "mine",
        "Mine",
        "neutral",
        "mine=yes&state=open",
        "You have requested no exception that is open, and own none.",
        mine,
        "expires_at",
        "requested_index",
    )
