"""What is found by a digest or a system is in its index at once.

Left to a list first (the default for GIN), one write in twenty seconds worked off 4 MB of it, for half a second,
while it had the head locked and everybody waited (docs/performance.md).
"""

from django.contrib.postgres.indexes import GinIndex
from django.db import migrations

_INDEXES = {"record_subjects": "subjects", "record_scope": "scope"}


class Migration(migrations.Migration):
    dependencies = [("evidence", "0017_afterwards")]
    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        *(
            migrations.SeparateDatabaseAndState(
                [
                    migrations.RunSQL(
                        f"ALTER INDEX {name} SET (fastupdate = off); SELECT gin_clean_pending_list('{name}')",
                        f"ALTER INDEX {name} RESET (fastupdate)",
                    )
                ],
                [
                    migrations.RemoveIndex("record", name),
                    migrations.AddIndex("record", GinIndex(fields=[field], name=name, fastupdate=False)),
                ],
            )
            for name, field in _INDEXES.items()
        ),
    ]
