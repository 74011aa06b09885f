"""A pipeline's key signs the records between two others: times are shared by all records of a batch, indexes are not.

Rows go on as they stand: 0 where no record added or ended a key. `check_ledger` names these rows before and after.
"""

from django.db import migrations, models

SQL = r"""
SET LOCAL lock_timeout = '5s';
ALTER TABLE public.evidence_pipelinekey ADD COLUMN from_index bigint, ADD COLUMN to_index bigint;
UPDATE public.evidence_pipelinekey k SET
    from_index = coalesce((
        SELECT min(r."index") FROM public.evidence_record r
        WHERE r.kind = 'key.added' AND r.facts ->> 'key_id' = k.key_id), 0),
    to_index = CASE WHEN k.valid_until IS NOT NULL THEN coalesce((
        SELECT min(r."index") FROM public.evidence_record r
        WHERE r.kind = 'key.revoked' AND r.facts ->> 'key_id' = k.key_id AND r.facts ->> 'purpose' IS NULL), 0) END;
ALTER TABLE public.evidence_pipelinekey
    ALTER COLUMN from_index SET NOT NULL,
    ADD CONSTRAINT pipelinekey_ends_whole CHECK (
        (to_index IS NULL AND valid_until IS NULL) OR (to_index IS NOT NULL AND valid_until IS NOT NULL));
"""

STATE = [
    migrations.AddField(
        "pipelinekey",
        "from_index",
        models.BigIntegerField(help_text="Index of its key.added record", default=0),
        preserve_default=False,
    ),
    migrations.AddField(
        "pipelinekey",
        "to_index",
        models.BigIntegerField(blank=True, help_text="Index of the key.revoked record that ended it", null=True),
    ),
    migrations.AddConstraint(
        "pipelinekey",
        models.CheckConstraint(
            condition=models.Q(("to_index__isnull", True), ("valid_until__isnull", True))
            | models.Q(("to_index__isnull", False), ("valid_until__isnull", False)),
            name="pipelinekey_ends_whole",
        ),
    ),
]


class Migration(migrations.Migration):
    dependencies = [("evidence", "0009_batch_by_index")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(SQL, migrations.RunSQL.noop)], state_operations=STATE
        )
    ]
