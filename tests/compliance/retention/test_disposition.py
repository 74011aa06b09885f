"""What is past its retention goes, its leaf and proof stay, and nothing goes earlier."""

import hashlib
import io
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from dateutil.relativedelta import relativedelta
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test import Client

from compliance import holds
from compliance.models import HeldObject, ObjectErasure
from compliance.retention import disposition, due
from config.errors import GoneError, ProoftrailError
from evidence import artifacts, repeats
from evidence.ledger import Actor, Idempotency, reader
from evidence.ledger.check import check
from evidence.models import Artifact, Head, Hold, Payload, Record, Release, System
from evidence.models.people import SERVICE
from evidence.people import create_user
from evidence.retention import parse_period, retain_until
from evidence.tlog.merkle import leaf_hash, verify_inclusion
from exceptions import lifecycle
from exceptions.models import SecurityException
from tests.cast import assemble
from tests.compliance.reports.conftest import actor, request_exception
from tests.compliance.retention.conftest import Post
from tests.conftest import Clone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BRIEF = {"note": "a secret that must go"}


def _wait(index: int) -> None:
    """Until the record's second is over, by the database's clock."""
    until = Payload.objects.values_list("retain_until", flat=True).get(index=index)
    while datetime.now(UTC) <= until:
        time.sleep(0.05)


def test_it_erases_content_and_keeps_the_leaf(post: Post) -> None:
    index = post("custom.brief", BRIEF)
    leaf = reader.get(index).leaf_bytes
    _wait(index)
    (placed,) = disposition.dispose()
    assert placed.body["records"] == [index]
    assert placed.body["rule"] == "blink PT1S"
    assert reader.get(index).leaf_bytes == leaf
    assert reader.get(index).envelope is None
    row = Record.objects.get(index=index)
    assert (row.facts, row.subjects, row.signed_by, row.disposed_by) == ({}, [], None, placed.index)
    assert check() == []


