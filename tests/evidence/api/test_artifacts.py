"""Artifacts on a real store: presigned upload, check, lock."""

import hashlib
import tracemalloc
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

import httpx
import pytest
from django.utils import timezone

from evidence import artifacts, tasks, uploads, waivers
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


# -- secrets, parts, the worker ----------------------------------------------------------------------------------------

MIB = 1024 * 1024
# Put together here, so that no scanner takes this file for a leak.
LEAK = b"15:00:02 login with " + b"ghp" + b"_" + b"a1B2" * 9 + b"\n"


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_it_refuses_a_text_with_a_secret_and_keeps_no_byte_of_it(api, release, s3, settings, caplog):
    data = LOG + LEAK
    upload = announce(api, data, sha(data))
    assert put(upload, data).status_code == 200
    key = Artifact.objects.get().key
    answer = api.post(f"artifacts/{sha(data)}/confirm", {})
    assert (answer.status_code, answer.json()["code"]) == (422, "secret_found")
    assert answer.json()["findings"] == [{"rule": "github-token", "title": "GitHub token", "line": 101}]
    artifact = Artifact.objects.get()
    assert (artifact.state, "GitHub token at line 101" in artifact.refusal) == ("refused", True)
    assert "ghp" not in answer.content.decode() + artifact.refusal + caplog.text
    assert not s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=key).get("Versions")
    assert not s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=f"artifacts/{artifact.system_id}").get(
        "Versions"
    )
    subject = {"name": "deploy.log", "digest": {"sha256": sha(data)}}
    body = {"kind": "deploy.log", "release": release, "subject": subject, "body": {"environment": "production"}}
    assert api.post("records", body).json()["code"] == "artifact_unconfirmed"


def test_it_keeps_a_file_let_through_for_its_kind_only(api, release, monkeypatch):
    data = LOG + LEAK
    waiver = waivers.Waiver("secrets.deploy.log", "EXC-0007", "A log of old", timezone.now() + timedelta(days=1), 0)
    monkeypatch.setattr(waivers, "_SOURCES", [lambda names, *_: [waiver] if waiver.requirement in names else []])
    put(announce(api, data, sha(data)), data)
    answer = api.post(f"artifacts/{sha(data)}/confirm", {})
    assert (answer.status_code, answer.json()["artifact"]["waived_by"]) == (200, "EXC-0007")
    subject = {"name": "deploy.log", "digest": {"sha256": sha(data)}}
    sent = {"kind": "deploy.log", "release": release, "subject": subject, "body": {"environment": "production"}}
    assert api.post("records", sent).status_code == 201
    other = sent | {"kind": "test.result", "body": {"suite": "unit", "outcome": "passed"}}
    assert api.post("records", other).json()["code"] == "secret_found"


def test_it_catches_a_file_that_changes_while_it_is_confirmed(api, incoming, s3, settings, monkeypatch):
    """What is kept is the version that was read, whatever is put beside it meanwhile."""
    read = artifacts._read_once

    def changed_meanwhile(artifact, version):
        answer = read(artifact, version)
        s3.put_object(Bucket=settings.S3_BUCKET, Key=incoming, Body=b"something else")
        return answer

    monkeypatch.setattr(artifacts, "_read_once", changed_meanwhile)
    found = api.post(f"artifacts/{SHA}/confirm", {}).json()["artifact"]
    kept = s3.get_object(Bucket=settings.S3_BUCKET, Key=found["key"], VersionId=found["version_id"])
    assert kept["Body"].read() == LOG
    assert not s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=incoming).get("Versions")


def test_only_a_token_that_may_write_announces_and_confirms(api, cast):
    token = cast.ci.tokens.get()
    token.scopes = ["records:read"]
    token.save()
    body = {"sha256": SHA, "size": 1, "name": "x"}
    assert api.post("artifacts", body).json()["code"] == "forbidden"
    assert api.post(f"artifacts/{SHA}/confirm", {}).json()["code"] == "forbidden"
    assert api.get(f"artifacts/{SHA}").json()["code"] == "artifact_unknown"


@pytest.fixture
def in_parts(monkeypatch):
    """Parts as small as S3 takes them."""
    monkeypatch.setattr(uploads, "MULTIPART_BYTES", 8 * MIB)
    monkeypatch.setattr(uploads, "PART_BYTES", 5 * MIB)
    monkeypatch.setattr(uploads, "OFFERED", 2)
    monkeypatch.setattr(artifacts, "_COPY", 6 * MIB)
    monkeypatch.setattr(artifacts, "_TELL", 4 * MIB)
    data = b"".join(bytes([number]) * (5 * MIB) for number in range(1, 4)) + b"\x00 and more of it" * MIB
    return data[: 17 * MIB + 5]


def parts_of(data):
    return [sha(data[start : start + 5 * MIB]) for start in range(0, len(data), 5 * MIB)]


def put_parts(upload, data):
    for part in upload["parts"]:
        assert put(part, data[part["offset"] : part["offset"] + part["size"]]).status_code == 200


