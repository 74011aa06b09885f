"""When a reminder is due, and to whom. The arithmetic is pure: `now` and the schedule are passed in (R0.3)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from evidence.models import User
from exceptions import policy
from exceptions.models import Reminder, SecurityException
from exceptions.models.terms import CHASED, days_between
from exceptions.policy import Schedule

# -- the schedule ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A step of the schedule that has come. `threshold` is in days before the expiry, negative after it."""

    threshold: int
    to: tuple[str, ...]


def latest_step(schedule: Schedule, *, term_from: datetime, expires_at: datetime, now: datetime) -> Step | None:
    """The last step reached at `now`; None before the first. Steps missed on the way are not made up for.

    Before the expiry a step comes with its UTC calendar day, after it when that many full days have passed.
    A step not shorter than the term is skipped: it would lie before the beginning.
    """
    overdue = _overdue_step(schedule, expires_at, now)
    if overdue is not None:
        return overdue
    term = expires_at - term_from
    reached = [
        days for days in schedule.before_days if timedelta(days=days) < term and now >= _day_before(expires_at, days)
    ]
    return Step(min(reached), schedule.before_to) if reached else None


def _day_before(expires_at: datetime, days: int) -> datetime:
    """The beginning of the UTC day that lies so many days before the last day covered."""
    last = (expires_at - timedelta(microseconds=1)).astimezone(UTC).date()
    return datetime.combine(last - timedelta(days=days), time(0), UTC)


def _overdue_step(schedule: Schedule, expires_at: datetime, now: datetime) -> Step | None:
    days = (now - expires_at).days
    reached = [step for step in schedule.overdue if step.days <= days]
    if not reached:
        return None
    step = max(reached, key=lambda one: one.days)
    if step != max(schedule.overdue, key=lambda one: one.days) or schedule.repeat_days <= 0:
        return Step(-step.days, step.to)
    repeated = step.days + (days - step.days) // schedule.repeat_days * schedule.repeat_days
    return Step(-repeated, step.to)


def step_of(exception: SecurityException, now: datetime) -> Step | None:
    """The step that the exception has reached under the policy in force; None when it needs no reminder."""
    if exception.decision not in CHASED:
        return None
    return latest_step(policy.load().reminders, term_from=exception.term_from, expires_at=exception.expires_at, now=now)


def time_left(now: datetime, expires_at: datetime) -> str:
    """In words: ``in 6 days``, ``today``, ``3 days overdue``."""
    if now >= expires_at:
        days = (now - expires_at).days
        return "overdue" if days == 0 else f"{days} day{'s' * (days != 1)} overdue"
    days = days_between(now, expires_at)
    return {0: "today", 1: "tomorrow"}.get(days, f"in {days} days")


# -- the outbox --------------------------------------------------------------------------------------------------------


def plan(now: datetime) -> None:
    """Put every reminder that is due into the outbox, once: the unique constraint decides."""
    due = [(found, step) for found in SecurityException.objects.due_for_reminder(now) if (step := step_of(found, now))]
    people = _People(found for found, _ in due)
    rows = [
        Reminder(
            exception_id=found.id,
            expires_at=found.expires_at,
            threshold=step.threshold,
            recipient=uid,
            created_at=now,
            next_attempt_at=now,
        )
        for found, step in due
        for uid in people.recipients(found, step)
    ]
    Reminder.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)


class _People:
    """Who stands behind the names of a schedule. Two queries for all exceptions."""

    def __init__(self, exceptions: Iterable[SecurityException]) -> None:
        uids = {uid for found in exceptions for uid in (found.owner, found.requester)}
        known = User.objects.filter(uid__in=uids).select_related("manager")
        self._by_uid = {user.uid: user for user in known} if uids else {}
        staff = User.objects.filter(is_active=True, roles__overlap=["executive", "liaison"]) if uids else []
        self._staff = list(staff)

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