def test_who_reads_a_record_while_it_is_erased_gets_what_there_was(
    post: Post, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(number: int) -> dict[str, Any]:
        assert disposition.dispose()
        return really(number)

    index = post("custom.brief", BRIEF)
    client.force_login(create_user(actor=Actor(SERVICE), name="Cora", email="cora@example.com", roles=["captain"]))
    _wait(index)
    really = repeats.of
    monkeypatch.setattr(repeats, "of", meanwhile)
    answer = client.get(f"/api/v1/records/{index}")
    assert answer.status_code == 200, answer.content
    assert answer.json()["disposed"] is False
    assert answer.json()["body"] == BRIEF
    assert answer.json()["retention_class"] == "blink"


def test_a_record_that_was_read_before_it_was_erased_is_read_again(post: Post) -> None:
    record = Record.objects.get(index=post("custom.brief", BRIEF))
    _wait(record.index)
    (placed,) = disposition.dispose()
    assert reader.of(record).envelope is None
    assert (record.disposed_by, record.facts) == (placed.index, {})


def test_a_proof_of_an_erased_record_still_verifies(post: Post) -> None:
    index = post("custom.brief", BRIEF)
    _wait(index)
    disposition.dispose()
    head = Head.objects.get()
    proof = reader.inclusion(index, head.size)
    leaf = leaf_hash(reader.get(index).leaf_bytes)
    verify_inclusion(index=index, size=head.size, leaf_hash=leaf, proof=proof, root=bytes(head.root))


def test_it_leaves_what_is_not_due(post: Post) -> None:
    post("decision", {"title": "a", "decision": "b", "rationale": "c"})
    assert disposition.dispose() == []
    assert check() == []


def test_disposing_twice_disposes_once(post: Post) -> None:
    _wait(post("custom.brief", BRIEF))
    assert len(disposition.dispose()) == 1
    assert disposition.dispose() == []


def test_a_replay_of_an_erased_record_is_gone(post: Post, system: System) -> None:
    key = Idempotency.of("k", method="POST", path="/", body=b"{}")
    index = post("custom.brief", BRIEF, idempotency=key)
    _wait(index)
    disposition.dispose()
    with pytest.raises(GoneError):
        post("custom.brief", BRIEF, idempotency=key)


def test_the_dry_run_changes_nothing(post: Post) -> None:
    index = post("custom.brief", BRIEF)
    _wait(index)
    out = io.StringIO()
    call_command("dispose", "--dry-run", stdout=out)
    assert out.getvalue() == f"blink PT1S: 1 records: {index}\n"
    assert Payload.objects.filter(index=index).exists()


def test_it_goes_in_batches(post: Post, system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "BATCH", 2)
    indexes = [post("custom.brief", BRIEF) for _ in range(5)]
    _wait(indexes[-1])
    assert [placed.body["records"] for placed in disposition.dispose()] == [indexes[:2], indexes[2:4], indexes[4:]]
    assert check() == []


def test_a_withdrawal_stays_while_what_it_withdrew_does(post: Post, owner: psycopg.Connection[Any]) -> None:
    index = post("decision", {"title": "a", "decision": "b", "rationale": "c"})
    withdrawn = post("record.withdrawn", {"index": index, "reason": "wrong"})
    assert due.needed(Record.objects.get(index=withdrawn))


@pytest.mark.parametrize("kind", ["retention.disposed", "hold.placed", "config.system", "key.created"])
def test_what_explains_the_log_is_never_disposed_of(kind: str) -> None:
    assert due.needed(Record(index=1, kind=kind))


# -- the database refuses -------------------------------------------------------------------------------------------


def test_deploy_logs_stand_for_thirteen_months() -> None:
    received = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert retain_until("deploy-log", received) == datetime(2027, 2, 28, 12, tzinfo=UTC)
    assert parse_period("P13M") == relativedelta(months=13)


def test_the_database_refuses_to_drop_a_deploy_log_today(post: Post) -> None:
    digest = hashlib.sha256(b"log").hexdigest()
    index = post("deploy.log", {"environment": "production"}, subjects=[{"name": "l", "digest": {"sha256": digest}}])
    with pytest.raises(DatabaseError, match=f"payload {index} is retained until"), connection.cursor() as cursor:
        cursor.execute('DELETE FROM evidence_payload WHERE "index" = %s', [index])
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute('UPDATE evidence_payload SET retain_until = now() WHERE "index" = %s', [index])
    assert Payload.objects.filter(index=index).exists()


# -- holds ------------------------------------------------------------------------------------------------------------


def _hold(target: holds.Target) -> Hold:
    placed = holds.place_hold(actor=Actor(SERVICE), reason="litigation 7", target=target)
    return Hold.objects.get(placed_by=placed.index)


def test_a_held_record_stays_and_one_beside_it_goes(post: Post) -> None:
    held, beside = post("custom.brief", BRIEF), post("custom.brief", BRIEF)
    hold = _hold(holds.Target(record=held))
    _wait(beside)
    (placed,) = disposition.dispose()
    assert placed.body["records"] == [beside]
    with pytest.raises(DatabaseError, match=f"payload {held} is under a legal hold"), connection.cursor() as cursor:
        cursor.execute('DELETE FROM evidence_payload WHERE "index" = %s', [held])
    holds.release_hold(hold, actor=Actor(SERVICE), reason="settled")
    (placed,) = disposition.dispose()
    assert placed.body["records"] == [held]
    assert check() == []


def test_a_hold_on_a_system_keeps_what_arrives_while_it_stands(post: Post, system: System) -> None:
    before = post("custom.brief", BRIEF)
    hold = _hold(holds.Target(system=system.name))
    during = post("custom.brief", BRIEF)
    _wait(during)
    assert disposition.dispose() == []
    holds.release_hold(hold, actor=Actor(SERVICE), reason="settled")
    assert disposition.dispose()[0].body["records"] == [before, during]
    assert check() == []


def test_a_hold_on_a_release_keeps_its_records(post: Post, release: Release) -> None:
    index = post("custom.brief", BRIEF, release=release.id)
    hold = _hold(holds.Target(release=release.id))
    _wait(index)
    assert disposition.dispose() == []
    holds.release_hold(hold, actor=Actor(SERVICE), reason="settled")
    assert disposition.dispose()[0].body["records"] == [index]
    assert check() == []


def test_a_hold_placed_under_way_stops_the_disposition(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    index = post("custom.brief", BRIEF)
    _wait(index)
    found = due.batches

    def then_hold(now: datetime) -> Any:
        batches = list(found(now))
        _hold(holds.Target(record=index))
        return batches

    monkeypatch.setattr(due, "batches", then_hold)
    assert disposition.dispose() == []
    assert Payload.objects.filter(index=index).exists()


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"record": 99}, "record_unknown"),
        ({"release": "none:none"}, "release_unknown"),
        ({"system": "none"}, "system_unknown"),
        ({}, "hold_target_invalid"),
        ({"record": 0, "system": "netlify-trading"}, "hold_target_invalid"),
    ],
)
def test_it_refuses_a_hold_on_nothing(post: Post, target: dict[str, Any], code: str) -> None:
    with pytest.raises(ProoftrailError) as refused:
        _hold(holds.Target(**target))
    assert refused.value.code == code
    assert not Hold.objects.exists()


