"""What the database refuses: tried as the runtime role, and as the owner of the tables."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection
from psycopg import errors

from evidence.checks import runtime_role_is_narrow
from evidence.ledger import Actor, append_all, service_draft
from evidence.models.people import SERVICE
from tests.conftest import Clone

Superuser = psycopg.Connection[Any]
DECISION = {"title": "t", "decision": "d", "rationale": "r"}
HASH = "sha256('x'::bytea)"
#: The hash of leaf 'x', which the table's own check asks for.
OF_X = "sha256('\\x00'::bytea || 'x'::bytea)"
TILE = "decode(repeat('00', 8192), 'hex')"
PAYLOAD = "'0123456789abcdef', '{}', 'x', 0, 'release-evidence', 'infinity'"

NO_RIGHT = errors.InsufficientPrivilege
#: What the triggers raise.
GUARDED = errors.RestrictViolation

#: What the runtime role has no right to, with the right that it lacks or not.
FORBIDDEN = {
    "change a leaf": "UPDATE evidence_entry SET leaf = 'x' WHERE index = 0",
    "delete a leaf": "DELETE FROM evidence_entry WHERE index = 2",
    "truncate entries": "TRUNCATE evidence_entry",
    "merge into entries": """
        MERGE INTO evidence_entry e USING (VALUES (0)) v (i) ON e.index = v.i
        WHEN MATCHED THEN UPDATE SET leaf = 'x'""",
    "upsert an entry": f"""
        INSERT INTO evidence_entry VALUES (0, 'x', {OF_X}) ON CONFLICT (index) DO UPDATE SET leaf = excluded.leaf""",
    "lock out readers": "BEGIN; LOCK TABLE evidence_entry IN ACCESS EXCLUSIVE MODE",
    "run a program": "COPY evidence_entry FROM PROGRAM 'true'",
    "delete the head": "DELETE FROM evidence_head",
    "second head": f"INSERT INTO evidence_head VALUES (2, 0, {HASH}, '', now())",
    "change a note": "UPDATE evidence_note SET text = 'x'",
    "upsert a note": """
        INSERT INTO evidence_note VALUES (3, 'x') ON CONFLICT (size) DO UPDATE SET text = excluded.text""",
    "delete a note": "DELETE FROM evidence_note",
    "change a tile": "UPDATE evidence_tile SET hashes = hashes",
    "truncate tiles": "TRUNCATE evidence_tile",
    "truncate payloads": "TRUNCATE evidence_payload",
    "change a payload": "UPDATE evidence_payload SET salt = 'x' WHERE index = 0",
    "change a retention class": "UPDATE evidence_payload SET retention_class = 'none' WHERE index = 0",
    "change the epoch": "UPDATE evidence_authority SET epoch = 1",
    "forget an idempotency key": "DELETE FROM evidence_idempotency",
    "delete an anchor": "DELETE FROM evidence_anchor",
    "truncate holds": "TRUNCATE evidence_hold, evidence_holditem",
    "disable triggers": "ALTER TABLE evidence_entry DISABLE TRIGGER ALL",
    "disable triggers of a partition": "ALTER TABLE evidence_entry_p000000 DISABLE TRIGGER USER",
    "enable for replicas only": "ALTER TABLE evidence_note ENABLE REPLICA TRIGGER note_append_only",
    "drop a trigger": "DROP TRIGGER head_grows ON evidence_head",
    "add a trigger": """
        CREATE TRIGGER aa BEFORE DELETE ON evidence_payload FOR EACH ROW EXECUTE FUNCTION evidence_refuse()""",
    "add a rule": "CREATE RULE r AS ON INSERT TO evidence_note DO INSTEAD NOTHING",
    "replace a guard": """
        CREATE OR REPLACE FUNCTION public.evidence_refuse() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RETURN OLD; END'""",
    "alter a guard": "ALTER FUNCTION public.evidence_refuse() SET search_path = pg_temp",
    "drop a check": "ALTER TABLE evidence_entry DROP CONSTRAINT entry_leaf_hash",
    "compute the tile root otherwise": "ALTER TABLE evidence_tile ALTER COLUMN root DROP EXPRESSION",
    "take a partition out": "ALTER TABLE evidence_entry DETACH PARTITION evidence_entry_p000000",
    "put a partition in": """
        CREATE TEMP TABLE mine (LIKE public.evidence_entry);
        ALTER TABLE evidence_entry ATTACH PARTITION mine FOR VALUES FROM (9000000) TO (10000000)""",
    "comment": "COMMENT ON TABLE evidence_entry IS 'x'",
    "replica role": "SET session_replication_role = 'replica'",
    "replica role for the transaction": "SET LOCAL session_replication_role = 'replica'",
    "replica role by function": "SELECT set_config('session_replication_role', 'replica', false)",
    "replica role from the next session on": "ALTER ROLE CURRENT_USER SET session_replication_role = 'replica'",
    "become the owner": "SET ROLE prooftrail_owner",
    "become the owner by function": "SELECT set_config('role', 'prooftrail_owner', false)",
    "be the owner": "SET SESSION AUTHORIZATION prooftrail_owner",
    "join the owner": "GRANT prooftrail_owner TO CURRENT_USER",
    "rights by default": "ALTER DEFAULT PRIVILEGES FOR ROLE prooftrail_owner GRANT ALL ON TABLES TO PUBLIC",
    "function in the schema": "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "view in the schema": "CREATE VIEW public.v AS SELECT 1",
    "another schema": "CREATE SCHEMA elsewhere",
    "an extension": "CREATE EXTENSION file_fdw",
    "guard something": "SELECT evidence_guard_entries('evidence_entry')",
    "change through a view of one's own": """
        CREATE TEMP VIEW mine AS SELECT * FROM public.evidence_entry;
        UPDATE mine SET leaf = 'x' WHERE index = 0""",
    "change through a function of one's own": """
        CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SECURITY DEFINER AS
            'UPDATE public.evidence_entry SET leaf = ''x'' WHERE index = 0';
        SELECT pg_temp.f()""",
    "a trigger that runs as the owner, on a table of one's own": """
        CREATE TEMP TABLE mine (n int);
        CREATE TRIGGER t AFTER INSERT ON mine
            FOR EACH STATEMENT EXECUTE FUNCTION public.evidence_authority_changed()""",
} | {
    f"{verb.lower().split()[0]} in partition {number}": f"{verb.format(part=f'evidence_entry_p00000{number}')}"
    for number in (0, 1)
    for verb in (
        "UPDATE {part} SET leaf = 'x'",
        "DELETE FROM {part}",
        "TRUNCATE {part}",
        f"INSERT INTO {{part}} VALUES ({number}000003, 'x', {OF_X})",
    )
}

