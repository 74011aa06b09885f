"""`check_ledger` names what a superuser changed in the log itself: entries, payloads, tree, checkpoints."""

import pytest
from django.db import connection

from evidence import people
from evidence.ledger import Actor, Idempotency, append
from evidence.ledger.check import check
from evidence.models import Head, Note, Release
from evidence.models.people import SERVICE
from evidence.records import signed_draft
from evidence.setup import ensure_signing_keys
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate, key_digest
from evidence.tlog.statement import Subject, build_statement
from tests.conftest import Clone
from tests.evidence.check.tampering import Superuser, cut_to, flip, found, grow_to, set_, tamper, write

LAST = 8


def test_it_finds_nothing_in_an_empty_log(ledger: Clone) -> None:
    assert check() == []


def test_it_finds_nothing_where_nothing_was_changed(release: Release) -> None:
    grow_to(release.system, 600)
    assert check() == []


# -- payloads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["salt", "envelope"])
def test_it_names_a_changed_payload(release: Release, superuser: Superuser, column: str) -> None:
    statement = flip("evidence_payload", column, "index = 7")
    tamper(superuser, "evidence_payload", statement)
    assert ("payload", "entry 7") in found()


def test_it_names_a_changed_context(release: Release, superuser: Superuser) -> None:
    """Well-formed and plausible: only the digest tells."""
    context = """convert_to(replace(convert_from(context, 'UTF8'), '"claims":{}', '"claims":{"run":"7"}'), 'UTF8')"""
    tamper(superuser, "evidence_payload", set_("evidence_payload", f"context = {context}", "index = 5"))
    assert found() == [("payload", "entry 5")]


def test_it_names_a_payload_that_cannot_be_read(release: Release, superuser: Superuser) -> None:
    tamper(superuser, "evidence_payload", "UPDATE evidence_payload SET envelope = 'x', codec = 0 WHERE index = 5")
    names = found()
    assert ("payload", "entry 5") in names
    assert ("projection", "evidence_approval index=5") in names


def test_it_names_a_payload_that_is_gone(release: Release, superuser: Superuser) -> None:
    tamper(superuser, "evidence_payload", "DELETE FROM evidence_payload WHERE index = 7")
    assert ("payload", "entry 7") in found()


def test_it_names_a_record_whose_key_was_never_the_pipeline_s(ledger: Clone, superuser: Superuser) -> None:
    ensure_signing_keys()
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
    key = f"evidence_pipelinekey key_id={key_digest(own.public_key())}, column public_key"
    assert sorted(found()) == [("projection", key), ("signature", f"entry {index}")]


def test_it_names_a_pipeline_key_that_no_record_added(ledger: Clone, superuser: Superuser) -> None:
    ensure_signing_keys()
    system = people.save_system(actor=Actor(SERVICE), name="netlify-trading")
    people.create_pipeline(actor=Actor(SERVICE), name="ci", systems=[system])
    slipped = key_digest(generate().public_key())
    superuser.execute(
        "INSERT INTO evidence_pipelinekey (key_id, pipeline_id, public_key, valid_from, from_index)"
        " SELECT %s, id, %s, now(), 0 FROM evidence_pipeline",
        [slipped, b"k" * 32],
    )
    assert found() == [("projection", f"evidence_pipelinekey key_id={slipped}")]


# -- entries -----------------------------------------------------------------------------------------------------------


def test_it_names_a_changed_leaf(release: Release, superuser: Superuser) -> None:
    leaf = """leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '"approval"', '"approvaL"'), 'UTF8')"""
    tamper(superuser, "evidence_entry", set_("evidence_entry", leaf, "index = 5"), "entry_leaf_hash")
    names = found()
    assert ("leaf hash", "entry 5") in names
    assert ("leaf", "entry 5") in names
    assert ("checkpoint", "size 6") in names
    assert ("head", "root") in names


def test_it_names_a_changed_leaf_hash(release: Release, superuser: Superuser) -> None:
    tamper(superuser, "evidence_entry", flip("evidence_entry", "leaf_hash", "index = 4"), "entry_leaf_hash")
    assert found() == [("leaf hash", "entry 4")]


