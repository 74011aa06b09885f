"""Telling people what waits for them and what was decided: one mail for each person and round.

1. `lifecycle` writes an Announcement with each record
2. `plan` finds out whom it concerns: who may decide a request, or who asked and answers for what was decided
3. `telling` leaves out what was decided meanwhile, mails the rest and appends an `exception.notified` record for each
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max

from evidence.composing import Composed
from evidence.models import User
from evidence.outbox import DROPPED
from evidence.people import display_names
from exceptions import mails, policy, rules
from exceptions.lifecycle import keep
from exceptions.models import Announcement, Notice, Renewal, SecurityException, Transition
from exceptions.models.terms import APPROVED
from exceptions.telling import NOT_NEEDED, Telling, settle, systems_of

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


# -- whom --------------------------------------------------------------------------------------------------------------


def plan(now: datetime) -> None:
    """Put what was announced into the outbox, once for each person: the unique constraint decides."""
    while announced := list(Announcement.objects.values_list("pk", flat=True)[:CHUNK]):
        rows = Transition.objects.filter(index__in=announced).select_related("exception").order_by("index")
        told = [notice for row in rows for notice in _notices(row, now)]
        with transaction.atomic():
            _put(told)
            Announcement.objects.filter(pk__in=announced).delete()


def _put(notices: Sequence[Notice]) -> None:
    Notice.objects.bulk_create(notices, ignore_conflicts=True)


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


class _Notices(Telling[Item]):
    rows, kind, most = Notice, "exception.notified", 100

    def retries(self) -> Sequence[timedelta]:
        return policy.load().reminders.retries

    def needed(self, rows: Sequence[Notice], now: datetime) -> dict[int, Item]:
        """What was decided meanwhile, or is for others to decide, is not."""
        told = Transition.objects.select_related("exception").in_bulk([row.index for row in rows])
        names = display_names(row.by for row in told.values())
        needed: dict[int, Item] = {}
        ended: list[Notice] = []
        for notice in rows:
            row = told.get(notice.index)
            if row is None or (notice.asked and notice.recipient not in deciders(row, now)):
                ended.append(notice)
            else:
                needed[notice.pk] = Item(notice, row, names[row.by])
        settle(ended, NOT_NEEDED, now)
        return needed

    def message(self, items: Sequence[Item], person: User, now: datetime) -> mails.Mail:
        asked, told = ([item for item in items if item.notice.asked is wanted] for wanted in (True, False))
        groups = [("Waiting for your decision", asked), ("What was decided", told)]
        facts = {"person": person, "groups": groups, "register": mails.register("open")}
        together = mails.told_together("notice", person.uid, (str(item.notice.index) for item in items))
        return mails.mail("notice", _subject(asked, told), facts, person, together)

    def leave(self, rows: Sequence[Notice], now: datetime) -> None:
        """Whoever may decide now is asked."""
        super().leave(rows, now)
        asked = Transition.objects.filter(index__in=[row.index for row in rows if row.asked])
        _put([notice for row in asked.select_related("exception") for notice in _notices(row, now)])

    def about(self, row: Notice) -> Composed:
        body = {"exception": row.exception_id, "about": row.index, "asked": row.asked}
        return Composed(body, systems_of(SecurityException, row.exception_id))

    def keep(self, index: int, at: datetime, composed: Composed) -> None:
        keep(index, at, composed)


NOTICES = _Notices()
send_waiting, record_settled = NOTICES.send_waiting, NOTICES.record_settled


def _subject(asked: Sequence[Item], told: Sequence[Item]) -> str:
    if len(asked) + len(told) == 1:
        item = next(itertools.chain(asked, told))
        waits = "waits for your decision" if item.notice.asked else item.said
        return f"{item.exception.pk} {waits}: {item.exception.title}"
    parts = [f"{len(asked)} wait for your decision"] if asked else []
    parts += [f"{len(told)} were decided"] if told else []
    return f"Exceptions: {', '.join(parts)}"
