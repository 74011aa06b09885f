"""Telling people what waits for them and what was decided: one mail for each person and round.

1. `lifecycle` writes an Announcement with each record
2. `plan` finds out whom it concerns: who may decide a request, or who asked and answers for what was decided
3. `send_waiting` leaves out what was decided meanwhile and mails the rest, under `evidence.outbox` and its circuit
4. `record_settled` appends an `exception.notified` record for each
"""

import functools
import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Max, Min

from config.errors import ConflictError, MissingError, ProoftrailError
from evidence import outbox
from evidence.circuits import attempt_each
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor
from evidence.models import User
from evidence.models.people import SERVICE
from evidence.outbox import DROPPED, FAILED
from evidence.people import display_names
from exceptions import mails, policy, rules
from exceptions.lifecycle import keep
from exceptions.models import Announcement, Notice, Renewal, SecurityException, Transition
from exceptions.models.terms import APPROVED

logger = logging.getLogger(__name__)
#: Records that ask somebody to decide, with the transition that they would make.
ASKING = {
    "exception.requested": "approved",
    "exception.amended": "approved",
    "exception.renewal_requested": "renewed",
}
#: The same of an approval that was not enough: another person's is asked for.
ASKING_AGAIN = {"exception.approved": "approved", "exception.renewed": "renewed"}
#: Who is asked: the first of these of whom somebody may decide.
DECIDING = (("approver", "liaison"), ("executive",), ("admin",))
CHUNK = 500
#: What one mail tells at most; somebody with more gets several.
MOST = 100


# -- whom --------------------------------------------------------------------------------------------------------------


def plan(now: datetime) -> None:
    """Put what was announced into the outbox, once for each person: the unique constraint decides."""
    while announced := list(Announcement.objects.values_list("pk", flat=True)[:CHUNK]):
        rows = Transition.objects.filter(index__in=announced).select_related("exception").order_by("index")
        told = [notice for row in rows for notice in _notices(row, now)]
        with transaction.atomic():
            Notice.objects.bulk_create(told, ignore_conflicts=True)
            Announcement.objects.filter(pk__in=announced).delete()


def _notices(row: Transition, now: datetime) -> Iterator[Notice]:
    concerned = [(uid, False) for uid in _interested(row)] + [(uid, True) for uid in _asked(row, now)]
    for uid, asked in concerned:
        yield Notice(
            index=row.index,
            exception_id=row.exception_id,
            asked=asked,
            recipient=uid,
            created_at=now,
            next_attempt_at=now,
        )


def _interested(row: Transition) -> list[str]:
    """Who asked for it and who answers for it, unless they did it themselves. Half an approval is no news."""
    if _asks_for(row) is not None:
        return []
    found = row.exception
    active = User.objects.filter(is_active=True, uid__in={found.requester, found.owner} - {row.by})
    return sorted(active.values_list("uid", flat=True))


def _asked(row: Transition, now: datetime) -> list[str]:
    """Who is asked because of the record; of an approval that was not enough, who was not asked before."""
    if not _is_half(row):
        return deciders(row, now)
    earlier = row.exception.transitions.filter(index__lt=row.index)
    begun = earlier.filter(kind__in=ASKING).aggregate(index=Max("index"))["index"]
    same = list(earlier.filter(index__gte=begun).values_list("index", flat=True))
    if Announcement.objects.filter(pk__in=same).exists():
        return []  # that one is told in this very round, to whoever may decide now
    told = Notice.objects.filter(asked=True, index__in=same).exclude(state=DROPPED)
    before = set(told.values_list("recipient", flat=True))
    return [uid for uid in deciders(row, now) if uid not in before]


def deciders(row: Transition, now: datetime) -> list[str]:
    """Who may decide what the record asks for, as it stands now; nobody once it is decided."""
    move = _asks_for(row)
    if move is None:
        return []
    for roles in DECIDING:
        people = User.objects.filter(is_active=True, roles__overlap=list(roles)).order_by("uid")
        found = [person.uid for person in people if move in rules.moves(row.exception, person, now)]
        if found:
            return found
    return []


def _asks_for(row: Transition) -> str | None:
    """The transition that somebody is asked to make because of the record."""
    return ASKING_AGAIN[row.kind] if _is_half(row) else ASKING.get(row.kind)


def _is_half(row: Transition) -> bool:
    """An approval where one more is needed."""
    if row.kind == "exception.approved":
        return row.decision != APPROVED
    return row.kind == "exception.renewed" and not Renewal.objects.filter(decided_index=row.index).exists()


# -- the mail ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One notice, with the record that it tells of and who made that."""

    notice: Notice
    row: Transition
    by: str

    @property
    def exception(self) -> SecurityException:
        return self.row.exception

    @property
    def said(self) -> str:
        """``Alice asks for it until 2026-03-31``."""
        said = _SAID_HALF if _is_half(self.row) else _SAID
        return f"{self.by} {said[self.row.kind].format(until=f'{self._until:%Y-%m-%d}')}"

    @property
    def needs_executive(self) -> str:
        """Why, of what is asked for."""
        return rules.needs_executive(self.exception) if self.notice.asked else ""

    @property
    def _until(self) -> datetime:
        renewal = self.exception.renewals.filter(index=self.row.index).first()
        return renewal.expires_at if renewal is not None else self.row.expires_at

    @property
    def link(self) -> str:
        return mails.link("change", self.exception)