#: What it has the right to do, and a guard refuses.
REFUSED = {
    "insert beyond the head": (GUARDED, f"INSERT INTO evidence_entry VALUES (3, 'x', {OF_X})"),
    "insert far beyond": (GUARDED, f"INSERT INTO evidence_entry VALUES (9, 'x', {OF_X})"),
    "insert into the next partition": (GUARDED, f"INSERT INTO evidence_entry VALUES (1000000, 'x', {OF_X})"),
    "insert before the first": (errors.CheckViolation, f"INSERT INTO evidence_entry VALUES (-1, 'x', {OF_X})"),
    "insert in the past": (errors.UniqueViolation, f"INSERT INTO evidence_entry VALUES (1, 'x', {OF_X})"),
    "insert a wrong hash": (errors.CheckViolation, f"INSERT INTO evidence_entry VALUES (3, 'x', {HASH})"),
    "shrink the head": (GUARDED, "UPDATE evidence_head SET size = 2, frontier = frontier"),
    "same size, other root": (GUARDED, f"UPDATE evidence_head SET root = {HASH}"),
    "a frontier that does not fit": (errors.CheckViolation, "UPDATE evidence_head SET size = 4"),
    "turn the clock back": (
        GUARDED,
        f"UPDATE evidence_head SET size = 4, frontier = {HASH}, last_at = last_at - interval '1 second'",
    ),
    "grow without entries": (GUARDED, f"UPDATE evidence_head SET size = 4, frontier = {HASH}"),
    "grow without entries, asked late": (
        GUARDED,
        f"""BEGIN; SET CONSTRAINTS ALL DEFERRED;
        UPDATE evidence_head SET size = 4, frontier = {HASH}; COMMIT""",
    ),
    "note for another size": (GUARDED, "INSERT INTO evidence_note VALUES (2, 'x')"),
    "second note": (errors.UniqueViolation, "INSERT INTO evidence_note VALUES (3, 'x')"),
    "tile that is not full": (GUARDED, f"INSERT INTO evidence_tile VALUES (0, 0, {TILE})"),
    "tile with a root of one's own": (
        errors.GeneratedAlways,
        f"INSERT INTO evidence_tile (level, number, hashes, root) VALUES (0, 0, {TILE}, {HASH})",
    ),
    "payload without an entry": (GUARDED, f"INSERT INTO evidence_payload VALUES (3, {PAYLOAD})"),
    "second payload": (errors.UniqueViolation, f"INSERT INTO evidence_payload VALUES (0, {PAYLOAD})"),
    "delete a payload early": (GUARDED, "DELETE FROM evidence_payload WHERE index = 0"),
    "shorten retention": (GUARDED, "UPDATE evidence_payload SET retain_until = now() WHERE index = 0"),
    "anchor of what was never signed": (
        GUARDED,
        f"INSERT INTO evidence_anchor (size, root, key, version_id) VALUES (3, {HASH}, 'k', 'v')",
    ),
    "partitions far ahead": (errors.RaiseException, "SELECT evidence_ensure_partitions(100000000)"),
    "shadow the head": (
        GUARDED,
        f"""CREATE TEMP TABLE evidence_head AS SELECT 1::smallint AS id, 99::bigint AS size;
        INSERT INTO public.evidence_entry VALUES (3, 'x', {OF_X})""",
    ),
    "shadow the holds and the clock": (
        GUARDED,
        """CREATE TEMP TABLE evidence_hold (id text); CREATE TEMP TABLE evidence_holditem (id text);
        CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz
            LANGUAGE sql AS $$SELECT 'infinity'::timestamptz$$;
        SET search_path = pg_temp, pg_catalog, public;
        DELETE FROM public.evidence_payload WHERE index = 0""",
    ),
    "search path": (
        GUARDED,
        "SET search_path = pg_temp, public; DELETE FROM public.evidence_payload WHERE index = 0",
    ),
    "search path by function, for the transaction": (
        GUARDED,
        """BEGIN; SELECT set_config('search_path', 'pg_temp', true);
        DELETE FROM public.evidence_payload WHERE index = 0""",
    ),
    "constraints, rows and types of one's own": (
        GUARDED,
        """SET check_function_bodies = off; SET row_security = off; SET transform_null_equals = on;
        SET standard_conforming_strings = off; SET TimeZone = 'Etc/GMT+12'; SET IntervalStyle = 'iso_8601';
        CREATE DOMAIN pg_temp.bigint AS pg_catalog.int8;
        DELETE FROM public.evidence_payload WHERE index = 0""",
    ),
    "delete through a view of one's own": (
        GUARDED,
        "CREATE TEMP VIEW mine AS SELECT * FROM public.evidence_payload; DELETE FROM mine WHERE index = 0",
    ),
    "delete through a function of one's own": (
        GUARDED,
        """CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN DELETE FROM public.evidence_payload WHERE index = 0; END $$; SELECT pg_temp.f()""",
    ),
}