def test_a_hold_ends_once_and_not_on_what_is_gone(post: Post) -> None:
    index = post("custom.brief", BRIEF)
    hold = _hold(holds.Target(record=index))
    holds.release_hold(hold, actor=Actor(SERVICE), reason="settled")
    with pytest.raises(ProoftrailError) as refused:
        holds.release_hold(hold, actor=Actor(SERVICE), reason="again")
    assert refused.value.code == "hold_released"
    _wait(index)
    disposition.dispose()
    with pytest.raises(ProoftrailError) as refused:
        _hold(holds.Target(record=index))
    assert refused.value.code == "record_disposed"


# -- a release goes whole ---------------------------------------------------------------------------------------------

OPENED = {
    "system": "netlify-trading",
    "tag": "release-20260301",
    "type": "regular",
    "ticket_id": "T-1",
    "ticket_url": "https://tickets.example.com/T-1",
    "captain": "Cleo",
}


@pytest.fixture
def release(post: Post) -> Release:
    post("release.opened", OPENED, release="netlify-trading:release-20260301")
    return Release.objects.get()


def _age(superuser: psycopg.Connection[Any], *indexes: int) -> None:
    """Let years pass for some records, which only a superuser can."""
    superuser.execute("ALTER TABLE evidence_payload DISABLE TRIGGER payload_guard")
    superuser.execute(
        "UPDATE evidence_payload SET retain_until = now() - interval '1 day' WHERE index = ANY(%s)", [list(indexes)]
    )
    superuser.execute("ALTER TABLE evidence_payload ENABLE ALWAYS TRIGGER payload_guard")


def test_a_release_goes_with_its_approvals_or_not_at_all(
    post: Post, release: Release, superuser: psycopg.Connection[Any]
) -> None:
    approval = {"role": "qa", "decision": "approved", "manifest_digest": "sha256:" + "ab" * 32}
    approved = post("approval", approval, release=release.id)
    _age(superuser, release.opened_by)
    assert disposition.dispose() == []
    _age(superuser, approved)
    (placed,) = disposition.dispose()
    assert placed.body["records"] == [release.opened_by, approved]
    assert not Release.objects.exists()
    assert check() == []


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(system: System, s3: "S3Client", settings: Any) -> Artifact:
    """A file in its place under a lock of seconds."""
    data = b"deploy log " + str(time.monotonic()).encode()
    digest = hashlib.sha256(data).hexdigest()
    key = f"artifacts/{system.id}/{digest}"
    version = s3.put_object(Bucket=settings.S3_BUCKET, Key=key, Body=data, ChecksumAlgorithm="SHA256")["VersionId"]
    until = datetime.now(UTC) + timedelta(seconds=2)
    artifacts.lock(key, version, until)
    return Artifact.objects.create(
        system=system,
        sha256=digest,
        size=len(data),
        name="deploy.log",
        media_type="text/plain",
        state=Artifact.CONFIRMED,
        key=key,
        version_id=version,
        retention_class="blink",
        retain_until=until,
        locked_until=until,
        created_by=SERVICE,
    )


