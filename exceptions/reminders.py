"""When a reminder is due, and to whom. The arithmetic is pure: `now` and the schedule are passed in (R0.3)."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db import connection, transaction
from django.db.models import (
    Count,
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    QuerySet,
    Value,
)

from evidence.models import User
from exceptions import policy
from exceptions.models import ChatChannel, Reminder, SecurityException
from exceptions.models.chat import CHAT
from exceptions.models.terms import CHASED, CLAIMED, days_between
from exceptions.policy import Schedule

DAY = timedelta(days=1)

# -- the schedule ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A step of the schedule that has come. `threshold` is in days before the expiry, negative after it."""

    threshold: int
    to: tuple[str, ...]
    repeated: bool = False


@dataclass(frozen=True)
class Window:
    """Expiries of which one step is the latest: those in (`after`, `until`]."""

    step: Step
    after: datetime | None
    until: datetime
    #: A step not shorter than the term is skipped: it would lie before the beginning.
    longer_than: timedelta | None = None
    #: The step comes again and again, so many days apart.
    every: int | None = None

    def covers(self, expires_at: datetime, term_from: datetime) -> bool:
        reached = expires_at <= self.until and (self.after is None or expires_at > self.after)
        return reached and (self.longer_than is None or expires_at - term_from > self.longer_than)

    def step_at(self, expires_at: datetime, now: datetime) -> Step:
        """The step as it is for this expiry: of one that repeats, which time it is."""
        if self.every is None:
            return self.step
        since = (now - expires_at).days + self.step.threshold
        return Step(self.step.threshold - since // self.every * self.every, self.step.to, repeated=True)


def windows(schedule: Schedule, now: datetime) -> list[Window]:
    """The schedule as it applies at `now`, later expiries last. Steps missed on the way are not made up for.

    Before the expiry a step comes with its UTC calendar day, after it when that many full days have passed.
    """
    overdue = _overdue_windows(schedule, now)
    after = max((window.until for window in overdue), default=None)
    found = overdue
    for days in sorted(schedule.before_days):
        until = _day_after(now, days)
        found.append(Window(Step(days, schedule.before_to), after, until, longer_than=days * DAY))
        after = until
    return found


def _overdue_windows(schedule: Schedule, now: datetime) -> list[Window]:
    steps = sorted(schedule.overdue, key=lambda step: -step.days)
    found: list[Window] = []
    after: datetime | None = None
    if steps and schedule.repeat_days > 0:
        last = steps[0]
        after = now - (last.days + schedule.repeat_days) * DAY
        repeated = Step(-last.days - schedule.repeat_days, last.to, repeated=True)
        found.append(Window(repeated, None, after, every=schedule.repeat_days))
    for step in steps:
        until = now - step.days * DAY
        found.append(Window(Step(-step.days, step.to), after, until))
        after = until
    return found


def _day_after(now: datetime, days: int) -> datetime:
    """The end of the UTC day that lies so many days ahead: what expires by then has that many days left, or fewer."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=days + 1), time(0), UTC)


def latest_step(schedule: Schedule, *, term_from: datetime, expires_at: datetime, now: datetime) -> Step | None:
    """The last step reached at `now`; None before the first."""
    for window in windows(schedule, now):
        if window.covers(expires_at, term_from):
            return window.step_at(expires_at, now)
    return None


def step_of(exception: SecurityException, now: datetime) -> Step | None:
    """The step that the exception has reached under the policy in force; None when it needs no reminder."""
    if exception.decision not in CHASED:
        return None
    return latest_step(policy.load().reminders, term_from=exception.term_from, expires_at=exception.expires_at, now=now)


def weekly_pass(now: datetime, weekday: int) -> datetime:
    """When the next pass of that weekday begins, in UTC."""
    today = now.astimezone(UTC).date()
    return datetime.combine(today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1), time(0), UTC)


def time_left(now: datetime, expires_at: datetime) -> str:
    """In words: ``in 6 days``, ``today``, ``3 days overdue``."""
    if now >= expires_at:
        days = (now - expires_at).days
        return "overdue" if days == 0 else f"{days} day{'s' * (days != 1)} overdue"
    days = days_between(now, expires_at)
    return {0: "today", 1: "tomorrow"}.get(days, f"in {days} days")


def consequence(exception: SecurityException, schedule: Schedule, now: datetime) -> str:
    """What the expiry means, and who hears of it next, in a sentence or two."""
    past = now >= exception.expires_at
    if exception.decision == CLAIMED:
        told = f"{'It is' if past else 'Then it is'} overdue; as nobody has ratified it here, it waives nothing."
    elif exception.requirements:
        asked = " and ".join(exception.requirements)
        told = f"{'Since then' if past else 'From then on'} the gate asks for {asked} again."
    else:
        told = "It no longer counts as accepted." if past else "From then on it no longer counts as accepted."
    return f"{told} {_escalation(exception, schedule, now)}".rstrip()


_SEATS = {
    "owner": "the owner",
    "requester": "the requester",
    "manager": "the owner's manager",
    "executives": "executives",
}


def _escalation(exception: SecurityException, schedule: Schedule, now: datetime) -> str:
    """Whom the steps ahead reach for the first time, and when; empty where nobody."""
    known, found = set(schedule.before_to), []
    for step in sorted(schedule.overdue, key=lambda one: one.days):
        reached, new = exception.expires_at + step.days * DAY, [seat for seat in step.to if seat not in known]
        known |= set(step.to)
        if new and reached > now:
            found.append(f"to {' and '.join(_SEATS[seat] for seat in new)} on {reached:%Y-%m-%d}")
    return f"If still open, it goes {' and '.join(found)}." if found else ""


# -- the outbox --------------------------------------------------------------------------------------------------------

#: Exceptions that are looked at together.
CHUNK = 1000
#: For how long somebody who was reminded counts as being chased (`policy.Digest`).
LATELY = timedelta(days=30)
#: Of the lock that lets one worker plan at a time: a digest then finds everything of its round in the outbox.
_LOCK = 0x70_72_6F_6F_66


def plan(now: datetime) -> None:
    """Put every reminder that is due into the outbox, once: the unique constraint decides. All of them or none.

    Another worker that plans meanwhile is left to it.
    """
    schedule = policy.load().reminders
    with transaction.atomic():
        if not _alone():
            return
        planner = _Planner(schedule, now)
        for window in windows(schedule, now):
            found = unplanned(window, now).iterator(chunk_size=CHUNK)
            while chunk := list(itertools.islice(found, CHUNK)):
                planner.put([(each, window.step_at(each.expires_at, now)) for each in chunk])


def plan_again(exceptions: Iterable[SecurityException], now: datetime) -> None:
    """Of exceptions whose reminder found nobody any more: who is to be told now."""
    due = [(each, step) for each in exceptions if (step := step_of(each, now))]
    _Planner(policy.load().reminders, now).put(due)


def unplanned(window: Window, now: datetime) -> QuerySet[SecurityException]:
    """Exceptions of which a step has come that is not in the outbox."""
    planned = Reminder.objects.filter(exception_id=OuterRef("pk"), expires_at=OuterRef("expires_at"))
    if window.every is None:
        planned = planned.filter(threshold=window.step.threshold)
    else:  # the time before the present one lies a whole period back
        came = ExpressionWrapper(
            Value(now - window.every * DAY, DateTimeField())
            + ExpressionWrapper(F("threshold") * Value(DAY, DurationField()), DurationField()),
            DateTimeField(),
        )
        planned = planned.filter(threshold__lte=window.step.threshold, expires_at__gt=came)
    found = SecurityException.objects.chased().filter(expires_at__lte=window.until)
    if window.after is not None:
        found = found.filter(expires_at__gt=window.after)
    if window.longer_than is not None:
        found = found.filter(expires_at__gt=F("term_from") + Value(window.longer_than, DurationField()))
    needed = ("expires_at", "owner", "requester", "systems")
    return found.filter(~Exists(planned)).order_by().only("pk", *needed)


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        (locked,) = cursor.fetchone()
    return bool(locked)


class _Planner:
    """Writes the rows of one round."""

    def __init__(self, schedule: Schedule, now: datetime) -> None:
        self._digest = schedule.digest
        self._now = now
        self._staff = list(User.objects.filter(is_active=True, roles__overlap=["executive", "liaison"]))
        self._channels = list(ChatChannel.objects.filter(is_active=True))

    def put(self, due: Sequence[tuple[SecurityException, Step]]) -> None:
        """Four statements, however many they are."""
        people = _People([found for found, _ in due], self._staff)
        rows = [
            self._row(found, step, recipient)
            for found, step in due
            for recipient in [*people.recipients(found, step), *self._heard_in(found)]
        ]
        self._hold(rows, {(found.pk): step for found, step in due})
        Reminder.objects.bulk_create(rows, ignore_conflicts=True)

    def _row(self, found: SecurityException, step: Step, recipient: str) -> Reminder:
        return Reminder(
            exception_id=found.pk,
            expires_at=found.expires_at,
            threshold=step.threshold,
            recipient=recipient,
            created_at=self._now,
            next_attempt_at=self._now,
        )

    def _heard_in(self, found: SecurityException) -> list[str]:
        return [channel.recipient for channel in self._channels if channel.hears_of(found.systems)]

    def _hold(self, rows: Sequence[Reminder], steps: Mapping[str, Step]) -> None:
        """What may wait for the weekly digest does, for people who are chased about many."""
        may_wait = [
            row
            for row in rows
            if not row.recipient.startswith(CHAT)
            and self._digest.holds(row.threshold, repeated=steps[row.exception_id].repeated, now=self._now)
        ]
        flooded = chased_about_many({row.recipient for row in may_wait}, self._digest.above, self._now)
        until = weekly_pass(self._now, self._digest.weekday)
        for row in may_wait:
            if row.recipient in flooded:
                row.next_attempt_at = until


def chased_about_many(people: Iterable[str], above: int, now: datetime) -> set[str]:
    """Who of them was reminded lately of more than `above` exceptions that stand as they did then."""
    wanted = list(people)
    if not wanted:
        return set()
    stands = SecurityException.objects.chased().filter(pk=OuterRef("exception_id"), expires_at=OuterRef("expires_at"))
    rows = Reminder.objects.filter(
        Exists(stands), recipient__in=wanted, created_at__gte=now - LATELY, created_at__lt=now
    )
    counted = rows.order_by().values("recipient").annotate(count=Count("exception_id", distinct=True))
    return set(counted.filter(count__gt=above).values_list("recipient", flat=True))


class _People:
    """Who stands behind the names of a schedule. One query for all exceptions."""

    def __init__(self, exceptions: Iterable[SecurityException], staff: Sequence[User]) -> None:
        uids = {uid for found in exceptions for uid in (found.owner, found.requester)}
        known = User.objects.filter(uid__in=uids).select_related("manager")
        self._by_uid = {user.uid: user for user in known}
        self._staff = staff

    def recipients(self, exception: SecurityException, step: Step) -> list[str]:
        """Opaque ids, each once. A seat that is empty falls to the next above, at last to the liaisons."""
        found = [user.uid for name in step.to for user in self._named(name, exception)]
        return list(dict.fromkeys(found or [user.uid for user in self._with_role("liaison")]))

    def _named(self, name: str, exception: SecurityException) -> Iterator[User]:
        if name == "executives":
            yield from self._with_role("executive")
        elif name == "requester":
            requester = self._by_uid.get(exception.requester)
            if requester is not None and requester.is_active:
                yield requester
        else:
            owner = self._by_uid.get(exception.owner)
            seat = [owner] if name == "owner" else []
            above = next((u for u in [*seat, owner and owner.manager] if u is not None and u.is_active), None)
            yield from [above] if above is not None else self._with_role("liaison")

    def _with_role(self, role: str) -> Iterator[User]:
        return (user for user in self._staff if role in user.roles)