COPIED = {
    "entries": (GUARDED, "evidence_entry", "3\tx\t\\\\x{of_x}\n"),
    "a partition": (NO_RIGHT, "evidence_entry_p000000", "3\tx\t\\\\x{of_x}\n"),
    "the next partition": (NO_RIGHT, "evidence_entry_p000001", "1000000\tx\t\\\\x{of_x}\n"),
    "payloads": (GUARDED, "evidence_payload", "3\t0123456789abcdef\t{{}}\tx\t0\trelease-evidence\tinfinity\n"),
    "notes": (GUARDED, "evidence_note", "2\tx\n"),
    "tiles": (GUARDED, "evidence_tile (level, number, hashes)", "0\t0\t\\\\x{zeros}\n"),
    "the head": (NO_RIGHT, "evidence_head", ""),
}


@pytest.fixture
def log(ledger: Clone) -> Clone:
    append_all([service_draft("decision", DECISION, actor=Actor(SERVICE)) for _ in range(3)])
    return ledger


def _state(ledger: Clone) -> list[Sequence[Any]]:
    tables = ("head", "entry", "note", "payload", "tile", "authority", "hold", "holditem", "anchor", "idempotency")
    with ledger.superuser() as superuser:
        rows = [superuser.execute(f"SELECT * FROM evidence_{table} ORDER BY 1").fetchall() for table in tables]
        triggers = superuser.execute("SELECT tgrelid, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2").fetchall()
    return [*rows, triggers]


