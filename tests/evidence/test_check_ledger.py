"""`check_ledger` names what a superuser changed behind the product's back, and is silent about everything else."""

import io
import threading
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from evidence import people
from evidence.ledger import Actor, Idempotency, append, append_all, service_draft
from evidence.ledger.check import check, run, shadow
from evidence.models import Head, Release, System, User
from evidence.models.people import SERVICE
from evidence.records import signed_draft
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.statement import Subject, build_statement
from tests.conftest import Clone

Superuser = psycopg.Connection[Any]
MANIFEST = "sha256:" + "ab" * 32


@pytest.fixture
def release(ledger: Clone) -> Release:
    """A system, a person, an approved release, a record withdrawn, and holds that stand and stood."""
    actor = Actor(SERVICE)
    system = people.save_system(actor=actor, name="netlify-trading")
    person = people.create_user(actor=actor, name="Bob", email="bob@example.com", roles=["approver"])
    opened = {
        "system": system.name,
        "tag": "release-20260301",
        "type": "regular",
        "ticket_id": "T-1",
        "ticket_url": "https://tickets.example.com/T-1",
        "captain": "Cleo",
    }
    name = f"{system.name}:release-20260301"
    _append("release.opened", opened, system, name)
    _append("approval", _approval("qa"), system, name, Actor(person.uid))
    _append("approval", _approval("sre"), system, name, Actor(person.uid))
    decision = _append("decision", {"title": "A", "decision": "B", "rationale": "C"}, system)
    _append("record.withdrawn", {"index": decision, "reason": "wrong"}, system)
    return Release.objects.get(id=name)


def _approval(role: str) -> dict[str, Any]:
    return {"role": role, "decision": "approved", "manifest_digest": MANIFEST, "comment": "fine"}


def _append(
    kind: str, body: dict[str, Any], system: System, release: str | None = None, actor: Actor | None = None
) -> int:
    draft = service_draft(kind, body, actor=actor or Actor(SERVICE), systems=[system.id], release=release)
    return append(draft).index


def _grow_to(system: System, size: int) -> None:
    drafts = [
        service_draft(
            "decision", {"title": str(n), "decision": "d", "rationale": "r"}, actor=Actor(SERVICE), systems=[system.id]
        )
        for n in range(size - Head.objects.get().size)
    ]
    append_all(drafts)


def _tamper(superuser: Superuser, table: str, statement: str, *constraints: str) -> None:
    """Do as a superuser would who wants to leave no trace: guards off, one row changed, guards on again."""
    for constraint in constraints:
        superuser.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    assert superuser.execute(statement).rowcount == 1
    superuser.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def _set(table: str, assignment: str, where: str) -> str:
    return f"UPDATE {table} SET {assignment} WHERE {where}"


def _flip(table: str, column: str, where: str) -> str:
    return _set(table, f"{column} = set_byte({column}, 3, get_byte({column}, 3) # 1)", where)


def _found() -> list[tuple[str, str]]:
    return [(deviation.what, deviation.where) for deviation in check()]


def test_it_finds_nothing_in_an_empty_log(ledger: Clone) -> None:
    assert check() == []


def test_it_finds_nothing_where_nothing_was_changed(release: Release) -> None:
    _grow_to(release.system, 600)
    assert check() == []


def test_it_leaves_no_temporary_table(release: Release) -> None:
    check()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
        assert cursor.fetchone() == (0,)
    assert Release.objects.count() == 1
    assert User.objects.count() == 1


def test_it_names_a_changed_payload(release: Release, superuser: Superuser) -> None:
    _tamper(superuser, "evidence_payload", _flip("evidence_payload", "salt", "index = 3"))
    assert _found() == [("payload", "entry 3")]


def test_it_names_a_payload_that_cannot_be_read(release: Release, superuser: Superuser) -> None:
    _tamper(superuser, "evidence_payload", "UPDATE evidence_payload SET envelope = 'x', codec = 0 WHERE index = 3")
    found = _found()
    assert ("payload", "entry 3") in found
    assert ("projection", "evidence_approval index=3") in found


def test_it_names_a_payload_that_is_gone(release: Release, superuser: Superuser) -> None:
    _tamper(superuser, "evidence_payload", "DELETE FROM evidence_payload WHERE index = 5")
    assert ("payload", "entry 5") in _found()


def test_it_names_a_changed_leaf(release: Release, superuser: Superuser) -> None:
    leaf = """leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '"approval"', '"approvaL"'), 'UTF8')"""
    _tamper(superuser, "evidence_entry", _set("evidence_entry", leaf, "index = 3"), "entry_leaf_hash")
    found = _found()
    assert ("leaf hash", "entry 3") in found
    assert ("leaf", "entry 3") in found
    assert ("checkpoint", "size 4") in found
    assert ("head", "root") in found


def test_it_names_a_changed_leaf_hash(release: Release, superuser: Superuser) -> None:
    statement = _flip("evidence_entry", "leaf_hash", "index = 2")
    _tamper(superuser, "evidence_entry", statement, "entry_leaf_hash")
    assert _found() == [("leaf hash", "entry 2")]


def test_it_finds_a_leaf_that_was_rewritten_with_its_hash(release: Release, superuser: Superuser) -> None:
    leaf = "convert_to(replace(convert_from(leaf, 'UTF8'), 'svc_prooftrail', 'svc_prooftrai1'), 'UTF8')"
    rewritten = f"leaf = {leaf}, leaf_hash = sha256('\\x00'::bytea || {leaf})"
    statement = _set("evidence_entry", rewritten, "index = 2")
    _tamper(superuser, "evidence_entry", statement)
    found = _found()
    assert ("payload", "entry 2") in found
    assert ("checkpoint", "size 3") in found


