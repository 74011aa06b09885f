"""Sending reminders: claimed in the database, sent outside any transaction, the outcome recorded once.

1. settle what is no longer needed: renewed or closed meanwhile, overtaken by a later step, meant for who has left
2. claim, with one attempt more, all that one recipient is to be told in this round
3. hand it over as one message: to a person one mail, to a chat channel a post for each (many: one post)
4. settle: delivered, or failed when it was refused and no attempt is left
5. append the `exception.reminded` record of each
A worker that dies in between leaves rows that a later beat takes up where they were.
"""

import functools
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db.models import Max, Min, QuerySet

from config.errors import ConflictError, MissingError, ProoftrailError
from evidence import outbox
from evidence.circuits import attempt_each
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor
from evidence.models import User
from evidence.models.people import SERVICE
from evidence.outbox import DROPPED, FAILED
from evidence.tlog.leaf import format_time
from exceptions import mails, policy
from exceptions.lifecycle import keep
from exceptions.mails import Item
from exceptions.models import ChatChannel, Reminder, SecurityException
from exceptions.models.chat import CHAT
from exceptions.reminders import plan_again, step_of

logger = logging.getLogger(__name__)
#: What one message carries at most; somebody with more gets several.
MOST = 5000
#: Rows that are recorded one after the other before more are read, and in one round: then it is others' turn.
CHUNK, RECORDED = 100, 2000


def send_waiting(now: datetime) -> int:
    """Send what waits; returns how many reminders were delivered. A destination that is away is left to rest."""
    return _mail_waiting(now) + _post_waiting(now)


# -- mail --------------------------------------------------------------------------------------------------------------


def _mail_waiting(now: datetime) -> int:
    waiting = Reminder.objects.to_send(now).to_people().order_by().values("recipient")
    ordered = waiting.annotate(tried=Max("attempts"), first=Min("id")).order_by("tried", "first")
    people = [row["recipient"] for row in ordered]
    retries = policy.load().reminders.retries
    return attempt_each(people, functools.partial(mail, now=now), to=outbox.MAIL, now=now, pauses=retries)


def mail(uid: str, now: datetime) -> int:
    """Tell one person all that waits for them; returns how many reminders that were. Raises OSError where the mail
    server is away."""
    person = User.objects.filter(uid=uid, is_active=True).first()
    delivered = 0
    for rows in _batches(Reminder.objects.to_send(now).filter(recipient=uid)):
        needed = _needed(rows, now)
        if person is None:
            _leave(needed, now)
            continue
        items = _claimed(needed, now)
        if items:
            message = mails.message(items, person, now)
            delivered += _hand_over(items, message, str(message.extra_headers["Message-ID"]), now)
    return delivered


def _leave(items: Sequence[Item], now: datetime) -> None:
    """Who was to be told has left: somebody else is."""
    _settle([item.reminder for item in items], "the recipient has left")
    plan_again((item.exception for item in items), now)


# -- chat --------------------------------------------------------------------------------------------------------------


def _post_waiting(now: datetime) -> int:
    if not Reminder.objects.to_send(now).to_channels().exists():
        return 0
    active = {channel.recipient: channel for channel in ChatChannel.objects.filter(is_active=True)}
    retries = policy.load().reminders.retries
    delivered = 0
    for recipient, channel in active.items():
        posts = _posts(Reminder.objects.to_send(now).filter(recipient=recipient), now)
        attempt = functools.partial(_post, channel, now=now)
        delivered += attempt_each(posts, attempt, to=recipient, now=now, pauses=retries)
    ended = Reminder.objects.to_send(now).to_channels().exclude(recipient__in=active)
    _settle(list(ended[:MOST]), "the channel was switched off")
    return delivered


def _posts(waiting: QuerySet[Reminder], now: datetime) -> Iterator[list[Item]]:
    """What is told in one post each: every exception by itself, or many of them together."""
    for rows in _batches(waiting):
        needed = sorted(_needed(rows, now), key=lambda item: item.reminder.attempts)
        if len(needed) > policy.load().reminders.chat_posts:
            yield needed
        else:
            yield from ([item] for item in needed)