def _refused(url: str, statement: str) -> str:
    """The class of the error, once the transaction that met it is over."""
    with psycopg.connect(url, autocommit=True) as session:
        try:
            session.execute(statement)
        except psycopg.Error as error:
            return type(error).__name__
    return "nothing refused it"


def test_it_gives_the_runtime_role_no_right_to_what_it_never_needs(log: Clone) -> None:
    before = _state(log)
    answers = {attempt: _refused(log.runtime_url, statement) for attempt, statement in FORBIDDEN.items()}
    assert answers == dict.fromkeys(FORBIDDEN, NO_RIGHT.__name__)
    assert _state(log) == before


def test_its_guards_refuse_what_the_runtime_role_may_try(log: Clone) -> None:
    before = _state(log)
    answers = {attempt: _refused(log.runtime_url, statement) for attempt, (_, statement) in REFUSED.items()}
    assert answers == {attempt: error.__name__ for attempt, (error, _) in REFUSED.items()}
    assert _state(log) == before


@pytest.mark.parametrize("target", COPIED)
def test_it_refuses_copy(log: Clone, target: str) -> None:
    error, table, row = COPIED[target]
    with psycopg.connect(log.runtime_url, autocommit=True) as runtime:
        found = runtime.execute(f"SELECT encode({OF_X}, 'hex')").fetchone()
        assert found is not None
        with pytest.raises(error), runtime.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            copy.write(row.format(of_x=found[0], zeros="00" * 8192))


def test_settings_of_a_session_do_not_change_what_is_computed(log: Clone) -> None:
    """The body of the function holds a backslash, which a session may read in two ways."""
    root = f"SELECT evidence_tile_root({TILE})"
    with psycopg.connect(log.runtime_url, autocommit=True) as runtime:
        usual = runtime.execute(root).fetchone()
    with psycopg.connect(log.runtime_url, autocommit=True) as runtime:
        runtime.execute("SET standard_conforming_strings = off; SET bytea_output = 'escape'")
        assert runtime.execute(root).fetchone() == usual


# -- whoever asks ------------------------------------------------------------------------------------------------------


def test_it_refuses_the_owner_too_on_every_partition(log: Clone, superuser: Superuser, owner: Superuser) -> None:
    """Until the owner switches triggers off, which the service notices when it starts."""
    _into_second_partition(superuser)
    second = f"VALUES (1000007, 'x', {OF_X})"
    attempts = {
        "evidence_entry": ("UPDATE {} SET leaf = leaf", "DELETE FROM {}", "TRUNCATE {}", "INSERT INTO {} " + second),
        "evidence_entry_p000000": ("UPDATE {} SET leaf = leaf", "DELETE FROM {}", "TRUNCATE {}"),
        "evidence_entry_p000001": (
            *("UPDATE {} SET leaf = leaf", "DELETE FROM {}", "TRUNCATE {}"),
            "INSERT INTO {} " + second,
        ),
        "evidence_entry_p000002": ("TRUNCATE {}", f"INSERT INTO {{}} VALUES (2000000, 'x', {OF_X})"),
    }
    for table, statements in attempts.items():
        for statement in statements:
            with pytest.raises(GUARDED):
                owner.execute(statement.format(table))


