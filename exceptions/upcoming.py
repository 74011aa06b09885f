"""When the next reminder of an exception comes, and to whom: the schedule asked ahead. Pure, as the schedule is."""

from datetime import UTC, datetime, time, timedelta

from exceptions.policy import Schedule
from exceptions.reminders import Step, latest_step


def next_step(
    schedule: Schedule, *, term_from: datetime, expires_at: datetime, now: datetime
) -> tuple[datetime, Step] | None:
    """The moment of the next step, and that step; None where none is left.

    Steps before the expiry come with a UTC day, those after it when so many full days have passed: no step can come at
    another moment than these.
    """
    present = latest_step(schedule, term_from=term_from, expires_at=expires_at, now=now)
    for moment in _moments(schedule, expires_at, now):
        step = latest_step(schedule, term_from=term_from, expires_at=expires_at, now=moment)
        if step is not None and step != present:
            return moment, step
    return None


def _moments(schedule: Schedule, expires_at: datetime, now: datetime) -> list[datetime]:
    """Those after `now` at which a step may come, the first of them first."""
    last = (expires_at - timedelta(microseconds=1)).astimezone(UTC).date()
    found = [datetime.combine(last - timedelta(days=days), time(0), UTC) for days in schedule.before_days]
    over = [step.days for step in schedule.overdue]
    if over and schedule.repeat_days > 0:
        passed = max((now - expires_at).days - max(over), 0)
        over.append(max(over) + (passed // schedule.repeat_days + 1) * schedule.repeat_days)
    found += [expires_at + timedelta(days=days) for days in over]
    return sorted(moment for moment in found if moment > now)
