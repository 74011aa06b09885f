"""Messages that go out once: rows claimed by conditional UPDATE, sent outside any transaction, tried again later.

A row is one thing to tell one recipient; a unique constraint of the subclass says what "once" means. A message carries
one row or several. A worker that dies between sending and settling leaves rows that are tried again under the same
Message-ID, which a mail program shows once.

What a destination refuses about one message counts against its rows, which have failed after the last retry. That a
destination is away counts against none of them: they wait until it is back or they are no longer needed.
"""

import logging
import re
import smtplib
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, Self

from django.db import models, transaction

logger = logging.getLogger(__name__)
WAITING, DELIVERED, FAILED, DROPPED = "waiting", "delivered", "failed", "dropped"
STATES = [(WAITING, "Waiting"), (DELIVERED, "Delivered"), (FAILED, "Failed"), (DROPPED, "No longer needed")]
#: The mail server as a destination (`evidence.circuits`).
MAIL = "mail"
#: A destination that is back is found within this.
LONGEST_PAUSE = timedelta(minutes=15)
#: RFC 1870: said of the sender, meant of the message.
_TOO_LARGE = 552
_ADDRESS = re.compile(r"<?[^\s<>@]+@[^\s<>@]+>?")


class RefusedError(OSError):
    """The destination answered, and does not want this one message."""


class Message(Protocol):
    """What can be handed over; an OSError says that it did not arrive."""

    def send(self) -> object: ...


class OutgoingQuerySet(models.QuerySet[Any]):
    def to_send(self, now: datetime) -> Self:
        """Waiting ones whose next attempt has come: what a worker left that died while sending is among them later."""
        return self.filter(state=WAITING, next_attempt_at__lte=now)

    def settle(self, state: str, **changes: object) -> int:
        """End those that nobody else has; returns how many."""
        return self.filter(state=WAITING).update(state=state, **changes)


class Outgoing(models.Model):
    """One thing to tell one recipient."""

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
        type(self)._default_manager.filter(pk=self.pk).settle(state, **changes)

    def claim(self, now: datetime, retries: Sequence[timedelta]) -> bool:
        """Whether this attempt is ours: of two workers one changes the row."""
        rows = type(self)._default_manager.filter(pk=self.pk, state=WAITING, attempts=self.attempts)
        wait = wait_after(self.attempts, retries)
        self.attempts += 1
        return rows.update(attempts=self.attempts, next_attempt_at=now + wait) == 1


def wait_after(attempts: int, retries: Sequence[timedelta]) -> timedelta:
    """How long an attempt may last, and a next one waits, when there were so many before it."""
    return retries[min(attempts, len(retries) - 1)]


def send(row: Outgoing, compose: Callable[[], Message | None], *, now: datetime, retries: Sequence[timedelta]) -> bool:
    """One attempt; `compose` answers None when the message is not needed any more.

    Raises OSError (already noted in the row) when the destination as a whole is away.
    """
    message = compose()
    if message is None:
        row.settle(FAILED if row.attempts else DROPPED)
        return False
    if not row.claim(now, retries):
        return False
    return hand_over([row], message, now=now, retries=retries)


def claim(rows: OutgoingQuerySet, now: datetime, retries: Sequence[timedelta]) -> list[Any]:
    """Of these rows all that no other worker holds, claimed together: what one message is to carry."""
    with transaction.atomic():
        mine = list(rows.to_send(now).select_for_update(skip_locked=True))
        for attempts in {row.attempts for row in mine}:
            pks = [row.pk for row in mine if row.attempts == attempts]
            next_attempt_at = now + wait_after(attempts, retries)
            rows.model._default_manager.filter(pk__in=pks).update(
                attempts=attempts + 1, next_attempt_at=next_attempt_at
            )
    for row in mine:
        row.attempts += 1
    return mine


def hand_over(rows: Collection[Outgoing], message: Message, *, now: datetime, retries: Sequence[timedelta]) -> bool:
    """Send what carries these claimed rows. Raises OSError like `send`."""
    try:
        message.send()
    except OSError as error:  # smtplib's errors are OSErrors too
        _note(rows, error, now, retries)
        if is_refusal(error):
            return False
        raise
    of(rows).settle(DELIVERED, sent_at=now, last_error="")
    return True


def is_refusal(error: OSError) -> bool:
    """Whether this message alone is meant: the next one may well arrive."""
    too_large = isinstance(error, smtplib.SMTPSenderRefused) and error.smtp_code == _TOO_LARGE
    return too_large or isinstance(error, RefusedError | smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError)


def is_final(error: OSError) -> bool:
    """Whether a mail server says that no other attempt will be answered otherwise (5xx; 4xx is for now)."""
    answer = _answer(error)
    return answer is not None and answer[0] >= 500


def in_words(error: OSError) -> str:
    """What is noted of a failed attempt: ``refused: 550 no such mailbox``. Whose address it was stands beside it."""
    answer = _answer(error)
    if answer is not None:
        text = _ADDRESS.sub("the address", " ".join(answer[1].decode(errors="replace").replace("\0", " ").split()))
        return f"refused: {answer[0]} {text}"[:500]
    return f"{'refused' if is_refusal(error) else type(error).__name__}: {error}"[:500]


def _answer(error: OSError) -> tuple[int, bytes] | None:
    """What the mail server said of this one message."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()), None)  # a message has one recipient
    if isinstance(error, smtplib.SMTPResponseException) and is_refusal(error):
        said = error.smtp_error
        return error.smtp_code, said.encode() if isinstance(said, str) else said
    return None


def of(rows: Collection[Outgoing]) -> Any:
    """The queryset of rows of one kind."""
    return type(next(iter(rows)))._default_manager.filter(pk__in=[row.pk for row in rows])


def _note(rows: Collection[Outgoing], error: OSError, now: datetime, retries: Sequence[timedelta]) -> None:
    first = next(iter(rows))
    logger.warning("%s of %s %s not sent: %s", len(rows), type(first).__name__, first.pk, in_words(error))
    of(rows).update(last_error=in_words(error))
    if is_refusal(error):
        of(rows).filter(attempts__gt=len(retries)).settle(FAILED)
    else:  # the pauses are the destination's
        of(rows).filter(next_attempt_at__gt=now + LONGEST_PAUSE).update(next_attempt_at=now + LONGEST_PAUSE)