def _into_second_partition(superuser: Superuser) -> None:
    """As if the log had grown into its second partition: one entry there, and the third made ahead."""
    size, tables = 1_000_001, ("evidence_head", "evidence_entry", "evidence_entry_p000001")
    for table in tables:
        superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    frontier = f"decode(repeat('00', {32 * size.bit_count()}), 'hex')"
    superuser.execute(f"UPDATE evidence_head SET size = {size}, frontier = {frontier}")
    superuser.execute(f"INSERT INTO evidence_entry VALUES ({size - 1}, 'x', {OF_X})")
    superuser.execute(f"SELECT evidence_ensure_partitions({size})")
    named = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = %s::regclass"
    for table in tables:
        for (name,) in superuser.execute(named, [table]).fetchall():
            superuser.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    assert runtime_role_is_narrow(None, databases=["default"]) == []  # the third partition's triggers included


@pytest.mark.parametrize(
    "table", ["head", "note", "tile", "payload", "hold", "holditem", "artifact", "anchor", "signingkey"]
)
def test_it_refuses_the_owner_to_empty_a_table(log: Clone, owner: Superuser, table: str) -> None:
    with pytest.raises(GUARDED):
        owner.execute(f"TRUNCATE evidence_{table} CASCADE")


def test_it_refuses_through_the_orm_too(log: Clone) -> None:
    from evidence.models import Payload

    with pytest.raises(DatabaseError, match="is retained until"):
        Payload.objects.filter(index=0).delete()
    connection.close()


def test_it_keeps_what_a_hold_names_beyond_its_date(log: Clone, superuser: Superuser) -> None:
    superuser.execute("ALTER TABLE evidence_payload DISABLE TRIGGER USER")
    superuser.execute("UPDATE evidence_payload SET retain_until = '2020-01-01'")
    superuser.execute("ALTER TABLE evidence_payload ENABLE ALWAYS TRIGGER payload_guard")
    with psycopg.connect(log.runtime_url, autocommit=True) as runtime:
        runtime.execute("INSERT INTO evidence_hold (id, placed_by, reason, record) VALUES ('h', 2, 'why', 0)")
        runtime.execute("INSERT INTO evidence_holditem VALUES ('h', 0)")
        for error, attempt in (
            (GUARDED, "DELETE FROM evidence_payload WHERE index = 0"),
            (GUARDED, "UPDATE evidence_hold SET released_by = 1"),
            (NO_RIGHT, "DELETE FROM evidence_hold"),
            (NO_RIGHT, "DELETE FROM evidence_holditem"),
        ):
            with pytest.raises(error):
                runtime.execute(attempt)
        assert runtime.execute("DELETE FROM evidence_payload WHERE index = 1").rowcount == 1


def test_one_release_of_a_hold_ends_one_hold(log: Clone, superuser: Superuser) -> None:
    released = {"hold": "hold_0123456789abcdef", "reason": "done"}
    append_all([service_draft("hold.released", released, actor=Actor(SERVICE))])
    with psycopg.connect(log.runtime_url, autocommit=True) as runtime:
        runtime.execute(
            "INSERT INTO evidence_hold (id, placed_by, reason, record) VALUES ('a', 1, 'w', 0), ('b', 2, 'w', 0)"
        )
        runtime.execute("UPDATE evidence_hold SET released_by = 3 WHERE id = 'a'")
        with pytest.raises(errors.UniqueViolation):
            runtime.execute("UPDATE evidence_hold SET released_by = 3 WHERE id = 'b'")


def test_it_makes_partitions_one_ahead(log: Clone, superuser: Superuser) -> None:
    count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'evidence_entry'::regclass"
    before = superuser.execute(count).fetchone()
    with psycopg.connect(log.runtime_url) as runtime:
        runtime.execute("SELECT evidence_ensure_partitions(1000000)")
    assert before is not None
    assert superuser.execute(count).fetchone() == (before[0] + 1,)