_SAID = {
    "exception.requested": "asks for it until {until}",
    "exception.amended": "changed what is asked for, until {until}",
    "exception.renewal_requested": "asks to renew it until {until}",
    "exception.approved": "approved it, until {until}",
    "exception.rejected": "rejected it",
    "exception.withdrawn": "withdrew it",
    "exception.renewed": "approved its renewal, until {until}",
    "exception.renewal_refused": "refused its renewal; it still ends on {until}",
    "exception.revoked": "revoked it: what it waived counts again at once",
    "exception.remediated": "closed it as put right",
    "exception.superseded": "closed it: another exception takes its place",
}
_SAID_HALF = {
    "exception.approved": "approved it; one more has to",
    "exception.renewed": "approved its renewal; one more has to",
}


def send_waiting(now: datetime) -> int:
    """Send what waits; returns how many notices were delivered. A mail server that is away is left to rest."""
    waiting = Notice.objects.to_send(now).order_by().values("recipient")
    ordered = waiting.annotate(tried=Max("attempts"), first=Min("id")).order_by("tried", "first")
    people = [row["recipient"] for row in ordered]
    retries = policy.load().reminders.retries
    return attempt_each(people, functools.partial(_mail, now=now), to=outbox.MAIL, now=now, pauses=retries)


def _mail(uid: str, now: datetime) -> int:
    """Tell one person all that waits for them. Raises OSError where the mail server is away."""
    person, delivered, last = User.objects.filter(uid=uid, is_active=True).first(), 0, 0
    while rows := list(Notice.objects.to_send(now).filter(recipient=uid, pk__gt=last).order_by("pk")[:MOST]):
        last = rows[-1].pk
        items = _needed(rows, person, now)
        retries = policy.load().reminders.retries
        pks = [item.notice.pk for item in items]
        mine = {row.pk: row for row in outbox.claim(Notice.objects.filter(pk__in=pks), now, retries)}
        items = [item for item in items if item.notice.pk in mine]
        if person is not None and items:
            message = _message(items, person)
            noted = str(message.extra_headers["Message-ID"])
            Notice.objects.filter(pk__in=mine).update(message_id=noted[:200])
            sent = outbox.hand_over(list(mine.values()), message, now=now, retries=retries)
            delivered += len(items) if sent else 0
    return delivered


def _needed(rows: Sequence[Notice], person: User | None, now: datetime) -> list[Item]:
    """Those of which there is still something to say; the others are settled."""
    told = Transition.objects.select_related("exception").in_bulk([row.index for row in rows])
    names = display_names(row.by for row in told.values())
    items, ended = [], []
    for notice in rows:
        row = told.get(notice.index)
        if row is None or person is None or (notice.asked and person.uid not in deciders(row, now)):
            ended.append(notice.pk)
        else:
            items.append(Item(notice, row, names[row.by]))
    Notice.objects.filter(pk__in=ended, attempts=0).settle(DROPPED, last_error="not needed any more")
    Notice.objects.filter(pk__in=ended).settle(FAILED)
    return items


def _message(items: Sequence[Item], person: User) -> mails.Mail:
    asked, told = ([item for item in items if item.notice.asked is wanted] for wanted in (True, False))
    groups = [("Waiting for your decision", asked), ("What was decided", told)]
    facts = {"person": person, "groups": groups, "register": mails.register("open")}
    indexes = ",".join(str(item.notice.index) for item in items)
    told_id = f"notice.{hashlib.sha256(f'{person.uid} {indexes}'.encode()).hexdigest()[:24]}"
    return mails.mail("notice", _subject(asked, told), facts, person, told_id)


def _subject(asked: Sequence[Item], told: Sequence[Item]) -> str:
    if len(asked) + len(told) == 1:
        item = next(itertools.chain(asked, told))
        waits = "waits for your decision" if item.notice.asked else item.said
        return f"{item.exception.pk} {waits}: {item.exception.title}"
    parts = [f"{len(asked)} wait for your decision"] if asked else []
    parts += [f"{len(told)} were decided"] if told else []
    return f"Exceptions: {', '.join(parts)}"


# -- the record --------------------------------------------------------------------------------------------------------


def record_settled() -> int:
    """Append a record for each settled notice that has none yet; returns how many."""
    written, last = 0, 0
    while pks := list(
        Notice.objects.to_record().filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK]
    ):
        written += sum(map(_recorded, pks))
        last = pks[-1]
    return written


def _recorded(pk: int) -> bool:
    try:
        record(pk)
    except MissingError:
        Notice.objects.filter(pk=pk).update(state=DROPPED)  # disposed of: no record to add to
    except ConflictError:
        pass  # another worker was quicker
    except ProoftrailError as error:
        logger.warning("notice %s is not recorded yet: %s", pk, error)
    else:
        return True
    return False


def record(pk: int) -> None:
    """Append the outcome of one notice. Raises ConflictError ``already_recorded``."""

    def compose_record(_: datetime) -> Composed:
        notice = Notice.objects.get(pk=pk)
        if notice.record_index is not None:
            raise ConflictError("This notice is recorded already.", code="already_recorded")
        exception = SecurityException.objects.filter(pk=notice.exception_id).first()
        if exception is None:
            raise MissingError(f"There is no exception {notice.exception_id!r}.", code="exception_unknown")
        return Composed(_body(notice), exception.systems)

    def apply(index: int, at: datetime, composed: Composed) -> None:
        Notice.objects.filter(pk=pk).update(record_index=index)
        keep(index, at, composed)

    append_composed("exception.notified", compose_record, actor=Actor(SERVICE), apply=apply)


def _body(notice: Notice) -> dict[str, object]:
    body: dict[str, object] = {
        "exception": notice.exception_id,
        "about": notice.index,
        "asked": notice.asked,
        "recipient": notice.recipient,
        "channel": "mail",
        "outcome": notice.state,
        "attempts": notice.attempts,
    }
    more = {"message": notice.message_id, "error": notice.last_error}
    return body | {name: value for name, value in more.items() if value}
