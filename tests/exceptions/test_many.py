"""A hundred thousand exceptions: a round reads what is due, by an index, in bounded memory."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from exceptions import policy, reminders
from exceptions.models import Reminder, SecurityException
from tests.cast import assemble

MANY, DUE = 100_000, 5_000
#: One in twenty expires within a fortnight, half of the others later; what is left is closed.
_FILL = """
INSERT INTO exceptions_securityexception (
  id, title, justification, severity, systems, requirements, compensating_controls, decision, requester, owner,
  owner_name, approvals_needed, requested_at, effective_from, term_from, expires_at, original_expires_at,
  renewals_made, renewal_pending, requested_index, last_index, reference, imported_by)
SELECT 'EXC-' || lpad(n::text, 6, '0'), 'Old TLS', 'Because.', 'low', ARRAY['sys'], '{}', '[]',
  CASE WHEN n %% 20 = 0 OR n %% 2 = 1 THEN 'approved' ELSE 'remediated' END, %s, %s, 'Charlie', 1, %s, %s, %s, e, e,
  0, false, n, n, '', ''
FROM (SELECT n, %s + CASE WHEN n %% 20 = 0 THEN interval '10 days' ELSE interval '100 days' END
  + n * interval '1 second' AS e FROM generate_series(1, %s) AS n) AS made
"""


def test_a_round_reads_what_is_due_and_no_more(ledger: Any, django_assert_num_queries: Any) -> None:
    cast, now = assemble(), datetime.now(UTC)
    now += timedelta(days=8 - now.weekday())  # a Tuesday: who is chased about many is asked too
    begun = now - timedelta(days=100)
    with connection.cursor() as cursor:
        cursor.execute(_FILL, [cast.alice.uid, cast.charlie.uid, begun, begun, begun, now, MANY])
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
