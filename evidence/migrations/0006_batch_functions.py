"""One batch in two calls: what `evidence/ledger/head.py` asks and what `evidence/ledger/rows.py` writes.

The functions have no rights of their own (SECURITY INVOKER) and promise nothing: triggers and grants do. They are here
because each statement of a batch would else be parsed, sent and answered by itself. Every statement of a volatile
function sees what was committed before it ran, so those after the lock see what the last batch wrote.
"""

from django.db import migrations

SQL = r"""
SET LOCAL lock_timeout = '5s';

-- Holds that keep what arrives, and whether writes are refused at all, move the epoch too (migration 0003).
CREATE TRIGGER hold_moves_epoch AFTER INSERT OR UPDATE ON public.evidence_hold
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_authority_changed();
CREATE TRIGGER standing_moves_epoch AFTER UPDATE ON public.evidence_standing
    FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_authority_changed();
ALTER TABLE public.evidence_hold ENABLE ALWAYS TRIGGER hold_moves_epoch;
ALTER TABLE public.evidence_standing ENABLE ALWAYS TRIGGER standing_moves_epoch;

-- Lock the head, then answer all that a batch has to ask. Keys in force, holds and standing are answered only to who does
-- not know them from `seen_epoch`. `known_*`: for the asked idempotency keys that exist, their
-- place in the question (from 1), their request (NULL once disposed of) and their record. `files`: places of the asked
-- (system, SHA-256) pairs that are artifacts.
CREATE FUNCTION public.evidence_begin(
    seen_epoch bigint, principals text[], macs bytea[], systems text[], digests text[],
    OUT size bigint, OUT root bytea, OUT frontier bytea, OUT last_at timestamptz, OUT now timestamptz,
    OUT epoch bigint, OUT log_keys text[], OUT record_keys text[], OUT holds boolean,
    OUT read_only_code text, OUT read_only_reason text,
    OUT known_places bigint[], OUT known_requests bytea[], OUT known_indexes bigint[], OUT files bigint[]
) LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    SELECT h.size, h.root, h.frontier, h.last_at INTO size, root, frontier, last_at
        FROM public.evidence_head h WHERE h.id = 1 FOR UPDATE;
    SELECT clock_timestamp(), a.epoch INTO now, epoch FROM public.evidence_authority a WHERE a.id = 1;
    IF epoch IS DISTINCT FROM seen_epoch THEN
        SELECT array_agg(k.key_id ORDER BY k.from_size, k.key_id) FILTER (WHERE k.purpose = 'log'),
               array_agg(k.key_id ORDER BY k.from_size, k.key_id) FILTER (WHERE k.purpose = 'record')
            INTO log_keys, record_keys FROM public.evidence_signingkey k WHERE k.to_size IS NULL;
        SELECT s.read_only_code, s.read_only_reason INTO read_only_code, read_only_reason
            FROM public.evidence_standing s WHERE s.id = 1;
        holds := EXISTS (SELECT FROM public.evidence_hold h WHERE h.record IS NULL AND h.released_by IS NULL);
    END IF;
    IF cardinality(macs) > 0 THEN
        SELECT array_agg(asked.place), array_agg(i.request_mac), array_agg(i."index")
            INTO known_places, known_requests, known_indexes
            FROM unnest(principals, macs) WITH ORDINALITY AS asked(principal, mac, place)
            JOIN public.evidence_idempotency i ON i.principal = asked.principal AND i.key_mac = asked.mac;
    END IF;
    IF cardinality(digests) > 0 THEN
        SELECT array_agg(asked.place) INTO files
            FROM unnest(systems, digests) WITH ORDINALITY AS asked(system, digest, place)
            JOIN public.evidence_artifact f ON f.system_id = asked.system AND f.sha256 = asked.digest;
    END IF;
END $$;

-- Insert records `first` to `new_size` - 1 and raise the head: first, since entries may only lie below its size. `note`
-- is the signed checkpoint where the batch ends with them, else NULL.
-- `scopes` and `subjects` hold arrays as text: rows of unequal length do not fit into one array of arrays.
CREATE FUNCTION public.evidence_append(
    first bigint, new_size bigint, new_root bytea, new_frontier bytea, received timestamptz,
    leaves bytea[], leaf_hashes bytea[], salts bytea[], contexts bytea[], envelopes bytea[], codecs smallint[],
    classes text[], untils timestamptz[], key_macs bytea[], request_macs bytea[],
    kinds text[], occurreds timestamptz[], principals text[], scopes text[], releases text[], subjects text[],
    outcomes text[], facts text[], signers text[], note text
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE public.evidence_head SET size = new_size, root = new_root, frontier = new_frontier, last_at = received
        WHERE id = 1;
    INSERT INTO public.evidence_entry ("index", leaf, leaf_hash)
        SELECT first + n - 1, l, h FROM unnest(leaves, leaf_hashes) WITH ORDINALITY AS t(l, h, n);
    INSERT INTO public.evidence_payload ("index", salt, context, envelope, codec, retention_class, retain_until)
        SELECT first + n - 1, s, c, e, d, r, u
        FROM unnest(salts, contexts, envelopes, codecs, classes, untils) WITH ORDINALITY AS t(s, c, e, d, r, u, n);
    INSERT INTO public.evidence_idempotency (principal, key_mac, request_mac, "index")
        SELECT p, k, r, first + n - 1
        FROM unnest(principals, key_macs, request_macs) WITH ORDINALITY AS t(p, k, r, n) WHERE k IS NOT NULL;
    INSERT INTO public.evidence_record
        ("index", kind, at, occurred, principal, scope, release, subjects, outcome, facts, signed_by)
        SELECT first + n - 1, k, received, o, p, s::text[], r, u::text[], c, f::jsonb, b
        FROM unnest(kinds, occurreds, principals, scopes, releases, subjects, outcomes, facts, signers)
            WITH ORDINALITY AS t(k, o, p, s, r, u, c, f, b, n);
    IF note IS NOT NULL THEN
        INSERT INTO public.evidence_note (size, text) VALUES (new_size, note);
    END IF;
END $$;

-- What ends a batch whose rows are in already, and the tiles that it filled.
CREATE FUNCTION public.evidence_append_note(new_size bigint, note text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.evidence_note (size, text) VALUES (new_size, note)
$$;
CREATE FUNCTION public.evidence_append_tile(new_level int, new_number bigint, new_hashes bytea) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.evidence_tile (level, number, hashes) VALUES (new_level::smallint, new_number, new_hashes)
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("evidence", "0005_anchors")]
    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
