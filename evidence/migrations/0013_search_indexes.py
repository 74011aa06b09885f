"""Search by outcome, and by time in the order of time, costs a page and not the table.

Built beside running writes (CONCURRENTLY), so that a large ledger goes on meanwhile.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("evidence", "0012_sign_off_requests")]
    operations = [
        AddIndexConcurrently(
            "record",
            # GET records?outcome=, newest first
            models.Index(
                fields=["outcome", "index"], condition=models.Q(outcome__isnull=False), name="record_outcome"
            ),
        ),
        AddIndexConcurrently(
            "record",
            # GET records?from=&to=, populations: a batch's records share their time, the index tells them apart
            models.Index(fields=["occurred", "index"], name="record_happened"),
        ),
        RemoveIndexConcurrently("record", "record_occurred"),
    ]
