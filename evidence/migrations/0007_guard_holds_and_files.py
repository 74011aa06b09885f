"""Holds and files cannot be emptied at once either, and one `hold.released` record ends one hold."""

from django.db import migrations

SQL = r"""
SET LOCAL lock_timeout = '5s';
CREATE TRIGGER hold_no_truncate BEFORE TRUNCATE ON public.evidence_hold
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER holditem_no_truncate BEFORE TRUNCATE ON public.evidence_holditem
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER artifact_no_truncate BEFORE TRUNCATE ON public.evidence_artifact
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();
ALTER TABLE public.evidence_hold ENABLE ALWAYS TRIGGER hold_no_truncate;
ALTER TABLE public.evidence_holditem ENABLE ALWAYS TRIGGER holditem_no_truncate;
ALTER TABLE public.evidence_artifact ENABLE ALWAYS TRIGGER artifact_no_truncate;
CREATE UNIQUE INDEX hold_released_once ON public.evidence_hold (released_by);
"""


class Migration(migrations.Migration):
    dependencies = [("evidence", "0006_batch_functions")]
    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
