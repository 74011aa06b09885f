"""Full tiles are made where their hashes lie: a batch that fills one reads nothing back."""

from django.db import migrations

SQL = r"""
SET LOCAL lock_timeout = '5s';

-- Insert the tiles that a log of `new_size` has and one of `old_size` had not, level by level (C2SP tlog-tiles).
CREATE FUNCTION public.evidence_fill_tiles(old_size bigint, new_size bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO public.evidence_tile (level, number, hashes)
        SELECT 0, "index" / 256, string_agg(leaf_hash, ''::bytea ORDER BY "index") FROM public.evidence_entry
        WHERE "index" >= old_size / 256 * 256 AND "index" < new_size / 256 * 256 GROUP BY "index" / 256;
    FOR above IN 1 .. 6 LOOP
        old_size := old_size / 256;
        new_size := new_size / 256;
        EXIT WHEN old_size / 256 = new_size / 256;
        INSERT INTO public.evidence_tile (level, number, hashes)
            SELECT above, number / 256, string_agg(root, ''::bytea ORDER BY number) FROM public.evidence_tile
            WHERE level = above - 1 AND number >= old_size / 256 * 256 AND number < new_size / 256 * 256
            GROUP BY number / 256;
    END LOOP;
END $$;

DROP FUNCTION public.evidence_append_tile(int, bigint, bytea);
"""

BACK = r"""
CREATE FUNCTION public.evidence_append_tile(new_level int, new_number bigint, new_hashes bytea) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.evidence_tile (level, number, hashes) VALUES (new_level::smallint, new_number, new_hashes)
$$;
DROP FUNCTION public.evidence_fill_tiles(bigint, bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("evidence", "0010_pipeline_keys_end_by_index")]
    operations = [migrations.RunSQL(SQL, BACK)]
