"""``POST records?dry_run=1``: everything that could refuse is asked, nothing is written."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from evidence.api.actors import actor_for
from evidence.ledger import reader
from evidence.models import Artifact
from evidence.people import add_key
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.statement import build_statement

TEST = {"suite": "unit", "outcome": "passed", "passed": 412}
DSSE = "application/vnd.dsse.envelope.v1+json"


def record(release, **more):
    return {"kind": "test.result", "release": release, "body": TEST} | more


@pytest.fixture
def nothing_written(api, release):
    """Counts of all tables that a write could touch, before and after."""

    def counts():
        with connection.cursor() as cursor:
            names = ("entry", "payload", "record", "idempotency", "artifact", "note")
            cursor.execute(" UNION ALL ".join(f"SELECT count(*) FROM evidence_{name}" for name in names))
            return cursor.fetchall()

    before = counts()
    yield
    assert counts() == before


def test_it_says_what_would_be_recorded(api, release, nothing_written):
    answer = api.post("records?dry_run=1", record(release), Idempotency_Key="k-1")
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert (found["dry_run"], found["would"], found["index"], found["files_to_come"]) == (True, "record", None, [])
    assert (found["kind"], found["release"], found["systems"]) == ("test.result", release, ["netlify-trading"])
    assert found["signed_by"] == "service"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"body": {"suite": "unit"}}, 422, "body_invalid"),
        ({"body": TEST | {"detail": "ghp" + "_" + "a1B2" * 9}}, 422, "secret_found"),
        ({"release": "netlify-trading:none"}, 404, "release_unknown"),
        ({"kind": "approval"}, 403, "kind_reserved"),
        ({"kind": "decision", "release": None, "system": "billing"}, 404, "system_unknown"),
        ({"occurred_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, 422, "occurred_in_future"),
        ({"kind": "record.withdrawn", "body": {"index": 10_000, "reason": "x"}}, 404, "record_unknown"),
        ({"kind": "deploy.log", "body": {"environment": "production"}, "subject": None}, 422, "artifact_required"),
        ({"body": TEST | {"detail": "x" * 1_100_000}}, 413, "body_too_large"),
    ],
)
def test_it_refuses_what_the_record_would_be_refused_for(api, release, nothing_written, change, status, code):
    answer = api.post("records?dry_run=1", record(release) | change)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    meant = api.post("records", record(release) | change)
    assert (meant.status_code, meant.json()["code"]) == (status, code)


def test_it_checks_the_signature(api, cast, release):
    key = generate()
    add_key(cast.ci, actor=actor_for(cast.root), public_key=dump_public(key.public_key()))
    size = reader.size()
    payload = build_statement(
        subjects=[{"name": "app", "digest": {"sha256": "ab" * 32}}],
        predicate_type="urn:prooftrail:predicate:test.result:v1",
        predicate=TEST,
    )
    path = f"records?release={release}&dry_run=true"
    answer = api.post(path, sign_envelope(payload, key), content_type=DSSE)
    assert (answer.status_code, answer.json()["signed_by"]) == (200, "pipeline")
    assert api.post(path, sign_envelope(payload, generate()), content_type=DSSE).json()["code"] == "key_unknown"
    assert reader.size() == size


def test_it_takes_files_that_are_still_to_come(api, release, nothing_written):
    sha256 = "cd" * 32
    body = {"environment": "production"}
    sent = record(release, kind="deploy.log", body=body, subject={"name": "a.log", "digest": {"sha256": sha256}})
    assert api.post("records?dry_run=1", sent).json()["files_to_come"] == [sha256]
    file = {"sha256": sha256, "size": 5, "name": "a.log", "kind": "deploy.log"}
    assert api.post("artifacts?dry_run=1", file).json()["confirmed"] is False
    assert api.post("artifacts?dry_run=1", file | {"size": 6 * 1024**3}).json()["code"] == "artifact_too_large"
    assert not Artifact.objects.exists()


def test_it_knows_what_becomes_of_a_key(api, release):
    first = api.post("records", record(release), Idempotency_Key="k-1")
    again = api.post("records?dry_run=1", record(release), Idempotency_Key="k-1").json()
    assert (again["would"], again["index"]) == ("replay", first.json()["index"])
    other = api.post("records?dry_run=1", record(release, occurred_at=None), Idempotency_Key="k-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("path", "code"), [("records/batch?dry_run=1", "dry_run_unsupported"), ("releases?dry_run=yes", "invalid")]
)
def test_a_call_that_cannot_is_not_taken_for_meant(api, release, nothing_written, path, code):
    line = json.dumps(record(release)).encode()
    answer = api.post(path, line, content_type="application/x-ndjson")
    assert (answer.status_code, answer.json()["code"]) == (422, code)
