"""What a reminder says: by mail one exception or a digest of several, in chat the same in fewer words.

Each names what it is, until when, what happens then, and where to act. Links lead to pages that ask who one is: a GET
changes and consumes nothing, since mail scanners follow links.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse

from evidence.models import System, User
from exceptions import chat, policy
from exceptions.models import ChatChannel, Reminder, SecurityException
from exceptions.reminders import consequence, time_left

Mail = EmailMultiAlternatives
#: What a digest lists; of the rest it says how many there are, and where.
MOST_LISTED = 100


@dataclass(frozen=True)
class Item:
    """One reminder and the exception that it is about."""

    reminder: Reminder
    exception: SecurityException


@dataclass(frozen=True)
class Line:
    """An exception as a digest lists it."""

    exception: SecurityException
    left: str
    then: str
    link: str


def message(items: Sequence[Item], person: User, now: datetime) -> Mail:
    """One message for everything that one person is told in one round."""
    return _single(items[0], person, now) if len(items) == 1 else _digest(items, person, now)


def _single(item: Item, person: User, now: datetime) -> Mail:
    exception = item.exception
    left, doing = time_left(now, exception.expires_at), _doing(exception, now)
    facts = {
        "exception": exception,
        "person": person,
        "doing": doing,
        "left": left,
        "then": consequence(exception, policy.load().reminders, now),
        "systems": ", ".join(System.objects.filter(pk__in=exception.systems).values_list("name", flat=True)),
        "view": link("change", exception),
        "actions": [(verb.title(), link(verb, exception)) for verb in ("renew", "remediate", "revoke")],
    }
    subject = f"{exception.id} {doing} {left}: {exception.title}"
    return mail("reminder", subject, facts, person, f"{_step(item.reminder)}.{person.uid}")


def _digest(items: Sequence[Item], person: User, now: datetime) -> Mail:
    listed = soonest(items)
    lines = [_line(item.exception, now) for item in listed[:MOST_LISTED]]
    overdue = sum(item.exception.expires_at <= now for item in items)
    facts = {
        "person": person,
        "count": len(items),
        "groups": [
            ("Overdue", [line for line in lines if line.exception.expires_at <= now]),
            ("Expiring", [line for line in lines if line.exception.expires_at > now]),
        ],
        "more": len(items) - len(lines),
        "register": register(),
    }
    together = told_together("digest", person.uid, (_step(item.reminder) for item in items))
    return mail("digest", _headline(listed, overdue, now), facts, person, together)


def _headline(listed: Sequence[Item], overdue: int, now: datetime) -> str:
    """``12 exceptions: 3 overdue, the next expires in 2 days``."""
    found = [f"{overdue} overdue"] if overdue else []
    if overdue < len(listed):
        found.append(f"the next expires {time_left(now, listed[overdue].exception.expires_at)}")
    return f"{len(listed)} exceptions: {', '.join(found)}"


def soonest(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item.exception.expires_at, item.exception.pk))


def _line(exception: SecurityException, now: datetime) -> Line:
    then = consequence(exception, policy.load().reminders, now)
    return Line(exception, time_left(now, exception.expires_at), then, link("change", exception))


def mail(name: str, subject: str, facts: dict[str, object], person: User, told: str) -> Mail:
    headers = {"Message-ID": f"<{told}@{_host()}>", "Auto-Submitted": "auto-generated"}
    text = render_to_string(f"exceptions/mail/{name}.txt", facts)
    found = EmailMultiAlternatives(" ".join(subject.split()), text, to=[person.email], headers=headers)
    found.attach_alternative(render_to_string(f"exceptions/mail/{name}.html", facts), "text/html")
    return found


# -- ids: the same for the same contents, so that a repeated delivery shows once ---------------------------------------


def _step(reminder: Reminder) -> str:
    return f"{reminder.exception_id}.{reminder.expires_at:%Y%m%dT%H%M%S}.{reminder.threshold}"


def told_together(name: str, recipient: str, things: Iterable[str]) -> str:
    """Of one message about several things."""
    told = "\n".join([recipient, *sorted(things)])
    return f"{name}.{hashlib.sha256(told.encode()).hexdigest()[:24]}"


def _host() -> str:
    return urlsplit(settings.PROOFTRAIL_URL).hostname or "localhost"


# -- chat --------------------------------------------------------------------------------------------------------------


def post(items: Sequence[Item], channel: ChatChannel, now: datetime) -> chat.Post:
    """One post for one exception, or for everything that waits."""
    steps = [_step(item.reminder) for item in items]
    told = steps[0] if len(steps) == 1 else told_together("digest", channel.pk, steps)
    message_id = f"{told}.{channel.pk}".replace(".", "_")  # a full stop parts what is signed
    if len(items) == 1:
        exception = items[0].exception
        summary = f"{exception.id} {_doing(exception, now)} {time_left(now, exception.expires_at)}: {exception.title}"
        return chat.Post(channel, message_id, chat.body(summary, [_said(exception, now)]))
    listed = soonest(items)
    summary = _headline(listed, sum(item.exception.expires_at <= now for item in items), now)
    sections = [f"*{chat.escaped(summary)}*", *(_said(item.exception, now) for item in listed[: chat.MOST_LISTED])]
    if len(listed) > chat.MOST_LISTED:
        sections.append(chat.link(register(), f"and {len(listed) - chat.MOST_LISTED} more in the register"))
    return chat.Post(channel, message_id, chat.body(summary, sections))


def _said(exception: SecurityException, now: datetime) -> str:
    left = f"{_doing(exception, now)} {time_left(now, exception.expires_at)}"
    then = consequence(exception, policy.load().reminders, now)
    head = f"{chat.link(link('change', exception), exception.id)} *{chat.escaped(left)}*"
    about = f"{exception.get_severity_display()}, owner {chat.escaped(exception.owner_name)}"
    until = f"until {exception.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{head}: {chat.escaped(exception.title)}\n{about}, {until}. {chat.escaped(then)}"


# -- words and links ---------------------------------------------------------------------------------------------------


def _doing(exception: SecurityException, now: datetime) -> str:
    return "is" if now >= exception.expires_at else "expires"


def link(page: str, exception: SecurityException) -> str:
    return f"{settings.PROOFTRAIL_URL}{reverse(f'admin:exceptions_securityexception_{page}', args=[exception.pk])}"


def register(state: str = "due") -> str:
    """Where exceptions in that state are listed."""
    return f"{settings.PROOFTRAIL_URL}{reverse('admin:exceptions_securityexception_changelist')}?state={state}"