def _versions(s3: "S3Client", bucket: str, file: Artifact) -> list[str]:
    found = s3.list_object_versions(Bucket=bucket, Prefix=file.key)
    return [version["VersionId"] for version in found.get("Versions", [])]


def _post_file(post: Post, file: Artifact) -> int:
    return post("custom.file", {}, subjects=[{"name": file.name, "digest": {"sha256": file.sha256}}])


def _wait_for(file: Artifact) -> None:
    while datetime.now(UTC) <= file.retain_until:
        time.sleep(0.1)


def test_the_object_goes_when_no_record_refers_to_it(post: Post, file: Artifact, s3: "S3Client", settings: Any) -> None:
    first, second = _post_file(post, file), _post_file(post, file)
    hold = _hold(holds.Target(record=second))
    _wait_for(file)
    (placed,) = disposition.dispose()
    assert placed.body["records"] == [first]
    assert _versions(s3, settings.S3_BUCKET, file) == [file.version_id]
    holds.release_hold(hold, actor=Actor(SERVICE), reason="settled")
    records, files = disposition.dispose()
    assert records.body["records"] == [second]
    assert [item["version_id"] for item in files.body["objects"]] == [file.version_id]
    assert _versions(s3, settings.S3_BUCKET, file) == []
    assert not Artifact.objects.exists()
    erased = Record.objects.get(kind="retention.erased")
    assert ObjectErasure.objects.get().erased_by == erased.index
    assert check() == []


def test_an_object_that_the_store_keeps_is_tried_again(
    post: Post, file: Artifact, s3: "S3Client", settings: Any
) -> None:
    until = datetime.now(UTC) + timedelta(seconds=5)
    artifacts.lock(file.key, file.version_id, until)
    _post_file(post, file)
    _wait_for(file)
    disposition.dispose()
    waiting = ObjectErasure.objects.waiting().get()
    assert waiting.attempts == 1
    assert waiting.error
    while datetime.now(UTC) <= until + timedelta(seconds=1):
        time.sleep(0.2)
    assert disposition.erase_objects() == 1
    assert not ObjectErasure.objects.waiting().exists()


def test_the_store_holds_the_file_of_a_held_record(post: Post, file: Artifact, s3: "S3Client", settings: Any) -> None:
    index = _post_file(post, file)
    hold = _hold(holds.Target(record=index))
    holds.hold_objects()
    assert HeldObject.objects.get().version_id == file.version_id
    _wait_for(file)
    with pytest.raises(s3.exceptions.ClientError):
        s3.delete_object(Bucket=settings.S3_BUCKET, Key=file.key, VersionId=file.version_id)
    assert _versions(s3, settings.S3_BUCKET, file) == [file.version_id]
    holds.release_hold(hold, actor=Actor(SERVICE), reason="settled")
    holds.hold_objects()
    assert not HeldObject.objects.exists()
    s3.delete_object(Bucket=settings.S3_BUCKET, Key=file.key, VersionId=file.version_id)
    assert _versions(s3, settings.S3_BUCKET, file) == []


# -- an exception goes whole, after it was closed ---------------------------------------------------------------------


def test_an_open_exception_stays_whatever_the_date_of_its_records(
    ledger: Clone, superuser: psycopg.Connection[Any]
) -> None:
    cast = assemble()
    exception = request_exception(cast, ends=timedelta(days=5))
    parts = list(exception.transitions.values_list("index", flat=True))
    _age(superuser, *parts)
    assert disposition.dispose() == []
    lifecycle.remediate(actor=actor(cast.alice), exception=exception.pk, reason="fixed", evidence=[0])
    assert disposition.dispose() == []
    closing = Record.objects.get(kind="exception.remediated").index
    _age(superuser, *parts, closing)
    (placed,) = disposition.dispose()
    assert placed.body["records"] == [*parts, closing]
    assert not SecurityException.objects.exists()
    assert check() == []
