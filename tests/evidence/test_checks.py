"""The service refuses to start where the database would not refuse."""

import os
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from evidence import guards
from evidence.checks import TRIGGERS, runtime_role_is_narrow
from tests import engines
from tests.conftest import Clone

Superuser = psycopg.Connection[Any]


def _found() -> list[tuple[str | None, str]]:
    """Id and first words of each finding."""
    return [(message.id, message.msg) for message in runtime_role_is_narrow(None, databases=["default"])]


def test_it_starts_where_everything_is_as_migrated(ledger: Clone) -> None:
    assert _found() == []


BROKEN = {
    "a trigger dropped": ("evidence_note", "note_append_only", "DROP TRIGGER note_append_only ON evidence_note"),
    "a trigger disabled": (
        "evidence_payload",
        "payload_guard",
        "ALTER TABLE evidence_payload DISABLE TRIGGER payload_guard",
    ),
    "a trigger for replicas only": (
        "evidence_head",
        "head_grows",
        "ALTER TABLE evidence_head ENABLE REPLICA TRIGGER head_grows",
    ),
    "a trigger that a replica skips": (
        "evidence_tile",
        "tile_in_order",
        "ALTER TABLE evidence_tile ENABLE TRIGGER tile_in_order",
    ),
    "on the second partition, a trigger dropped": (
        "evidence_entry_p000001",
        "entry_in_order",
        "DROP TRIGGER entry_in_order ON evidence_entry_p000001",
    ),
    "on the second partition, an inherited trigger disabled": (
        "evidence_entry_p000001",
        "entry_append_only",
        "ALTER TABLE evidence_entry_p000001 DISABLE TRIGGER entry_append_only",
    ),
    "a trigger narrowed to a column": (
        "evidence_note",
        "note_append_only",
        """DROP TRIGGER note_append_only ON evidence_note;
        CREATE TRIGGER note_append_only BEFORE UPDATE OF size OR DELETE ON evidence_note
            FOR EACH ROW EXECUTE FUNCTION evidence_refuse();
        ALTER TABLE evidence_note ENABLE ALWAYS TRIGGER note_append_only""",
    ),
    "a trigger under a condition": (
        "evidence_note",
        "note_append_only",
        """DROP TRIGGER note_append_only ON evidence_note;
        CREATE TRIGGER note_append_only BEFORE UPDATE OR DELETE ON evidence_note
            FOR EACH ROW WHEN (OLD.size = 0) EXECUTE FUNCTION evidence_refuse();
        ALTER TABLE evidence_note ENABLE ALWAYS TRIGGER note_append_only""",
    ),
    "a trigger that calls something else": (
        "evidence_note",
        "note_append_only",
        """CREATE FUNCTION public.evidence_agree() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
        DROP TRIGGER note_append_only ON evidence_note;
        CREATE TRIGGER note_append_only BEFORE UPDATE OR DELETE ON evidence_note
            FOR EACH ROW EXECUTE FUNCTION evidence_agree();
        ALTER TABLE evidence_note ENABLE ALWAYS TRIGGER note_append_only""",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_it_names_a_trigger_that_does_not_guard(ledger: Clone, superuser: Superuser, broken: str) -> None:
    table, name, statement = BROKEN[broken]
    superuser.execute(statement)
    ((id_, said),) = _found()
    assert id_ == "evidence.E005"
    assert said.startswith(f"Trigger {name} of {table} is missing, changed or not always on")


REPLACED = {
    "by one that refuses nothing": "CREATE OR REPLACE {head} $$BEGIN RETURN OLD; END$$",
    "by one that looks elsewhere": "ALTER FUNCTION evidence_refuse() RESET search_path",
    "by one with its owner's rights": "ALTER FUNCTION evidence_refuse() SECURITY DEFINER",
}


@pytest.mark.parametrize("how", REPLACED)
def test_it_names_a_function_that_was_replaced(ledger: Clone, superuser: Superuser, how: str) -> None:
    head = (
        "FUNCTION evidence_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS"
    )
    superuser.execute(REPLACED[how].format(head=head))
    ((id_, said),) = _found()
    assert id_ == "evidence.E006"
    assert said.startswith("Function evidence_refuse is not the one")


UNBOUND = {
    "head_root_size": "ALTER TABLE evidence_head DROP CONSTRAINT head_root_size",
    "entry_leaf_hash": "ALTER TABLE evidence_entry DROP CONSTRAINT entry_leaf_hash",
    "tile_is_full": """ALTER TABLE evidence_tile DROP CONSTRAINT tile_is_full;
        ALTER TABLE evidence_tile ADD CONSTRAINT tile_is_full CHECK (length(hashes) = 8192) NOT VALID""",
    "pipelinekey_ends_whole": "ALTER TABLE evidence_pipelinekey DROP CONSTRAINT pipelinekey_ends_whole",
}


@pytest.mark.parametrize("name", UNBOUND)
def test_it_names_a_constraint_that_binds_nothing(ledger: Clone, superuser: Superuser, name: str) -> None:
    superuser.execute(UNBOUND[name])
    ((id_, said),) = _found()
    assert id_ == "evidence.E010"
    assert said.startswith(f"Constraint {name} is missing or not enforced")


@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_it_does_not_start_as_a_role_that_owns_the_tables(ledger: Clone, role: str) -> None:
    """A real process: what loads the web application ends with what is wrong and the cure."""
    url = ledger.owner_url if role == "owner" else engines.url("postgres", ledger.name)
    started = subprocess.run(
        [sys.executable, "-c", "import config.wsgi"],
        cwd=engines.ROOT,
        env=os.environ | ledger.environment | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 1
    assert "refusing to start" in started.stderr
    assert "(evidence.E004)" in started.stderr
    assert "Use a role of its own for the service" in started.stderr


def test_it_does_not_start_as_a_role_that_can_become_the_owner(ledger: Clone, superuser: Superuser) -> None:
    superuser.execute("CREATE ROLE almost LOGIN; GRANT prooftrail_owner TO almost; GRANT almost TO prooftrail_runtime")
    try:
        assert [id_ for id_, _ in _found()] == ["evidence.E004"]
    finally:
        superuser.execute("DROP ROLE almost")


def test_every_guarded_table_is_known_to_the_check(ledger: Clone, superuser: Superuser) -> None:
    """A trigger that a migration makes is one that the check misses when it goes."""
    made = superuser.execute(
        "SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " WHERE NOT t.tgisinternal AND c.relname LIKE 'evidence%' AND NOT c.relispartition"
    ).fetchall()
    assert {(table, name) for table, names in TRIGGERS.items() for name in names} == set(made)
    assert {name for _, name in made} <= guards.triggers().keys()