def _post(channel: ChatChannel, needed: Sequence[Item], now: datetime) -> int:
    items = _claimed(needed, now)
    if not items:
        return 0
    post = mails.post(items, channel, now)
    own = ChatChannel.objects.filter(pk=channel.pk)
    try:
        delivered = _hand_over(items, post, post.id, now)
    except OSError as error:
        own.update(last_failed_at=now, last_error=str(error)[:500])
        raise
    if delivered:
        own.update(last_delivered_at=now)
    return delivered


# -- what both need ----------------------------------------------------------------------------------------------------


def _batches(waiting: QuerySet[Reminder]) -> Iterator[list[Reminder]]:
    """Rows by their id, so many at a time as fit a message."""
    last = 0
    while rows := list(waiting.filter(pk__gt=last).order_by("pk")[:MOST]):
        yield rows
        last = rows[-1].pk


def _needed(rows: Sequence[Reminder], now: datetime) -> list[Item]:
    """Those of which there is still something to say; the others are settled."""
    known = SecurityException.objects.defer("justification", "claim", "compensating_controls")
    exceptions = known.in_bulk({row.exception_id for row in rows})
    needed: list[Item] = []
    ended: list[Reminder] = []
    missed: list[Reminder] = []
    for row in rows:
        exception = exceptions.get(row.exception_id)
        step = step_of(exception, now) if exception is not None else None
        if exception is None or step is None or exception.expires_at != row.expires_at:
            ended.append(row)
        elif step.threshold != row.threshold:
            (ended if row.was_held else missed).append(row)
        else:
            needed.append(Item(row, exception))
    _settle(ended, "not needed any more")
    Reminder.objects.filter(pk__in=[row.pk for row in missed], last_error="").update(last_error="not sent in its time")
    Reminder.objects.filter(pk__in=[row.pk for row in missed]).settle(FAILED)
    return needed


def _settle(rows: Sequence[Reminder], why: str) -> None:
    """Without a record where nothing was tried; else a failed attempt stays one."""
    tried = [row.pk for row in rows if row.attempts]
    untried = [row.pk for row in rows if not row.attempts]
    Reminder.objects.filter(pk__in=tried).settle(FAILED)
    Reminder.objects.filter(pk__in=untried, attempts=0).settle(DROPPED, last_error=why)


def _claimed(needed: Sequence[Item], now: datetime) -> list[Item]:
    """Those that no other worker holds, for one attempt."""
    rows = Reminder.objects.filter(pk__in=[item.reminder.pk for item in needed])
    mine = {row.pk: row for row in outbox.claim(rows, now, policy.load().reminders.retries)}
    return [Item(mine[item.reminder.pk], item.exception) for item in needed if item.reminder.pk in mine]


def _hand_over(items: Sequence[Item], message: outbox.Message, message_id: str, now: datetime) -> int:
    rows = [item.reminder for item in items]
    noted = {"message_id": message_id[:200], "carried": len(rows)}
    Reminder.objects.filter(pk__in=[row.pk for row in rows]).update(**noted)
    sent = outbox.hand_over(rows, message, now=now, retries=policy.load().reminders.retries)
    return len(rows) if sent else 0


# -- the record --------------------------------------------------------------------------------------------------------


def record_settled() -> int:
    """Append a record for settled reminders that have none yet, RECORDED at most; returns how many."""
    written, last = 0, 0
    while written < RECORDED:
        rows = Reminder.objects.to_record().filter(pk__gt=last).order_by("pk")
        pks = list(rows.values_list("pk", flat=True)[:CHUNK])
        if not pks:
            break
        written += sum(map(_recorded, pks))
        last = pks[-1]
    return written


def _recorded(pk: int) -> bool:
    try:
        record(pk)
    except MissingError:
        Reminder.objects.filter(pk=pk).update(state=DROPPED)  # disposed of: no record to add to
    except ConflictError:
        pass  # another worker was quicker
    except ProoftrailError as error:
        logger.warning("reminder %s is not recorded yet: %s", pk, error)
    else:
        return True
    return False


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
        "channel": "chat" if reminder.recipient.startswith(CHAT) else "mail",
        "outcome": reminder.state,
        "attempts": reminder.attempts,
    }
    more: dict[str, object] = {
        "digest": reminder.carried if reminder.carried > 1 else None,
        "message": reminder.message_id,
        "error": reminder.last_error,
    }
    return body | {name: value for name, value in more.items() if value}