def test_it_names_an_entry_that_is_gone(release: Release, superuser: Superuser) -> None:
    _tamper(superuser, "evidence_entry", "DELETE FROM evidence_entry WHERE index = 4")
    assert ("entry", "entry 4") in _found()


def test_it_names_a_changed_tile(release: Release, superuser: Superuser) -> None:
    _grow_to(release.system, 600)
    _tamper(superuser, "evidence_tile", _flip("evidence_tile", "hashes", "number = 1"))
    assert _found() == [("tile", "tile/0/1")]


def test_it_names_a_tile_that_is_missing(release: Release, superuser: Superuser) -> None:
    _grow_to(release.system, 600)
    _tamper(superuser, "evidence_tile", "DELETE FROM evidence_tile WHERE number = 0")
    assert _found() == [("tile", "tile/0/0")]


def test_it_names_the_frontier(release: Release, superuser: Superuser) -> None:
    _tamper(superuser, "evidence_head", _flip("evidence_head", "frontier", "id = 1"))
    assert _found() == [("head", "frontier")]


@pytest.mark.parametrize(("size", "where"), [(12, "entries 7 to 11"), (6, "entry 6")])
def test_it_names_a_head_of_another_size(release: Release, superuser: Superuser, size: int, where: str) -> None:
    _tamper(superuser, "evidence_head", _set("evidence_head", f"size = {size}", "id = 1"), "head_frontier_size")
    assert ("entry", where) in _found()


def test_it_names_a_changed_checkpoint(release: Release, superuser: Superuser) -> None:
    note = "UPDATE evidence_note SET text = replace(text, E'\\n3\\n', E'\\n4\\n') WHERE size = 3"
    _tamper(superuser, "evidence_note", note)
    assert _found() == [("checkpoint", "size 3")]


def test_it_names_row_and_column_of_a_changed_approval(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_approval SET role = 'product' WHERE index = 3")
    (deviation,) = check()
    assert deviation.where == "evidence_approval index=3, column role"
    assert deviation.detail == "the ledger gives 'qa', the table has 'product'"


def test_it_names_a_changed_release(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_release SET captain = 'Mallory'")
    assert _found() == [("projection", f"evidence_release id={release.id}, column captain")]


def test_it_names_rows_that_are_too_many_or_too_few(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_approval SET index = 99 WHERE index = 3")
    assert sorted(_found()) == [
        ("projection", "evidence_approval index=3"),
        ("projection", "evidence_approval index=99"),
    ]


def test_it_names_a_record_made_to_count_again(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_record SET withdrawn_by = NULL WHERE index = 5")
    assert _found() == [("projection", "evidence_record index=5, column withdrawn_by")]


def test_the_command_exits_0_when_clean_and_1_when_not(release: Release, superuser: Superuser) -> None:
    out = io.StringIO()
    call_command("check_ledger", stdout=out)
    assert "size 7, root " in out.getvalue()
    assert "clean" in out.getvalue()
    superuser.execute("UPDATE evidence_approval SET role = 'product' WHERE index = 3")
    with pytest.raises(SystemExit) as ended:
        call_command("check_ledger", stdout=out)
    assert ended.value.code == 1
    assert "evidence_approval index=3, column role" in out.getvalue()


def test_it_finds_the_same_in_many_short_transactions(
    release: Release, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    _grow_to(release.system, 600)
    monkeypatch.setattr(run, "PASS_SECONDS", 0.0)
    monkeypatch.setattr(run, "TAIL", 0)
    monkeypatch.setattr(shadow, "RANGE", 50)
    assert check() == []
    superuser.execute("UPDATE evidence_record SET kind = 'drill' WHERE index = 300")
    superuser.execute("UPDATE evidence_record SET index = 9000 WHERE index = 599")
    assert sorted(_found()) == [
        ("projection", "evidence_record index=300, column kind"),
        ("projection", "evidence_record index=599"),
        ("projection", "evidence_record index=9000"),
    ]


def test_it_finds_nothing_while_the_log_grows(release: Release) -> None:
    _grow_to(release.system, 300)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            _append("approval", _approval("qa"), release.system, release.id)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert check() == []
    finally:
        ended.set()
        writer.join()
    assert check() == []


def test_it_names_a_record_whose_key_was_never_the_pipeline_s(ledger: Clone, superuser: Superuser) -> None:
    actor, own = Actor(SERVICE), generate()
    system = people.save_system(actor=actor, name="netlify-trading")
    public = dump_public(own.public_key())
    pipeline, _ = people.create_pipeline(actor=actor, name="ci", systems=[system], public_key=public)
    payload = build_statement(
        subjects=[Subject("build.zip", {"sha256": "ab" * 32})],
        predicate_type="urn:prooftrail:predicate:decision:v1",
        predicate={"title": "A", "decision": "B", "rationale": "C"},
    )
    draft = signed_draft(
        sign_envelope(payload, own),
        principal=pipeline,
        actor=Actor(pipeline.uid),
        release=None,
        system=system.name,
        idempotency=Idempotency.of("k", method="POST", path="/", body=payload),
    )
    index = append(draft).index
    assert check() == []
    superuser.execute("UPDATE evidence_pipelinekey SET public_key = sha256(public_key)")
    assert _found() == [("signature", f"entry {index}")]


def test_it_says_that_a_kind_is_not_declared_here(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    from evidence import kinds

    fewer = {name: kind for name, kind in kinds.load().by_name.items() if name != "approval"}
    here = kinds.Kinds(by_name=fewer, by_predicate=kinds.load().by_predicate, revision="")
    monkeypatch.setattr("evidence.ledger.check.run.load_kinds", lambda: here)
    (found,) = check()
    assert (found.what, found.detail.split(":")[0]) == ("kind", "approval is not declared here")
