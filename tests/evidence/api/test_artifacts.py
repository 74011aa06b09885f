"""Artifacts on a real store: presigned upload, check, lock."""

import hashlib

import httpx
import pytest

from evidence.ledger import reader
from evidence.models import Artifact

LOG = b"15:00:01 promote build\n" * 100
SHA = hashlib.sha256(LOG).hexdigest()

pytestmark = pytest.mark.usefixtures("s3")


def announce(api, data=LOG, sha256=SHA, **more):
    body = {"sha256": sha256, "size": len(data), "name": "deploy.log", "media_type": "text/plain", "kind": "deploy.log"}
    response = api.post("artifacts", body | more)
    assert response.status_code == 201, response.content
    return response.json()["upload"]


def put(upload, data):
    return httpx.put(upload["url"], content=data, headers=upload["headers"])


@pytest.fixture
def incoming(api):
    upload = announce(api)
    assert put(upload, LOG).status_code == 200
    return "incoming/" + httpx.URL(upload["url"]).path.rpartition("/")[2]


@pytest.fixture
def confirmed(api, incoming):
    response = api.post(f"artifacts/{SHA}/confirm", {})
    assert response.status_code == 200, response.content
    return response.json()["artifact"]


def test_it_locks_what_was_uploaded(incoming, confirmed, s3, settings):
    found = s3.get_object_retention(Bucket=settings.S3_BUCKET, Key=confirmed["key"], VersionId=confirmed["version_id"])[
        "Retention"
    ]
    assert found["Mode"] == "COMPLIANCE"
    assert found["RetainUntilDate"].isoformat()[:16] == confirmed["retain_until"][:16]
    with pytest.raises(s3.exceptions.ClientError):
        s3.delete_object(Bucket=settings.S3_BUCKET, Key=confirmed["key"], VersionId=confirmed["version_id"])
    assert not s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=incoming).get("Versions")


def test_it_keeps_one_copy_within_a_system(api, confirmed):
    assert announce(api) is None
    assert api.post(f"artifacts/{SHA}/confirm", {}).status_code == 200


def test_it_refuses_bytes_that_are_not_what_was_announced(api):
    upload = announce(api)
    other = LOG.replace(b"promote", b"pr0mote")
    assert put(upload, other).status_code >= 400  # the checksum is bound in the signature
    response = api.post(f"artifacts/{SHA}/confirm", {})
    assert (response.status_code, response.json()["code"]) == (409, "artifact_not_uploaded")


def test_it_refuses_a_file_that_got_past_the_store(api, s3, settings):
    announce(api)
    s3.put_object(Bucket=settings.S3_BUCKET, Key=Artifact.objects.get().key, Body=b"something else")
    response = api.post(f"artifacts/{SHA}/confirm", {})
    assert (response.status_code, response.json()["code"]) == (422, "artifact_digest_mismatch")
    assert Artifact.objects.get().state == "refused"


def test_it_lets_nothing_refer_to_an_unconfirmed_file(api, release):
    announce(api)
    size = reader.size()
    body = {
        "kind": "deploy.log",
        "release": release,
        "subject": {"name": "deploy.log", "digest": {"sha256": SHA}},
        "body": {"environment": "production"},
    }
    assert api.post("records", body).json()["code"] == "artifact_unconfirmed"
    assert api.post("records", body | {"subject": None}).json()["code"] == "artifact_required"
    assert reader.size() == size


def test_it_keeps_a_log_for_thirteen_months(api, release, confirmed):
    from evidence.artifacts import extend_locks
    from evidence.models import Payload
    from evidence.retention import retain_until

    subject = {"name": "deploy.log", "digest": {"sha256": SHA}}
    body = {"kind": "deploy.log", "release": release, "subject": subject, "body": {"environment": "production"}}
    response = api.post("records", body)
    assert response.status_code == 201, response.content
    stored, artifact = reader.get(response.json()["index"]), Artifact.objects.get()
    wanted = retain_until("deploy-log", stored.leaf.at)
    assert Payload.objects.get(index=stored.index).retain_until == artifact.retain_until == wanted
    extend_locks()
    artifact.refresh_from_db()
    assert artifact.locked_until == wanted


def test_it_refuses_a_manifest_with_another_size(api, release, confirmed):
    body = {
        "commit": "a" * 40,
        "author": "alice@example.com",
        "artifacts": [{"name": "deploy.log", "size": 1, "sha256": SHA}],
    }
    response = api.post("records", {"kind": "deploy.manifest", "release": release, "body": body})
    assert (response.status_code, response.json()["code"]) == (422, "artifact_size_mismatch")
