"""What the write path asks once for each batch: did anybody's rights change, and the root of each full tile."""

import django.db.models.expressions
from django.db import migrations, models

# Who may do what, and which keys and releases count, follows from these tables. A process remembers what it read of
# them together with `epoch`; a batch compares it under the head lock, so that a change counts at once everywhere.
AUTHORITY = r"""
SET LOCAL lock_timeout = '5s';
ALTER TABLE public.evidence_authority ADD CONSTRAINT authority_is_one_row CHECK (id = 1);
INSERT INTO public.evidence_authority (id, epoch) VALUES (1, 1);
CREATE FUNCTION public.evidence_authority_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE public.evidence_authority SET epoch = epoch + 1 WHERE id = 1;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION public.evidence_authority_changed() FROM PUBLIC;
DO $$
DECLARE
    watched text[] := ARRAY[
        'evidence_token',            'INSERT OR DELETE OR UPDATE',
        'evidence_user',             'INSERT OR DELETE OR UPDATE OF is_active, roles, uid',
        'evidence_user_systems',     'INSERT OR DELETE OR UPDATE',
        'evidence_pipeline',         'INSERT OR DELETE OR UPDATE',
        'evidence_pipeline_systems', 'INSERT OR DELETE OR UPDATE',
        'evidence_pipelinekey',      'INSERT OR DELETE OR UPDATE',
        'evidence_system',           'INSERT OR DELETE OR UPDATE',
        'evidence_release',          'INSERT OR DELETE OR UPDATE OF state, system_id',
        'evidence_signingkey',       'INSERT OR DELETE OR UPDATE'];
BEGIN
    FOR n IN 1 .. array_length(watched, 1) BY 2 LOOP
        EXECUTE format('CREATE TRIGGER authority_changed AFTER %s ON public.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_authority_changed()',
                       watched[n + 1], watched[n]);
        EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER authority_changed', watched[n]);
    END LOOP;
END $$;
"""

# A proof near the right edge needs the roots of full tiles, not their 8 KB: RFC 6962 section 2.1, computed here.
TILE_ROOT = r"""
CREATE FUNCTION public.evidence_tile_root(hashes bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE
    level bytea := hashes;
    above bytea;
BEGIN
    WHILE length(level) > 32 LOOP
        above := ''::bytea;
        FOR pair IN 0 .. length(level) / 64 - 1 LOOP
            above := above || sha256('\x01'::bytea || substring(level FROM pair * 64 + 1 FOR 64));
        END LOOP;
        level := above;
    END LOOP;
    RETURN level;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("evidence", "0002_guards")]
    operations = [
        migrations.CreateModel(
            name="Authority",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("epoch", models.BigIntegerField()),
            ],
            options={"db_table": "evidence_authority"},
        ),
        migrations.RunSQL(AUTHORITY, migrations.RunSQL.noop),
        migrations.RunSQL(TILE_ROOT, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="tile",
            name="root",
            field=models.GeneratedField(
                db_persist=True,
                expression=django.db.models.expressions.Func(models.F("hashes"), function="evidence_tile_root"),
                output_field=models.BinaryField(),
            ),
        ),
    ]
