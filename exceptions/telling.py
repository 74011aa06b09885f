"""Telling people: one mail for each person and round, each thing once, and a record of what came of it.

1. settle what is no longer needed, and what is meant for who has left: somebody else is told instead
2. claim, with one attempt more, all that one person is to be told in this round
3. hand it over as one mail
4. settle: delivered, or failed when it was refused and no attempt is left
5. append the record of each
A worker that dies in between leaves rows that a later beat takes up where they were.
"""

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.core.mail import EmailMultiAlternatives
from django.db.models import Max, Min

from config.errors import ConflictError, MissingError, ProoftrailError
from evidence import outbox
from evidence.circuits import attempt_each
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor
from evidence.models import User
from evidence.models.people import SERVICE
from evidence.outbox import DROPPED, FAILED
from exceptions.models import Risk, SecurityException
from exceptions.models.chat import CHAT
from exceptions.models.told import Told, ToldQuerySet

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
#: Rows that are recorded one after the other before more are read, and in one round: then it is others' turn.
CHUNK, RECORDED = 100, 2000
#: Why something is told no more.
LEFT, NOT_NEEDED = "the recipient has left", "not needed any more"


class Telling(ABC, Generic[Item]):
    """How one kind of news is told. An `Item` is a row of its outbox with what is to be said of it."""

    #: The outbox, and the kind of record that each settled row of it becomes.
    rows: type[Told]
    kind: str
    #: What one mail carries at most; somebody with more gets several.
    most = 5000

    @abstractmethod
    def retries(self) -> Sequence[timedelta]:
        """The pauses after failed attempts."""

    @abstractmethod
    def needed(self, rows: Sequence[Any], now: datetime) -> dict[int, Item]:
        """By their keys, the rows of which there is still something to say; the others are settled."""

    @abstractmethod
    def message(self, items: Sequence[Item], person: User, now: datetime) -> EmailMultiAlternatives:
        """One mail for all of them; about the same items always under the same Message-ID."""

    def leave(self, rows: Sequence[Any], now: datetime) -> None:
        """Who was to be told has left."""
        settle(rows, LEFT, now)

    @abstractmethod
    def about(self, row: Any) -> Composed:
        """What the record says besides the outcome, and whose it is. Raises MissingError for what is disposed of."""

    @abstractmethod
    def keep(self, index: int, at: datetime, composed: Composed) -> None:
        """Under the head lock, with the record: how long it is retained."""

    # -- the mail ------------------------------------------------------------------------------------------------------

    def send_waiting(self, now: datetime) -> int:
        """Send what waits; returns how many rows were delivered. A mail server that is away is left to rest."""
        waiting = self.rows.objects.to_send(now).to_people().order_by().values("recipient")
        ordered = waiting.annotate(tried=Max("attempts"), first=Min("id")).order_by("tried", "first")
        people = [row["recipient"] for row in ordered]
        attempt = functools.partial(self.mail, now=now)
        return attempt_each(people, attempt, to=outbox.MAIL, now=now, pauses=self.retries())

    def mail(self, uid: str, now: datetime) -> int:
        """Tell one person all that waits for them. Raises OSError where the mail server is away."""
        person = User.objects.filter(uid=uid, is_active=True).first()
        delivered = 0
        for rows in self.batches(self.rows.objects.to_send(now).filter(recipient=uid)):
            if person is None:
                self.leave(rows, now)
                continue
            mine, items = self.claim(self.needed(rows, now), now)
            if mine:
                message = self.message(items, person, now)
                delivered += self.hand_over(mine, message, str(message.extra_headers["Message-ID"]), now)
        return delivered

    # -- its steps, for other ways than mail as well -------------------------------------------------------------------

    def batches(self, waiting: ToldQuerySet) -> Iterator[list[Any]]:
        """Rows by their key, so many at a time as fit a message."""
        last = 0
        while rows := list(waiting.filter(pk__gt=last).order_by("pk")[: self.most]):
            yield rows
            last = rows[-1].pk

    def claim(self, needed: Mapping[int, Item], now: datetime) -> tuple[list[Told], list[Item]]:
        """Those that no other worker holds, for one attempt."""
        mine = outbox.claim(self.rows.objects.filter(pk__in=needed), now, self.retries())
        keys = {row.pk for row in mine}
        return mine, [item for key, item in needed.items() if key in keys]

    def hand_over(self, rows: Sequence[Told], message: outbox.Message, message_id: str, now: datetime) -> int:
        """Returns how many were delivered: all or none. Raises OSError where the destination is away."""
        outbox.of(rows).update(message_id=message_id[:200], carried=len(rows))
        return len(rows) if outbox.hand_over(rows, message, now=now, retries=self.retries()) else 0

    # -- the record ----------------------------------------------------------------------------------------------------

    def record_settled(self) -> int:
        """Append a record for settled rows that have none yet, RECORDED at most; returns how many."""
        written, last = 0, 0
        while written < RECORDED:
            rows = self.rows.objects.to_record().filter(pk__gt=last).order_by("pk")
            keys = list(rows.values_list("pk", flat=True)[:CHUNK])
            if not keys:
                break
            written += sum(map(self._recorded, keys))
            last = keys[-1]
        return written

    def _recorded(self, key: int) -> bool:
        try:
            self.record(key)
        except MissingError:
            self.rows.objects.filter(pk=key).update(state=DROPPED)  # disposed of: no record to add to
        except ConflictError:
            pass  # another worker was quicker
        except ProoftrailError as error:
            logger.warning("%s %s is not recorded yet: %s", self.rows.__name__, key, error)
        else:
            return True
        return False

    def record(self, key: int) -> None:
        """Append the outcome of one row. Raises ConflictError ``already_recorded``."""

        def compose(_: datetime) -> Composed:
            row = self.rows.objects.get(pk=key)
            if row.record_index is not None:
                raise ConflictError("This is recorded already.", code="already_recorded")
            about = self.about(row)
            return Composed({**about.body, **_outcome(row)}, about.systems)

        def apply(index: int, at: datetime, composed: Composed) -> None:
            self.rows.objects.filter(pk=key).update(record_index=index)
            self.keep(index, at, composed)

        append_composed(self.kind, compose, actor=Actor(SERVICE), apply=apply)


def settle(rows: Sequence[Told], why: str, now: datetime) -> None:
    """End what is not told any more: without a record where nothing was tried, else a failed attempt stays one.

    What another worker has claimed meanwhile is left to it.
    """
    if rows:
        outbox.of(rows).to_send(now).filter(attempts=0).settle(DROPPED, last_error=why)
        outbox.of(rows).to_send(now).settle(FAILED)


def systems_of(model: type[SecurityException] | type[Risk], number: str) -> list[str]:
    """Opaque ids. Raises MissingError ``record_disposed``."""
    found: list[str] | None = model.objects.filter(pk=number).values_list("systems", flat=True).first()
    if found is None:
        raise MissingError(f"{number} is disposed of.", code="record_disposed")
    return found


def _outcome(row: Told) -> dict[str, object]:
    said: dict[str, object] = {
        "recipient": row.recipient,
        "channel": "chat" if row.recipient.startswith(CHAT) else "mail",
        "outcome": row.state,
        "attempts": row.attempts,
    }
    more: dict[str, object] = {
        "digest": row.carried if row.carried > 1 else None,
        "message": row.message_id,
        "error": row.last_error,
    }
    return said | {name: value for name, value in more.items() if value}
