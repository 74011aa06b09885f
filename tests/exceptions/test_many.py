"""A hundred thousand exceptions: a round reads what is due, by an index, in bounded memory."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from config.bulk import compose
from exceptions import policy, reminders
from exceptions.models import Reminder, SecurityException
from tests.cast import Cast, assemble

MANY, DUE = 100_000, 5_000


def made(cast: Cast, now: datetime) -> Iterator[SecurityException]:
    """One in twenty expires within a fortnight, half of them all later; what is left is closed."""
    begun = now - timedelta(days=100)
    for number in range(MANY):
        expires_at = now + timedelta(days=100 if number % 20 else 10, seconds=number)
        yield SecurityException(
            id=f"EXC-{number:06d}",
            title="Old TLS",
            justification="Because.",
            severity="low",
            systems=[cast.trading.pk],
            decision="approved" if number % 20 == 0 or number % 2 else "remediated",
            requester=cast.alice.uid,
            owner=cast.charlie.uid,
            owner_name="Charlie",
            requested_at=begun,
            effective_from=begun,
            term_from=begun,
            expires_at=expires_at,
            original_expires_at=expires_at,
            requested_index=number,
            last_index=number,
        )


def test_a_round_reads_what_is_due_and_no_more(ledger: Any, django_assert_num_queries: Any) -> None:
    cast, now = assemble(), datetime.now(UTC)
    now += timedelta(days=8 - now.weekday())  # a Tuesday: who is chased about many is asked too
    with transaction.atomic():
        compose(SecurityException, made(cast, now)).write()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE exceptions_securityexception")
    assert SecurityException.objects.count() == MANY
    schedule = policy.load().reminders
    windows = reminders.windows(schedule, now)
    for window in windows:
        plan = reminders.unplanned(window, now).explain()
        assert "exception_due" in plan, plan
        assert "Seq Scan on exceptions_securityexception" not in plan

    tracemalloc.start()
    chunks = DUE // reminders.CHUNK
    with django_assert_num_queries(len(windows) + 3 + 2 + chunks * 3):
        reminders.plan(now)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Reminder.objects.count() == 2 * DUE
    assert most < 40 * 2**20
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE exceptions_reminder")
    with django_assert_num_queries(len(windows) + 3 + 2):
        reminders.plan(now + timedelta(minutes=1))
    later = now + timedelta(days=30)
    for window in reminders.windows(schedule, later):
        assert "Seq Scan on exceptions_securityexception" not in reminders.unplanned(window, later).explain()
