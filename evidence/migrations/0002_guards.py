"""The append-only promise, made by the database (design of docs/ledger.md, "What the database refuses").

Trigger functions name every table with its schema and put pg_temp last, so that neither a temporary table nor
a search_path of the session can stand in for a real one. Triggers are ENABLE ALWAYS.
"""

import hashlib

from django.db import migrations

SQL = r"""
SET LOCAL lock_timeout = '5s';

-- 1. Entries, partitioned by index, one million to a partition -----------------------------------------------
CREATE TABLE public.evidence_entry (
    "index" bigint PRIMARY KEY,
    leaf bytea NOT NULL,
    leaf_hash bytea NOT NULL,
    CONSTRAINT entry_leaf_hash CHECK (leaf_hash = sha256('\x00'::bytea || leaf)),
    CONSTRAINT entry_leaf_size CHECK (length(leaf) BETWEEN 1 AND 65535)
) PARTITION BY RANGE ("index");

CREATE FUNCTION public.evidence_refuse() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

-- An entry may only lie below the head's size, which the same transaction has just raised: with the primary key
-- and the deferred count below, entries are exactly 0 to size-1, whatever a session tries.
CREATE FUNCTION public.evidence_entry_inserted() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    highest bigint; lowest bigint; head_size bigint;
BEGIN
    SELECT max("index"), min("index") INTO highest, lowest FROM added;
    SELECT size INTO head_size FROM public.evidence_head WHERE id = 1;
    IF highest >= head_size OR lowest < 0 THEN
        RAISE EXCEPTION 'entry % is out of order: the log has % entries', highest, head_size
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION public.evidence_guard_entries(target regclass) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON %s
                    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse()', target);
    EXECUTE format('CREATE TRIGGER entry_in_order AFTER INSERT ON %s REFERENCING NEW TABLE AS added
                    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_entry_inserted()', target);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER entry_no_truncate', target);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER entry_in_order', target);
END $$;
REVOKE ALL ON FUNCTION public.evidence_guard_entries(regclass) FROM PUBLIC;
SELECT public.evidence_guard_entries('public.evidence_entry');
-- Row triggers of a partitioned table are inherited by each partition.
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE ON public.evidence_entry
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
ALTER TABLE public.evidence_entry ENABLE ALWAYS TRIGGER entry_append_only;

-- The appender calls this when the log nears the end of a partition; it runs as its owner, and always makes one ahead.
CREATE FUNCTION public.evidence_ensure_partitions(upto bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    part text;
    head_size bigint;
BEGIN
    SELECT size INTO head_size FROM public.evidence_head WHERE id = 1;
    IF upto < 0 OR upto > head_size + 1000000 THEN
        RAISE EXCEPTION 'partitions are made one ahead of size %, not up to %', head_size, upto;
    END IF;
    FOR n IN greatest(0, head_size / 1000000 - 1) .. upto / 1000000 + 1 LOOP
        part := format('evidence_entry_p%s', lpad(n::text, 6, '0'));
        IF to_regclass('public.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.evidence_entry
                            FOR VALUES FROM (%s) TO (%s)', part, n * 1000000::bigint, (n + 1) * 1000000::bigint);
            PERFORM public.evidence_guard_entries(('public.' || part)::regclass);
            EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER entry_append_only', part);
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION public.evidence_ensure_partitions(bigint) FROM PUBLIC;

-- 2. The head: one row that only grows -----------------------------------------------------------------------
ALTER TABLE public.evidence_head ADD CONSTRAINT head_is_one_row CHECK (id = 1);
ALTER TABLE public.evidence_head ADD CONSTRAINT head_root_size CHECK (length(root) = 32);
ALTER TABLE public.evidence_head ADD CONSTRAINT head_frontier_size
    CHECK (length(frontier) = 32 * bit_count(('\x' || lpad(to_hex(size), 16, '0'))::bytea));
INSERT INTO public.evidence_head (id, size, root, frontier, last_at)
    VALUES (1, 0, '\xEMPTY_ROOT', '', 'epoch');
SELECT public.evidence_ensure_partitions(0);

CREATE FUNCTION public.evidence_head_grows() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.size <= OLD.size OR NEW.last_at < OLD.last_at THEN
        RAISE EXCEPTION 'the log head only grows: size % to %, time % to %',
            OLD.size, NEW.size, OLD.last_at, NEW.last_at USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.evidence_head_is_filled() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    SELECT count(*) INTO found FROM public.evidence_entry WHERE "index" >= OLD.size AND "index" < NEW.size;
    IF found <> NEW.size - OLD.size THEN
        RAISE EXCEPTION 'the head claims entries % to %, of which % exist', OLD.size, NEW.size - 1, found
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER head_grows BEFORE UPDATE ON public.evidence_head
    FOR EACH ROW EXECUTE FUNCTION public.evidence_head_grows();
CREATE CONSTRAINT TRIGGER head_is_filled AFTER UPDATE ON public.evidence_head
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.evidence_head_is_filled();
CREATE TRIGGER head_stays BEFORE INSERT OR DELETE ON public.evidence_head
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER head_no_truncate BEFORE TRUNCATE ON public.evidence_head
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();

-- 3. Notes and full tiles: insert only, and only what the head covers ------------------------------------------
CREATE FUNCTION public.evidence_note_inserted() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.size <> (SELECT size FROM public.evidence_head WHERE id = 1) THEN
        RAISE EXCEPTION 'a note is written for the head''s size only, not for %', NEW.size
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.evidence_tile_inserted() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.level < 0 OR NEW.level > 6 OR NEW.number < 0
       OR (NEW.number + 1) * (256::numeric ^ (NEW.level + 1)) > (SELECT size FROM public.evidence_head WHERE id = 1) THEN
        RAISE EXCEPTION 'tile %/% is not full yet', NEW.level, NEW.number USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
ALTER TABLE public.evidence_tile ADD CONSTRAINT tile_is_full CHECK (length(hashes) = 8192);
CREATE TRIGGER note_in_order BEFORE INSERT ON public.evidence_note
    FOR EACH ROW EXECUTE FUNCTION public.evidence_note_inserted();
CREATE TRIGGER note_append_only BEFORE UPDATE OR DELETE ON public.evidence_note
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER note_no_truncate BEFORE TRUNCATE ON public.evidence_note
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER tile_in_order BEFORE INSERT ON public.evidence_tile
    FOR EACH ROW EXECUTE FUNCTION public.evidence_tile_inserted();
CREATE TRIGGER tile_append_only BEFORE UPDATE OR DELETE ON public.evidence_tile
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER tile_no_truncate BEFORE TRUNCATE ON public.evidence_tile
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();

-- 4. Payloads: kept until their date, longer under a hold; the date only grows ----------------------------------
-- The parameter has no name: "record" would mean the hold's own column.
CREATE FUNCTION public.evidence_is_held(bigint) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM public.evidence_holditem i JOIN public.evidence_hold h ON h.id = i.hold_id
                   WHERE i."index" = $1 AND h.released_by IS NULL)
$$;
CREATE FUNCTION public.evidence_payload_changes() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW."index" >= (SELECT size FROM public.evidence_head WHERE id = 1) OR NEW."index" < 0 THEN
            RAISE EXCEPTION 'payload % has no entry', NEW."index" USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    ELSIF TG_OP = 'UPDATE' THEN
        IF (NEW."index", NEW.salt, NEW.context, NEW.envelope, NEW.codec, NEW.retention_class)
           IS DISTINCT FROM (OLD."index", OLD.salt, OLD.context, OLD.envelope, OLD.codec, OLD.retention_class)
           OR NEW.retain_until < OLD.retain_until THEN
            RAISE EXCEPTION 'payload % does not change, and its retention only grows (now until %)',
                OLD."index", OLD.retain_until USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.retain_until > clock_timestamp() THEN
        RAISE EXCEPTION 'payload % is retained until %', OLD."index", OLD.retain_until
            USING ERRCODE = 'restrict_violation';
    ELSIF public.evidence_is_held(OLD."index") THEN
        RAISE EXCEPTION 'payload % is under a legal hold', OLD."index" USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER payload_guard BEFORE INSERT OR UPDATE OR DELETE ON public.evidence_payload
    FOR EACH ROW EXECUTE FUNCTION public.evidence_payload_changes();
CREATE TRIGGER payload_no_truncate BEFORE TRUNCATE ON public.evidence_payload
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_refuse();

-- 5. Holds: released only by a hold.released record of the ledger ------------------------------------------------
CREATE FUNCTION public.evidence_hold_changes() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.placed_by, NEW.reason, NEW.record, NEW.release, NEW.system)
       IS DISTINCT FROM (OLD.id, OLD.placed_by, OLD.reason, OLD.record, OLD.release, OLD.system)
       OR OLD.released_by IS NOT NULL OR NEW.released_by IS NULL
       OR NOT EXISTS (SELECT 1 FROM public.evidence_entry WHERE "index" = NEW.released_by
                      AND convert_from(leaf, 'UTF8')::jsonb ->> 'kind' = 'hold.released') THEN
        RAISE EXCEPTION 'hold % ends only by a hold.released record', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold_release BEFORE UPDATE ON public.evidence_hold
    FOR EACH ROW EXECUTE FUNCTION public.evidence_hold_changes();
CREATE TRIGGER hold_stays BEFORE DELETE ON public.evidence_hold
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();
CREATE TRIGGER holditem_stays BEFORE UPDATE OR DELETE ON public.evidence_holditem
    FOR EACH ROW EXECUTE FUNCTION public.evidence_refuse();

-- 6. Artifacts: identity fixed, retention only grows, confirmed ones stay until it ends --------------------------
CREATE FUNCTION public.evidence_artifact_changes() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.system_id, NEW.sha256) IS DISTINCT FROM (OLD.id, OLD.system_id, OLD.sha256)
           OR NEW.retain_until < OLD.retain_until OR (OLD.state = 'confirmed' AND
              (NEW.state, NEW.key, NEW.version_id, NEW.size) IS DISTINCT FROM (OLD.state, OLD.key, OLD.version_id, OLD.size))
        THEN
            RAISE EXCEPTION 'artifact % does not change, and its retention only grows', OLD.sha256
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.state = 'confirmed' AND (OLD.retain_until > clock_timestamp() OR EXISTS (
            SELECT 1 FROM public.evidence_record r WHERE r.subjects @> ARRAY[('sha256:' || OLD.sha256)::varchar]
            AND r.scope @> ARRAY[OLD.system_id] AND public.evidence_is_held(r."index"))) THEN
        RAISE EXCEPTION 'artifact % is retained', OLD.sha256 USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER artifact_guard BEFORE UPDATE OR DELETE ON public.evidence_artifact
    FOR EACH ROW EXECUTE FUNCTION public.evidence_artifact_changes();

DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT tgname, tgrelid::regclass AS tab FROM pg_trigger
             WHERE NOT tgisinternal AND tgenabled <> 'A' AND tgparentid = 0
             AND tgrelid::regclass::text LIKE 'evidence@_%' ESCAPE '@' LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.tab, t.tgname);
    END LOOP;
END $$;
""".replace("EMPTY_ROOT", hashlib.sha256(b"").hexdigest())


class Migration(migrations.Migration):
    dependencies = [("evidence", "0001_people_ledger_records")]
    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
