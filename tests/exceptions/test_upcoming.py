"""The next reminder, held against the schedule asked hour by hour. No database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from exceptions import policy
from exceptions.reminders import latest_step
from exceptions.upcoming import next_step

END = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)
SCHEDULE = policy.load().reminders


@pytest.mark.parametrize("expires_at", [END, END.replace(hour=0, minute=0, second=0), END.replace(hour=11)])
@pytest.mark.parametrize("term", [5, 20, 90])
def test_it_names_the_moment_at_which_another_step_comes(expires_at: datetime, term: int) -> None:
    asked = {"term_from": expires_at - timedelta(days=term), "expires_at": expires_at}
    moment, seen = asked["term_from"], 0
    while moment < expires_at + timedelta(days=40):
        found = next_step(SCHEDULE, now=moment, **asked)
        assert found is not None  # overdue ones are repeated until somebody acts
        comes, step = found
        assert comes > moment
        assert latest_step(SCHEDULE, now=comes, **asked) == step
        just_before = latest_step(SCHEDULE, now=comes - timedelta(microseconds=1), **asked)
        assert just_before == latest_step(SCHEDULE, now=moment, **asked) != step
        moment, seen = comes, seen + 1
    assert seen > 4


def test_it_ends_where_the_schedule_does() -> None:
    ends = replace(SCHEDULE, before_days=(7,), overdue=(), repeat_days=0)
    asked = {"term_from": END - timedelta(days=30), "expires_at": END}
    assert next_step(ends, now=END - timedelta(days=1), **asked) is None