def test_it_finds_a_leaf_that_was_rewritten_with_its_hash(release: Release, superuser: Superuser) -> None:
    leaf = "convert_to(replace(convert_from(leaf, 'UTF8'), 'svc_prooftrail', 'svc_prooftrai1'), 'UTF8')"
    rewritten = f"leaf = {leaf}, leaf_hash = sha256('\\x00'::bytea || {leaf})"
    tamper(superuser, "evidence_entry", set_("evidence_entry", rewritten, "index = 4"))
    deviations = check()
    assert ("payload", "entry 4") in [(one.what, one.where) for one in deviations]
    (checkpoint,) = (one for one in deviations if one.what == "checkpoint")
    assert checkpoint.where == "size 5"
    assert checkpoint.detail.startswith("entry 4 is not what was signed")


def test_it_names_a_leaf_received_before_the_one_in_front_of_it(
    release: Release, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (2, 512):  # where it lies at the edge of what is read at once, and inside
        monkeypatch.setattr("evidence.ledger.check.ahead.RANGE", size)
        earlier = """regexp_replace(convert_from(leaf, 'UTF8'), '(at|occurred)":"20', '\\1":"19', 'g')"""
        statement = f"UPDATE evidence_entry SET leaf = convert_to({earlier}, 'UTF8') WHERE index = 6"
        tamper(superuser, "evidence_entry", statement, *(["entry_leaf_hash"] if size == 2 else []))
        assert ("leaf", "entry 6") in found()


def test_it_names_an_entry_that_is_gone(release: Release, superuser: Superuser) -> None:
    tamper(superuser, "evidence_entry", "DELETE FROM evidence_entry WHERE index = 6")
    assert ("entry", "entry 6") in found()


def test_it_names_all_entries_that_are_gone(
    release: Release, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few are read at once."""
    monkeypatch.setattr("evidence.ledger.check.ahead.RANGE", 2)
    for index in (3, 4, 5, 6):
        tamper(superuser, "evidence_entry", f"DELETE FROM evidence_entry WHERE index = {index}")
    assert [where for what, where in found() if what == "entry"] == ["entries 3 to 6"]


def test_it_names_an_inserted_entry(release: Release, superuser: Superuser) -> None:
    """A second approval by the same person, made of the first one's bytes; what came after was moved up."""
    for table in ("evidence_entry", "evidence_payload", "evidence_record", "evidence_approval"):
        superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        superuser.execute(f"UPDATE {table} SET index = index + 1000 WHERE index > 5")
        superuser.execute(f"UPDATE {table} SET index = index - 999 WHERE index > 999")
        superuser.execute(f"CREATE TEMP TABLE copied AS SELECT * FROM {table} WHERE index = 5")
        superuser.execute("UPDATE copied SET index = 6")
        superuser.execute(f"INSERT INTO {table} SELECT * FROM copied")
        superuser.execute("DROP TABLE copied")
    deviations = {one.what: one for one in reversed(check())}
    assert deviations["checkpoint"].where == "size 7"
    assert deviations["checkpoint"].detail.startswith("entry 6 is not what was signed")
    assert deviations["entry"].where == "entry 9"
    assert "lies outside the log, which has 9 entries" in deviations["entry"].detail


def test_it_names_a_last_entry_that_was_cut_off(release: Release, superuser: Superuser) -> None:
    """Nothing of it is left, and the head is what it was before: only who was answered with it knows."""
    write(
        "decision",
        {"title": "A", "decision": "B", "rationale": "C"},
        release.system,
        idempotency=Idempotency.of("key", method="POST", path="/", body=b""),
    )
    cut_to(superuser, LAST + 1)
    (deviation,) = check()
    assert (deviation.what, deviation.where) == ("entry", "entry 9")
    assert deviation.detail.startswith("missing: a request was answered with it")


def test_a_log_cut_back_to_an_earlier_checkpoint_is_a_log(release: Release, superuser: Superuser) -> None:
    """What no answered request and no copy outside knows of was never there; test_outside has the copies."""
    grow_to(release.system, LAST + 2)
    cut_to(superuser, LAST + 1)
    assert check() == []


# -- the tree and its checkpoints --------------------------------------------------------------------------------------


def test_it_names_a_changed_tile(release: Release, superuser: Superuser) -> None:
    grow_to(release.system, 600)
    tamper(superuser, "evidence_tile", flip("evidence_tile", "hashes", "number = 1"))
    assert found() == [("tile", "tile/0/1")]


def test_it_names_a_tile_whose_stored_root_was_changed(release: Release, superuser: Superuser) -> None:
    """PostgreSQL computes it; who may change the table may end that."""
    grow_to(release.system, 600)
    superuser.execute("ALTER TABLE evidence_tile ALTER COLUMN root DROP EXPRESSION")
    tamper(superuser, "evidence_tile", flip("evidence_tile", "root", "number = 0"))
    (deviation,) = check()
    assert (deviation.what, deviation.where) == ("tile", "tile/0/0")
    assert "stored root" in deviation.detail


def test_it_names_a_tile_that_is_missing(release: Release, superuser: Superuser) -> None:
    grow_to(release.system, 600)
    tamper(superuser, "evidence_tile", "DELETE FROM evidence_tile WHERE number = 0")
    assert found() == [("tile", "tile/0/0")]


def test_it_names_the_frontier(release: Release, superuser: Superuser) -> None:
    tamper(superuser, "evidence_head", flip("evidence_head", "frontier", "id = 1"))
    assert found() == [("head", "frontier")]


def test_it_names_the_head_s_root_and_time(release: Release, superuser: Superuser) -> None:
    tamper(superuser, "evidence_head", flip("evidence_head", "root", "id = 1"))
    tamper(superuser, "evidence_head", "UPDATE evidence_head SET last_at = last_at + interval '1 day'")
    assert found() == [("head", "root"), ("head", "last_at")]


@pytest.mark.parametrize(("size", "where"), [(14, "entries 9 to 13"), (8, "entry 8")])
def test_it_names_a_head_of_another_size(release: Release, superuser: Superuser, size: int, where: str) -> None:
    tamper(superuser, "evidence_head", set_("evidence_head", f"size = {size}", "id = 1"), "head_frontier_size")
    assert ("entry", where) in found()


def test_it_names_a_changed_checkpoint(release: Release, superuser: Superuser) -> None:
    note = "UPDATE evidence_note SET text = replace(text, E'\\n5\\n', E'\\n6\\n') WHERE size = 5"
    tamper(superuser, "evidence_note", note)
    assert found() == [("checkpoint", "size 5")]


def test_it_names_a_checkpoint_put_in_another_s_place(release: Release, superuser: Superuser) -> None:
    note = "UPDATE evidence_note SET text = (SELECT text FROM evidence_note WHERE size = 6) WHERE size = 5"
    tamper(superuser, "evidence_note", note)
    (deviation,) = check()
    assert (deviation.where, deviation.detail) == ("size 5", "speaks of size 6")


def test_it_names_a_missing_last_checkpoint(release: Release, superuser: Superuser) -> None:
    assert Note.objects.filter(size=Head.objects.get().size).exists()
    tamper(superuser, "evidence_note", f"DELETE FROM evidence_note WHERE size = {LAST + 1}")
    assert found() == [("checkpoint", f"size {LAST + 1}")]


# -- the check itself --------------------------------------------------------------------------------------------------


def test_it_leaves_no_temporary_table(release: Release) -> None:
    check()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
        assert cursor.fetchone() == (0,)
    assert Release.objects.count() == 1


def test_it_says_that_a_kind_is_not_declared_here(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    from evidence import kinds

    fewer = {name: kind for name, kind in kinds.load().by_name.items() if name != "approval"}
    here = kinds.Kinds(by_name=fewer, by_predicate=kinds.load().by_predicate, revision="")
    monkeypatch.setattr("evidence.ledger.check.run.load_kinds", lambda: here)
    (deviation,) = check()
    assert (deviation.what, deviation.detail.split(":")[0]) == ("kind", "approval is not declared here")
