"""Sending reminders: to each person one mail (`telling`), to a chat channel a post for each (many: one post)."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from evidence.circuits import attempt_each
from evidence.composing import Composed
from evidence.models import User
from evidence.outbox import FAILED, of
from evidence.tlog.leaf import format_time
from exceptions import mails, policy
from exceptions.lifecycle import keep
from exceptions.mails import Item
from exceptions.models import ChatChannel, Reminder, SecurityException
from exceptions.reminders import plan_again, step_of
from exceptions.telling import LEFT, NOT_NEEDED, Telling, settle, systems_of


class _Reminders(Telling[Item]):
    rows, kind = Reminder, "exception.reminded"

    def retries(self) -> Sequence[timedelta]:
        return policy.load().reminders.retries

    def needed(self, rows: Sequence[Reminder], now: datetime) -> dict[int, Item]:
        """Renewed, closed or overtaken by a later step is not."""
        known = SecurityException.objects.defer("justification", "claim", "compensating_controls")
        exceptions = known.in_bulk({row.exception_id for row in rows})
        needed: dict[int, Item] = {}
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
                needed[row.pk] = Item(row, exception)
        settle(ended, NOT_NEEDED, now)
        _miss(missed, now)
        return needed

    def message(self, items: Sequence[Item], person: User, now: datetime) -> mails.Mail:
        return mails.message(items, person, now)

    def leave(self, rows: Sequence[Reminder], now: datetime) -> None:
        """Somebody else is to be told now."""
        items = self.needed(rows, now).values()
        settle([item.reminder for item in items], LEFT, now)
        plan_again((item.exception for item in items), now)

    def about(self, row: Reminder) -> Composed:
        body = {
            "exception": row.exception_id,
            "expires_at": format_time(row.expires_at),
            "threshold": row.threshold,
        }
        return Composed(body, systems_of(SecurityException, row.exception_id))

    def keep(self, index: int, at: datetime, composed: Composed) -> None:
        keep(index, at, composed)


def _miss(rows: Sequence[Reminder], now: datetime) -> None:
    """Those that did not go out in their time have failed, tried or not."""
    if rows:
        of(rows).to_send(now).filter(last_error="").update(last_error="not sent in its time")
        of(rows).to_send(now).settle(FAILED)


REMINDERS = _Reminders()
record_settled = REMINDERS.record_settled


def send_waiting(now: datetime) -> int:
    """Send what waits; returns how many reminders were delivered. A destination that is away is left to rest."""
    return REMINDERS.send_waiting(now) + _post_waiting(now)


# -- chat --------------------------------------------------------------------------------------------------------------


def _post_waiting(now: datetime) -> int:
    waiting = Reminder.objects.to_send(now).to_channels()
    if not waiting.exists():
        return 0
    active = {channel.recipient: channel for channel in ChatChannel.objects.filter(is_active=True)}
    delivered = 0
    for recipient, channel in active.items():
        attempt = functools.partial(_post, channel, now=now)
        posts = _posts(recipient, now)
        delivered += attempt_each(posts, attempt, to=recipient, now=now, pauses=REMINDERS.retries())
    ended = waiting.exclude(recipient__in=active)
    settle(list(ended[: REMINDERS.most]), "the channel was switched off", now)
    return delivered


def _posts(recipient: str, now: datetime) -> Iterator[dict[int, Item]]:
    """What is told in one post each: every exception by itself, or many of them together."""
    for rows in REMINDERS.batches(Reminder.objects.to_send(now).filter(recipient=recipient)):
        needed = REMINDERS.needed(rows, now)
        if len(needed) > policy.load().reminders.chat_posts:
            yield needed
        else:
            least_tried = sorted(needed.items(), key=lambda found: found[1].reminder.attempts)
            yield from ({key: item} for key, item in least_tried)


def _post(channel: ChatChannel, needed: Mapping[int, Item], now: datetime) -> int:
    mine, items = REMINDERS.claim(needed, now)
    if not mine:
        return 0
    post = mails.post(items, channel, now)
    own = ChatChannel.objects.filter(pk=channel.pk)
    try:
        delivered = REMINDERS.hand_over(mine, post, post.id, now)
    except OSError as error:
        own.update(last_failed_at=now, last_error=str(error)[:500])
        raise
    if delivered:
        own.update(last_delivered_at=now)
    return delivered
