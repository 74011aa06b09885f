"""What the database refuses, tried as the runtime role."""

import psycopg
import pytest
from django.db import DatabaseError, connection

from evidence.checks import runtime_role_is_narrow
from evidence.ledger import Actor, append_all, service_draft
from evidence.models.people import SERVICE

DECISION = {"title": "t", "decision": "d", "rationale": "r"}
EMPTY = "sha256('x'::bytea)"

REFUSED = {
    "change a leaf": "UPDATE evidence_entry SET leaf = 'x' WHERE index = 0",
    "delete a leaf": "DELETE FROM evidence_entry WHERE index = 2",
    "truncate entries": "TRUNCATE evidence_entry",
    "change a partition": "UPDATE evidence_entry_p000000 SET leaf = 'x'",
    "truncate a partition": "TRUNCATE evidence_entry_p000000",
    "insert beyond the head": "INSERT INTO evidence_entry VALUES (3, 'x', sha256('\\x00'::bytea || 'x'::bytea))",
    "insert far beyond": "INSERT INTO evidence_entry VALUES (9, 'x', sha256('\\x00'::bytea || 'x'::bytea))",
    "insert in the past": "INSERT INTO evidence_entry VALUES (1, 'x', sha256('\\x00'::bytea || 'x'::bytea))",
    "insert a wrong hash": f"INSERT INTO evidence_entry VALUES (3, 'x', {EMPTY})",
    "copy into entries": "COPY evidence_entry FROM PROGRAM 'true'",
    "shrink the head": "UPDATE evidence_head SET size = 2",
    "same size, other root": f"UPDATE evidence_head SET root = {EMPTY}",
    "grow without entries": f"UPDATE evidence_head SET size = 4, frontier = {EMPTY}",
    "delete the head": "DELETE FROM evidence_head",
    "second head": f"INSERT INTO evidence_head VALUES (2, 0, {EMPTY}, '', now())",
    "change a note": "UPDATE evidence_note SET text = 'x'",
    "delete a note": "DELETE FROM evidence_note",
    "note for another size": "INSERT INTO evidence_note VALUES (2, 'x')",
    "tile that is not full": "INSERT INTO evidence_tile VALUES (0, 0, decode(repeat('00', 8192), 'hex'))",
    "delete a payload early": "DELETE FROM evidence_payload WHERE index = 0",
    "truncate payloads": "TRUNCATE evidence_payload",
    "shorten retention": "UPDATE evidence_payload SET retain_until = now() WHERE index = 0",
    "change a payload": "UPDATE evidence_payload SET salt = 'x' WHERE index = 0",
    "disable triggers": "ALTER TABLE evidence_entry DISABLE TRIGGER ALL",
    "drop a trigger": "DROP TRIGGER head_grows ON evidence_head",
    "replica role": "SET session_replication_role = 'replica'",
    "become the owner": "SET ROLE prooftrail_owner",
    "function in the schema": "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "another schema": "CREATE SCHEMA elsewhere",
    "partitions far ahead": "SELECT evidence_ensure_partitions(100000000)",
    "guard something": "SELECT evidence_guard_entries('evidence_entry')",
    "shadow the head": """
        CREATE TEMP TABLE evidence_head AS SELECT 1::smallint AS id, 99::bigint AS size;
        INSERT INTO public.evidence_entry VALUES (3, 'x', sha256('\\x00'::bytea || 'x'::bytea))""",
    "search path": """
        SET search_path = pg_temp, public;
        DELETE FROM public.evidence_payload WHERE index = 0""",
    "set_config": """
        SELECT set_config('session_replication_role', 'replica', false);
        DELETE FROM evidence_entry WHERE index = 0""",
}


@pytest.fixture
def log(ledger):
    append_all([service_draft("decision", DECISION, actor=Actor(SERVICE)) for _ in range(3)])
    return ledger


def state(ledger):
    with ledger.superuser() as superuser:
        return [
            superuser.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("evidence_head", "evidence_entry", "evidence_note", "evidence_payload", "evidence_tile")
        ]


@pytest.mark.parametrize("attempt", REFUSED)
def test_it_refuses_the_runtime_role(log, attempt):
    before = state(log)
    with psycopg.connect(log.runtime_url, autocommit=True) as runtime, pytest.raises(psycopg.Error):
        runtime.execute(REFUSED[attempt])
    assert state(log) == before


def test_it_keeps_what_a_hold_names_beyond_its_date(log, superuser):
    superuser.execute("ALTER TABLE evidence_payload DISABLE TRIGGER USER")
    superuser.execute("UPDATE evidence_payload SET retain_until = '2020-01-01'")
    superuser.execute("ALTER TABLE evidence_payload ENABLE ALWAYS TRIGGER payload_guard")
    with psycopg.connect(log.runtime_url, autocommit=True) as runtime:
        runtime.execute("INSERT INTO evidence_hold (id, placed_by, reason, record) VALUES ('h', 2, 'why', 0)")
        runtime.execute("INSERT INTO evidence_holditem VALUES ('h', 0)")
        for attempt in (
            "DELETE FROM evidence_payload WHERE index = 0",
            "UPDATE evidence_hold SET released_by = 1",
            "DELETE FROM evidence_hold",
            "DELETE FROM evidence_holditem",
        ):
            with pytest.raises(psycopg.Error):
                runtime.execute(attempt)
        assert runtime.execute("DELETE FROM evidence_payload WHERE index = 1").rowcount == 1


def test_it_lets_the_service_start_only_guarded(log, superuser):
    assert runtime_role_is_narrow(None, databases=["default"]) == []
    superuser.execute("ALTER TABLE evidence_note DISABLE TRIGGER note_append_only")
    superuser.execute("ALTER TABLE evidence_tile OWNER TO prooftrail_runtime")
    found = {message.id for message in runtime_role_is_narrow(None, databases=["default"])}
    assert found == {"evidence.E004", "evidence.E005"}


def test_it_refuses_through_the_orm_too(log):
    from evidence.models import Payload

    with pytest.raises(DatabaseError, match="is retained until"):
        Payload.objects.filter(index=0).delete()
    connection.close()


def test_it_makes_partitions_one_ahead(log, superuser):
    count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'evidence_entry'::regclass"
    (before,) = superuser.execute(count).fetchone()
    with psycopg.connect(log.runtime_url) as runtime:
        runtime.execute("SELECT evidence_ensure_partitions(1000000)")
    assert superuser.execute(count).fetchone() == (before + 1,)
    assert runtime_role_is_narrow(None, databases=["default"]) == []
