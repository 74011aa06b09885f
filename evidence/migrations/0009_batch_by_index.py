"""`evidence_begin` finds its keys and files by index, whatever statistics say.

A plan that was made while the tables were empty reads all of `evidence_idempotency` for each batch, until they are
analyzed the first time: with 30,000 records that was 2.5 ms of a write (docs/performance.md).
"""

from django.db import migrations

BEGIN = "public.evidence_begin(bigint, text[], bytea[], text[], text[])"
SETTINGS = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")


class Migration(migrations.Migration):
    dependencies = [("evidence", "0008_pipeline_keys_are_projections")]
    operations = [
        migrations.RunSQL(
            f"SET LOCAL lock_timeout = '5s'; ALTER FUNCTION {BEGIN} "
            + " ".join(f"SET {setting} = off" for setting in SETTINGS),
            f"SET LOCAL lock_timeout = '5s'; ALTER FUNCTION {BEGIN} "
            + " ".join(f"RESET {setting}" for setting in SETTINGS),
        )
    ]
