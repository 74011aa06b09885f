"""The service's own keys over time: each row follows from its records, begins with one and ends once with another."""

from django.db import migrations, models

SQL = r"""
SET LOCAL lock_timeout = '5s';
ALTER TABLE public.evidence_signingkey
    DROP COLUMN id,
    DROP CONSTRAINT evidence_signingkey_key_id_key,
    ADD PRIMARY KEY (key_id),
    ADD COLUMN started_by bigint,
    ADD COLUMN ended_by bigint,
    ADD COLUMN ending varchar(10) NOT NULL DEFAULT '';
DO $$
DECLARE
    index_of_like text;
BEGIN
    FOR index_of_like IN SELECT indexname FROM pg_indexes
            WHERE schemaname = 'public' AND tablename = 'evidence_signingkey' AND indexname LIKE '%_like' LOOP
        EXECUTE format('DROP INDEX public.%I', index_of_like);
    END LOOP;
END $$;
UPDATE public.evidence_signingkey k SET started_by = (
    SELECT min(r."index") FROM public.evidence_record r
    WHERE r.kind = 'key.created' AND r.facts ->> 'key_id' = k.key_id);
ALTER TABLE public.evidence_signingkey
    ALTER COLUMN started_by SET NOT NULL,
    ALTER COLUMN ending DROP DEFAULT,
    ADD CONSTRAINT signingkey_ends_whole CHECK (
        (to_size IS NULL AND ended_by IS NULL AND ending = '')
        OR (to_size IS NOT NULL AND ended_by IS NOT NULL AND ending IN ('retired', 'revoked', 'lost')));

-- A key begins and ends with a record of the ledger, and nothing else about it ever changes.
CREATE FUNCTION public.evidence_signingkey_changes() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    kind text;
BEGIN
    SELECT convert_from(leaf, 'UTF8')::jsonb ->> 'kind' INTO kind FROM public.evidence_entry
        WHERE "index" = CASE TG_OP WHEN 'INSERT' THEN NEW.started_by ELSE NEW.ended_by END;
    IF TG_OP = 'INSERT' THEN
        IF NEW.to_size IS NOT NULL OR kind IS NULL OR kind NOT IN ('key.created', 'key.rotated') THEN
            RAISE EXCEPTION 'key % begins only by a key.created or key.rotated record', NEW.key_id
                USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF (NEW.key_id, NEW.purpose, NEW.public_key, NEW.from_size, NEW.started_by)
          IS DISTINCT FROM (OLD.key_id, OLD.purpose, OLD.public_key, OLD.from_size, OLD.started_by)
          OR OLD.to_size IS NOT NULL OR NEW.to_size IS NULL
          OR kind IS NULL OR kind NOT IN ('key.retired', 'key.revoked', 'key.rotated') THEN
        RAISE EXCEPTION 'key % does not change: it ends once, by a record of the ledger', OLD.key_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER signingkey_guard BEFORE INSERT OR UPDATE ON public.evidence_signingkey
    FOR EACH ROW EXECUTE FUNCTION public.evidence_signingkey_changes();
CREATE TRIGGER signingkey_stays BEFORE DELETE ON public.evidence_signingkey
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER signingkey_no_truncate BEFORE TRUNCATE ON public.evidence_signingkey
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();
ALTER TABLE public.evidence_signingkey ENABLE ALWAYS TRIGGER signingkey_guard;
ALTER TABLE public.evidence_signingkey ENABLE ALWAYS TRIGGER signingkey_stays;
ALTER TABLE public.evidence_signingkey ENABLE ALWAYS TRIGGER signingkey_no_truncate;
"""

STATE = [
    migrations.AlterField("signingkey", "key_id", models.CharField(max_length=200, primary_key=True, serialize=False)),
    migrations.RemoveField("signingkey", "id"),
    migrations.AddField(
        "signingkey",
        "started_by",
        models.BigIntegerField(help_text="Index of its key.created or key.rotated record", default=0),
        preserve_default=False,
    ),
    migrations.AddField(
        "signingkey", "ended_by", models.BigIntegerField(help_text="Index of the record that ended it", null=True)
    ),
    migrations.AddField(
        "signingkey",
        "ending",
        models.CharField(
            blank=True,
            choices=[("", "in force"), ("retired", "retired"), ("revoked", "revoked"), ("lost", "lost")],
            default="",
            max_length=10,
        ),
    ),
]


class Migration(migrations.Migration):
    dependencies = [("evidence", "0003_authority_and_tile_roots")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(SQL, migrations.RunSQL.noop)], state_operations=STATE
        )
    ]
