"""Anchors: what was published outside, and whether writes are refused because of it (docs/ledger.md, "Anchors")."""

from django.db import migrations, models
from django.db.models.functions import Now

SQL = r"""
SET LOCAL lock_timeout = '5s';
ALTER TABLE public.evidence_anchor ADD CONSTRAINT anchor_root_size CHECK (length(root) = 32);

-- Only what a signed checkpoint says can be called published, and only after an anchor that is there.
CREATE FUNCTION public.evidence_anchor_inserted() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM public.evidence_note n WHERE n.size = NEW.size
                   AND split_part(n.text, E'\n', 2) = NEW.size::text
                   AND split_part(n.text, E'\n', 3) = encode(NEW.root, 'base64')) THEN
        RAISE EXCEPTION 'anchor %: the log has no checkpoint of that size and root', NEW.size
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.previous IS NOT NULL AND (NEW.previous >= NEW.size OR NOT EXISTS
       (SELECT 1 FROM public.evidence_anchor a WHERE a.size = NEW.previous)) THEN
        RAISE EXCEPTION 'anchor %: there is no anchor % before it', NEW.size, NEW.previous
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER anchor_in_order BEFORE INSERT ON public.evidence_anchor
    FOR EACH ROW EXECUTE FUNCTION public.evidence_anchor_inserted();
CREATE TRIGGER anchor_append_only BEFORE UPDATE OR DELETE ON public.evidence_anchor
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER anchor_no_truncate BEFORE TRUNCATE ON public.evidence_anchor
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();

ALTER TABLE public.evidence_standing ADD CONSTRAINT standing_is_one_row CHECK (id = 1);
ALTER TABLE public.evidence_standing ADD CONSTRAINT standing_says_why
    CHECK ((read_only_code = '') = (read_only_reason = '') AND (read_only_code = '') = (since IS NULL));
INSERT INTO public.evidence_standing (id, read_only_code, read_only_reason) VALUES (1, '', '');
CREATE TRIGGER standing_stays BEFORE INSERT OR DELETE ON public.evidence_standing
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER standing_no_truncate BEFORE TRUNCATE ON public.evidence_standing
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();

ALTER TABLE public.evidence_anchor ENABLE ALWAYS TRIGGER anchor_in_order;
ALTER TABLE public.evidence_anchor ENABLE ALWAYS TRIGGER anchor_append_only;
ALTER TABLE public.evidence_anchor ENABLE ALWAYS TRIGGER anchor_no_truncate;
ALTER TABLE public.evidence_standing ENABLE ALWAYS TRIGGER standing_stays;
ALTER TABLE public.evidence_standing ENABLE ALWAYS TRIGGER standing_no_truncate;
"""


class Migration(migrations.Migration):
    dependencies = [("evidence", "0004_signing_keys")]
    operations = [
        migrations.CreateModel(
            name="Anchor",
            fields=[
                ("size", models.BigIntegerField(primary_key=True, serialize=False)),
                ("root", models.BinaryField()),
                ("previous", models.BigIntegerField(null=True)),
                ("key", models.CharField(max_length=200)),
                ("version_id", models.CharField(max_length=200)),
                ("published_at", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "evidence_anchor"},
        ),
        migrations.CreateModel(
            name="Standing",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("read_only_code", models.CharField(blank=True, max_length=40)),
                ("read_only_reason", models.TextField(blank=True)),
                ("since", models.DateTimeField(null=True)),
            ],
            options={"db_table": "evidence_standing"},
        ),
        migrations.RunSQL(SQL, migrations.RunSQL.noop),
    ]