def test_it_takes_a_large_file_in_parts_and_goes_on_after_an_interruption(api, s3, settings, in_parts):
    data = in_parts

    def again(digest=None):
        return announce(api, data, sha(data), part_sha256=digest or parts_of(data), media_type="application/x-tar")

    first = again()
    assert [(p["number"], p["size"]) for p in first["parts"]] == [(1, 5 * MIB), (2, 5 * MIB)]
    assert put(first["parts"][0], bytes(5 * MIB)).status_code >= 400  # other bytes than announced
    assert put(first["parts"][0], data[: 5 * MIB]).status_code == 200
    second = again()  # another process, perhaps another machine
    assert ([p["number"] for p in second["parts"]], second["parts_done"], second["parts_total"]) == ([2, 3], 1, 4)
    put_parts(second, data)
    early = api.post(f"artifacts/{sha(data)}/confirm", {})
    assert (early.status_code, early.json()["code"]) == (409, "artifact_not_uploaded")
    assert "3 of 4 parts" in early.json()["detail"]
    put_parts(again(), data)
    assert again()["parts"] == []
    key = Artifact.objects.get().key

    with no_delivery():
        answer = api.post(f"artifacts/{sha(data)}/confirm", {})
    assert (answer.status_code, answer.json()["artifact"]["state"]) == (202, "checking")
    told: list[int] = []
    with told_progress(told):
        tasks.check_artifact(Artifact.objects.get().pk)
    found = api.get(f"artifacts/{sha(data)}").json()["artifact"]
    assert (found["state"], found["checked"], told[:2]) == ("confirmed", len(data), [4 * MIB, 8 * MIB])
    kept = s3.get_object(Bucket=settings.S3_BUCKET, Key=found["key"], VersionId=found["version_id"])["Body"]
    assert sha(kept.read()) == sha(data)
    lock = s3.get_object_retention(Bucket=settings.S3_BUCKET, Key=found["key"], VersionId=found["version_id"])
    assert lock["Retention"]["Mode"] == "COMPLIANCE"
    assert not s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=key).get("Versions")
    assert announce(api, data, sha(data), part_sha256=parts_of(data)) is None


@contextmanager
def no_delivery():
    """As if the task had been lost with its broker."""
    with patch.object(tasks.check_artifact, "delay"):
        yield


@contextmanager
def told_progress(told):
    tell = artifacts._tell

    def listening(artifact, size):
        tell(artifact, size)
        told.append(Artifact.objects.get(pk=artifact.pk).checked)

    with patch.object(artifacts, "_tell", listening):
        yield


def test_it_says_how_many_parts_a_file_has(api, in_parts):
    body = {"sha256": sha(in_parts), "size": len(in_parts), "name": "x", "part_sha256": parts_of(in_parts)[1:]}
    answer = api.post("artifacts", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "artifact_parts_invalid")
    assert not Artifact.objects.exists()


def test_a_lost_check_is_taken_up_and_one_under_way_left_alone(api):
    data = b"\x00" + bytes(17 * MIB)
    put(announce(api, data, sha(data)), data)
    with no_delivery():
        assert api.post(f"artifacts/{sha(data)}/confirm", {}).status_code == 202
    artifact = Artifact.objects.get()
    now = timezone.now()
    assert artifacts.unchecked(now) == [artifact.pk]
    Artifact.objects.update(tended_at=now)
    assert artifacts.unchecked(now) == []
    artifacts.check_claimed(artifact.pk)
    artifact.refresh_from_db()
    assert artifact.state == "checking"
    assert artifacts.unchecked(now + artifacts.SILENCE * 2) == [artifact.pk]
    Artifact.objects.update(tended_at=now - artifacts.SILENCE * 2)
    tasks.check_artifact(artifact.pk)
    artifact.refresh_from_db()
    assert artifact.state == "confirmed"


def test_it_gives_up_uploads_that_nobody_confirms(api, incoming, s3, settings, in_parts):
    announce(api, in_parts, sha(in_parts), part_sha256=parts_of(in_parts))
    upload = Artifact.objects.get(sha256=sha(in_parts))
    uploads.give_up_abandoned(timezone.now())
    assert Artifact.objects.count() == 2
    uploads.give_up_abandoned(timezone.now() + uploads.ABANDONED * 2)
    assert not Artifact.objects.exists()
    assert not s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=incoming).get("Versions")
    open_ids = {u["UploadId"] for u in s3.list_multipart_uploads(Bucket=settings.S3_BUCKET).get("Uploads", [])}
    assert upload.upload_id not in open_ids


def test_a_large_file_is_checked_in_flat_memory(api, s3, settings):
    """What matters at 5 GiB: no more of it is held at once than of any other file."""
    size, piece = 48 * MIB, b"15:00:01 INFO token refreshed\n" * 35_000
    data = (piece * (size // len(piece) + 1))[:size]
    digest = sha(data)
    announce(api, data, digest)
    s3.put_object(Bucket=settings.S3_BUCKET, Key=Artifact.objects.get().key, Body=data)
    del data
    with no_delivery():
        api.post(f"artifacts/{digest}/confirm", {})
    tracemalloc.start()
    tasks.check_artifact(Artifact.objects.get().pk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Artifact.objects.get().state == "confirmed"
    assert peak < 16 * MIB
