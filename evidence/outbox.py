"""Mail that goes out once: rows claimed by conditional UPDATE, sent outside any transaction, tried again later.

A row is the message; a unique constraint of the subclass says what "once" means. A worker that dies between sending
and settling leaves a row that is tried again under the same Message-ID, which a mail program shows once.
"""

import logging
import smtplib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from django.core.mail import EmailMessage
from django.db import models

logger = logging.getLogger(__name__)
WAITING, DELIVERED, FAILED, DROPPED = "waiting", "delivered", "failed", "dropped"
STATES = [(WAITING, "Waiting"), (DELIVERED, "Delivered"), (FAILED, "Failed"), (DROPPED, "No longer needed")]


class OutgoingQuerySet(models.QuerySet[Any]):
    def to_send(self, now: datetime) -> Self:
        """Waiting ones whose next attempt has come."""
        return self.filter(state=WAITING, next_attempt_at__lte=now)


class Outgoing(models.Model):
    """One message to one person."""

    recipient = models.CharField(max_length=40, help_text="Opaque id")
    state = models.CharField(max_length=10, choices=STATES, default=WAITING)
    attempts = models.SmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    objects = OutgoingQuerySet.as_manager()

    class Meta:
        abstract = True

    def settle(self, state: str, **changes: object) -> None:
        """End it, unless somebody else has."""
        type(self)._default_manager.filter(pk=self.pk, state=WAITING).update(state=state, **changes)

    def claim(self, now: datetime, retries: Sequence[timedelta]) -> bool:
        """Whether this attempt is ours: of two workers one changes the row."""
        wait = retries[min(self.attempts, len(retries) - 1)]
        rows = type(self)._default_manager.filter(pk=self.pk, state=WAITING, attempts=self.attempts)
        self.attempts += 1
        return rows.update(attempts=self.attempts, next_attempt_at=now + wait) == 1


def send(
    row: Outgoing, compose: Callable[[], EmailMessage | None], *, now: datetime, retries: Sequence[timedelta]
) -> bool:
    """One attempt; `compose` answers None when the message is not needed any more.

    Raises OSError (already noted in the row) when the mail server as a whole is out of reach.
    """
    message = compose()
    if message is None:
        row.settle(FAILED if row.attempts else DROPPED)
        return False
    if not row.claim(now, retries):
        return False
    try:
        message.send()
    except OSError as error:  # smtplib's errors are OSErrors too
        _note(row, error, retries)
        if isinstance(error, smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused):
            return False
        raise
    row.settle(DELIVERED, sent_at=now, last_error="")
    return True


def _note(row: Outgoing, error: OSError, retries: Sequence[timedelta]) -> None:
    logger.warning("mail %s %s, attempt %s: %s", type(row).__name__, row.pk, row.attempts, error)
    text = f"{type(error).__name__}: {error}"[:500]
    type(row)._default_manager.filter(pk=row.pk).update(last_error=text)
    if row.attempts > len(retries):
        row.settle(FAILED)
