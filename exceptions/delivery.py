"""Sending reminders: claimed by conditional UPDATE, mailed outside any transaction, the outcome recorded once.

1. claim: one attempt more, and when the next one may come if this one never ends
2. hand the message to the mail server
3. settle: delivered, or failed when no attempt is left
4. append the `exception.reminded` record
A worker that dies in between leaves a row that a later beat takes up where it was.
"""

import logging
import smtplib
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse

from config.errors import ConflictError, MissingError, ProoftrailError
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor
from evidence.models import System, User
from evidence.models.people import SERVICE
from evidence.tlog.leaf import format_time
from exceptions import policy
from exceptions.lifecycle import keep
from exceptions.models import Reminder, SecurityException
from exceptions.reminders import step_of, time_left

logger = logging.getLogger(__name__)


def send_waiting(now: datetime) -> int:
    """Send what waits; returns how many were delivered. A mail server that cannot be reached ends the round."""
    delivered = 0
    for reminder in Reminder.objects.to_send(now).order_by("id"):
        try:
            delivered += send(reminder, now)
        except OSError:
            break
    return delivered


def send(reminder: Reminder, now: datetime) -> bool:
    """One attempt. Raises OSError (already noted in the row) when the mail server as a whole is out of reach."""
    exception = SecurityException.objects.filter(pk=reminder.exception_id).first()
    person = User.objects.filter(uid=reminder.recipient, is_active=True).first()
    if exception is None or person is None or _is_overtaken(reminder, exception, now):
        _settle(reminder, Reminder.FAILED if reminder.attempts else Reminder.DROPPED)
        return False
    if not _claim(reminder, now):
        return False
    try:
        compose(exception, person, reminder.threshold, now).send()
    except OSError as error:  # smtplib's errors are OSErrors too
        _note_failure(reminder, error)
        if isinstance(error, smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused):
            return False
        raise
    _settle(reminder, Reminder.DELIVERED, sent_at=now, last_error="")
    return True


def _is_overtaken(reminder: Reminder, exception: SecurityException, now: datetime) -> bool:
    step = step_of(exception, now)
    return exception.expires_at != reminder.expires_at or step is None or step.threshold != reminder.threshold


def _claim(reminder: Reminder, now: datetime) -> bool:
    """Whether this attempt is ours: of two workers one changes the row."""
    waits = policy.load().reminders.retry_minutes
    wait = timedelta(minutes=waits[min(reminder.attempts, len(waits) - 1)])
    claimed = Reminder.objects.filter(pk=reminder.pk, state=Reminder.WAITING, attempts=reminder.attempts).update(
        attempts=reminder.attempts + 1, next_attempt_at=now + wait
    )
    reminder.attempts += 1
    return claimed == 1


def _note_failure(reminder: Reminder, error: OSError) -> None:
    logger.warning("reminder %s, attempt %s: %s", reminder.pk, reminder.attempts, error)
    text = f"{type(error).__name__}: {error}"[:500]
    Reminder.objects.filter(pk=reminder.pk).update(last_error=text)
    if reminder.attempts > len(policy.load().reminders.retry_minutes):
        _settle(reminder, Reminder.FAILED)


def _settle(reminder: Reminder, state: str, **changes: object) -> None:
    Reminder.objects.filter(pk=reminder.pk, state=Reminder.WAITING).update(state=state, **changes)


# -- the record --------------------------------------------------------------------------------------------------------


def record_settled() -> int:
    """Append a record for each settled reminder that has none yet; returns how many."""
    written = 0
    for pk in Reminder.objects.to_record().order_by("id").values_list("pk", flat=True):
        try:
            record(pk)
            written += 1
        except MissingError:
            Reminder.objects.filter(pk=pk).update(state=Reminder.DROPPED)  # disposed of: no record to add to
        except ProoftrailError as error:
            logger.warning("reminder %s is not recorded yet: %s", pk, error)
    return written


def record(pk: int) -> None:
    """Append the outcome of one reminder. Raises ConflictError ``already_recorded``."""

    def compose_record(_: datetime) -> Composed:
        reminder = Reminder.objects.get(pk=pk)
        if reminder.record_index is not None:
            raise ConflictError("This reminder is recorded already.", code="already_recorded")
        exception = SecurityException.objects.filter(pk=reminder.exception_id).first()
        if exception is None:
            raise MissingError(f"There is no exception {reminder.exception_id!r}.", code="exception_unknown")
        return Composed(_body(reminder), exception.systems)

    def apply(index: int, at: datetime, composed: Composed) -> None:
        Reminder.objects.filter(pk=pk).update(record_index=index)
        keep(index, at, composed)

    append_composed("exception.reminded", compose_record, actor=Actor(SERVICE), apply=apply)


def _body(reminder: Reminder) -> dict[str, object]:
    body: dict[str, object] = {
        "exception": reminder.exception_id,
        "expires_at": format_time(reminder.expires_at),
        "threshold": reminder.threshold,
        "recipient": reminder.recipient,
        "channel": "mail",
        "outcome": reminder.state,
        "attempts": max(reminder.attempts, 1),
    }
    return body | ({"error": reminder.last_error} if reminder.last_error else {})


# -- the message -------------------------------------------------------------------------------------------------------


def compose(exception: SecurityException, person: User, threshold: int, now: datetime) -> EmailMultiAlternatives:
    """What, until when, and where to renew, remediate or revoke. The links only show forms: scanners follow them."""
    left = time_left(now, exception.expires_at)
    doing = "is" if now >= exception.expires_at else "expires"
    subject = " ".join(f"{exception.id} {doing} {left}: {exception.title}".split())
    names = System.objects.filter(pk__in=exception.systems).values_list("name", flat=True)
    facts = {
        "exception": exception,
        "person": person,
        "doing": doing,
        "left": left,
        "systems": ", ".join(names),
        "view": _link("change", exception),
        "actions": [(verb.title(), _link(verb, exception)) for verb in ("renew", "remediate", "revoke")],
    }
    headers = {"Message-ID": _message_id(exception, person, threshold), "Auto-Submitted": "auto-generated"}
    text = render_to_string("exceptions/mail/reminder.txt", facts)
    message = EmailMultiAlternatives(subject, text, to=[person.email], headers=headers)
    message.attach_alternative(render_to_string("exceptions/mail/reminder.html", facts), "text/html")
    return message


def _link(page: str, exception: SecurityException) -> str:
    return f"{settings.PROOFTRAIL_URL}{reverse(f'admin:exceptions_securityexception_{page}', args=[exception.pk])}"


def _message_id(exception: SecurityException, person: User, threshold: int) -> str:
    """The same step to the same person always has the same id: a mail program shows a repeated delivery once."""
    step = f"{exception.id}.{exception.expires_at:%Y%m%dT%H%M%S}.{threshold}"
    return f"<{step}.{person.uid}@{urlsplit(settings.PROOFTRAIL_URL).hostname or 'localhost'}>"
