"""When a reminder is due: pure arithmetic, `now` passed in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exceptions import policy
from exceptions.reminders import latest_step, time_left

EXPIRY = datetime(2024, 3, 31, 23, 59, 59, tzinfo=UTC)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def threshold(now: datetime, *, begin: datetime = BEGIN, expiry: datetime = EXPIRY) -> int | None:
    step = latest_step(policy.load().reminders, term_from=begin, expires_at=expiry, now=now)
    return step.threshold if step else None


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2024-02-29T23:59:59", None),  # a leap day
        ("2024-03-01T00:00:00", 30),
        ("2024-03-16T23:59:59", 30),
        ("2024-03-17T00:00:00", 14),
        ("2024-03-24T12:00:00", 7),
        ("2024-03-28T00:00:00", 3),
        ("2024-03-30T00:00:00", 1),
        ("2024-03-31T00:00:00", 0),
        ("2024-04-01T00:00:00", 0),
        ("2024-04-01T23:59:58", 0),
        ("2024-04-01T23:59:59", -1),
        ("2024-04-07T23:59:58", -1),
        ("2024-04-07T23:59:59", -7),
        ("2024-04-14T23:59:59", -14),
        ("2024-04-20T00:00:00", -14),
        ("2024-04-21T23:59:59", -21),
        ("2025-04-01T00:00:00", -364),
    ],
)
def test_it_knows_the_step_of_every_moment(now: str, expected: int | None) -> None:
    assert threshold(at(now)) == expected


def test_it_escalates() -> None:
    def to(days: int) -> tuple[str, ...]:
        moment = EXPIRY + timedelta(days=days)
        step = latest_step(policy.load().reminders, term_from=BEGIN, expires_at=EXPIRY, now=moment)
        return step.to if step else ()

    assert to(-7) == ("owner", "requester")
    assert "manager" in to(1)
    assert "executives" not in to(1)
    assert "executives" in to(7)
    assert to(21) == to(7)


def test_it_skips_steps_not_shorter_than_the_term() -> None:
    begin = EXPIRY - timedelta(days=6)
    assert threshold(begin, begin=begin) is None
    assert threshold(EXPIRY - timedelta(days=3), begin=begin) == 3
    week = EXPIRY - timedelta(days=7)
    assert threshold(week, begin=week) is None
    longer = EXPIRY - timedelta(days=7, seconds=1)
    assert threshold(EXPIRY - timedelta(days=6), begin=longer) == 7


def test_it_reminds_on_the_day_of_a_very_short_one() -> None:
    begin = at("2024-03-12T12:00:00")
    assert threshold(begin, begin=begin, expiry=begin + timedelta(seconds=20)) == 0


def test_it_takes_midnight_as_the_end_of_the_day_before() -> None:
    assert threshold(at("2024-03-31T00:00:00"), expiry=at("2024-04-01T00:00:00")) == 0


@given(st.integers(0, 400 * 24), st.integers(1, 400))
def test_it_never_goes_back(since: int, hours: int) -> None:
    now = BEGIN + timedelta(hours=since)
    before, after = threshold(now), threshold(now + timedelta(hours=hours))
    assert before is None or (after is not None and after <= before)


def test_it_says_in_words_how_much_is_left() -> None:
    for now, words in (
        ("2024-03-25T00:00:00", "in 6 days"),
        ("2024-03-30T23:00:00", "tomorrow"),
        ("2024-03-31T23:59:58", "today"),
        ("2024-03-31T23:59:59", "overdue"),
        ("2024-04-02T00:00:00", "1 day overdue"),
        ("2024-04-03T23:59:59", "3 days overdue"),
    ):
        assert time_left(at(now), EXPIRY) == words
