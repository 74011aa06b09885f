"""How exceptions and their records look on every page: words, colours, names."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from evidence import kinds
from evidence.people import display_names
from exceptions.models import SecurityException
from exceptions.models.terms import CLAIMED, ENDED
from exceptions.reminders import time_left

TONES = {
    "requested": "info",
    "approved elsewhere (claim)": "warning",
    "active": "success",
    "scheduled": "info",
    "expiring": "warning",
    "expired": "danger",
    "renewal waits": "info",
    **dict.fromkeys(ENDED, "neutral"),
}
SEVERITY_TONES = {"Critical": "danger", "High": "warning", "Medium": "info", "Low": "neutral"}
#: Days left, up to which the time left has this colour; the words beside it say the same.
_URGENT, _SOON = 7, 30
LEFT_TONES = {"overdue": "danger", "urgent": "warning", "soon": "info", "later": "neutral"}


def url(found: SecurityException, name: str = "change") -> str:
    return reverse(f"admin:exceptions_securityexception_{name}", args=[quote(found.pk)])


def state_word(found: SecurityException) -> str:
    """The state as people are told it."""
    now = timezone.now()
    if found.is_expiring(now):
        return "expiring"
    state = found.state(now)
    if state == CLAIMED:
        return "approved elsewhere (claim)"
    return "renewal waits" if state == "active" and found.renewal_pending else state


def left(found: SecurityException, now: datetime) -> tuple[str, str] | None:
    """How urgent, a key of LEFT_TONES, and the time left in words; None where nothing runs out any more."""
    if not found.is_open:
        return None
    days = found.days_left(now)
    urgency = "urgent" if days <= _URGENT else "soon" if days <= _SOON else "later"
    return "overdue" if now >= found.expires_at else urgency, time_left(now, found.expires_at)


def chip(tone: str, word: str) -> str:
    """A coloured word. In a list of fifty rows this is a third of the time that a template for each would take."""
    return format_html('<span class="pt-chip pt-{}">{}</span>', tone, word)


def timeline(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Records with names instead of opaque ids, in the order of `rows`."""
    found = list(rows)
    names = display_names(row.by for row in found)
    titles = kinds.load().by_name
    for row in found:
        title = titles[row.kind].title if row.kind in titles else row.kind
        yield {"title": title, "who": names[row.by], "at": row.at, "reason": row.reason, "index": row.index}
