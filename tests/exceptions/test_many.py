"""A hundred thousand exceptions: a round reads what is due, by an index, in bounded memory."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from exceptions import policy, reminders
from exceptions.models import Reminder, SecurityException
from tests.cast import Cast, assemble

MANY, DUE = 100_000, 5_000


def fill(cast: Cast, now: datetime) -> None:
    """One row, and as many like it: one in twenty expires within a fortnight, half of all later, the rest is closed."""
    begun, later = now - timedelta(days=100), now + timedelta(days=100)
    when = {"effective_from": begun, "term_from": begun, "requested_at": begun}
    who = {"requester": cast.alice.uid, "owner": cast.charlie.uid, "owner_name": "Charlie"}
    about = {"title": "Old TLS", "justification": "Because.", "severity": "low", "systems": [cast.trading.pk]}
    SecurityException.objects.create(
        id="EXC-0", decision="approved", expires_at=later, original_expires_at=later, requested_index=0, last_index=0,
        **when, **who, **about,
    )  # fmt: skip
    other = {
        "id": "'EXC-' || lpad(n::text, 6, '0')",
        "requested_index": "n",
        "expires_at": "expires_at + n * interval '1 s' - CASE WHEN n % 20 = 0 THEN 90 ELSE 0 END * interval '1 day'",
        "decision": "CASE WHEN n % 20 = 0 OR n % 2 = 1 THEN 'approved' ELSE 'remediated' END",
    }
    columns = [str(field.column) for field in SecurityException._meta.concrete_fields]
    values = ", ".join(other.get(column, column) for column in columns)
    with connection.cursor() as cursor:
        table = f"exceptions_securityexception ({', '.join(columns)})"
        rows = f"exceptions_securityexception, generate_series(1, {MANY}) AS n"
        cursor.execute(f"INSERT INTO {table} SELECT {values} FROM {rows}")
        cursor.execute("ANALYZE exceptions_securityexception")


def test_a_round_reads_what_is_due_and_no_more(ledger: Any, django_assert_num_queries: Any) -> None:
    cast, now = assemble(), datetime.now(UTC)
    now += timedelta(days=8 - now.weekday())  # a Tuesday: who is chased about many is asked too
    fill(cast, now)
    assert SecurityException.objects.count() == MANY + 1
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
