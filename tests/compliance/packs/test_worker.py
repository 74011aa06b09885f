"""From a request to a locked object on S3, with outages, dying workers and failures in between."""

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from django.db import connection
from django.utils import timezone

from compliance.models import Pack, PackBuild
from compliance.packs import requests, store, worker
from config.errors import ProoftrailError
from evidence.models import Artifact, Record
from evidence.people import create_user
from evidence.tlog.note import Verifier
from tests.cast import Cast
from tests.compliance.conftest import Story, actor
from tests.compliance.packs.conftest import steps

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pytest_django import Settings

Ask = Callable[..., Pack]


@pytest.fixture
def ask(cast: Cast, s3: "S3Client") -> Ask:
    """Ada asks for a pack around now."""

    def make(**changes: Any) -> Pack:
        now = datetime.now(UTC)
        asked: dict[str, Any] = {
            "actor": actor(cast.ada),
            "person": cast.ada,
            "start": now - timedelta(days=9),
            "end": now,
        } | changes
        return Pack.objects.get(pk=requests.request_pack(**asked).body["pack"])

    return make


def ready(pack: Pack) -> Pack:
    assert worker.build_pack(pack.pk)
    pack.refresh_from_db()
    assert (pack.state, pack.error) == (Pack.READY, "")
    return pack


def fetch(s3: "S3Client", pack: Pack, settings: "Settings", target: Path) -> Path:
    answer = s3.get_object(Bucket=settings.S3_BUCKET, Key=pack.s3_key, VersionId=pack.version_id)
    target.write_bytes(answer["Body"].read())
    return target


def test_it_locks_what_was_verified(
    played: Story, ask: Ask, s3: "S3Client", settings: "Settings", tmp_path: Path, log_key: Verifier
) -> None:
    pack = ready(ask())
    assert pack.s3_key == f"packs/pack-{pack.pk}.zip"
    path = fetch(s3, pack, settings, tmp_path / "pack.zip")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == pack.sha256
    assert path.stat().st_size == pack.size
    assert steps(path, log_key)[-1].ok
    where = {"Bucket": settings.S3_BUCKET, "Key": pack.s3_key, "VersionId": pack.version_id}
    kept = s3.get_object_retention(**where)["Retention"]
    assert (kept["Mode"], kept["RetainUntilDate"]) == ("COMPLIANCE", pack.locked_until)
    assert pack.locked_until is not None
    assert pack.locked_until.year == datetime.now(UTC).year + 7
    with pytest.raises(ClientError):
        s3.delete_object(**where)
    with pytest.raises(ClientError):
        s3.delete_object(**where, BypassGovernanceRetention=True)


def test_it_records_request_and_completion_and_leaves_no_claim(played: Story, ask: Ask) -> None:
    pack = ready(ask())
    kinds = list(Record.objects.filter(kind__startswith="pack.").order_by("index").values_list("kind", flat=True))
    assert kinds == ["pack.requested", "pack.completed"]
    assert not PackBuild.objects.exists()
    assert not worker.build_pack(pack.pk)
    assert worker.build_waiting() == 0


def test_it_carries_confirmed_artifacts(
    cast: Cast, played: Story, ask: Ask, s3: "S3Client", settings: "Settings", tmp_path: Path, log_key: Verifier
) -> None:
    data = b"deploying\ndone\n"
    digest = hashlib.sha256(data).hexdigest()
    put = s3.put_object(Bucket=settings.S3_BUCKET, Key=f"artifacts/{digest}", Body=data)
    Artifact.objects.create(
        system=cast.trading,
        sha256=digest,
        size=len(data),
        name="deploy.log",
        media_type="text/plain",
        state=Artifact.CONFIRMED,
        key=f"artifacts/{digest}",
        version_id=put["VersionId"],
        retention_class="audit",
        retain_until=timezone.now() + timedelta(days=400),
        created_by=cast.ci.uid,
    )
    subject = {"name": "deploy.log", "digest": {"sha256": digest}}
    played.write("deploy.log", {"environment": "production"}, subjects=[subject])
    pack = ready(ask())
    path = fetch(s3, pack, settings, tmp_path / "pack.zip")
    assert data in path.read_bytes()
    (step,) = [step for step in steps(path, log_key) if step.number == 10]
    assert step.detail == "1 files"


def test_it_starts_over_after_a_worker_died(played: Story, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = ask()
    with monkeypatch.context() as patched:
        patched.setattr(worker, "_verify", _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            worker.build_pack(pack.pk)
    build = PackBuild.objects.get(pk=pack.pk)
    size = build.checkpoint_size
    assert pack.state_at(timezone.now()) == "building"
    assert worker.build_waiting() == 0  # the claim still stands
    played.approve("qa")
    PackBuild.objects.filter(pk=pack.pk).update(claimed_until=timezone.now())
    assert worker.build_waiting() == 1
    pack.refresh_from_db()
    assert (pack.state, pack.checkpoint_size) == (Pack.READY, size)


def test_it_adopts_what_an_interrupted_attempt_stored(
    played: Story, ask: Ask, s3: "S3Client", settings: "Settings", monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = ask()
    with monkeypatch.context() as patched:
        patched.setattr(worker, "_complete", _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            worker.build_pack(pack.pk)
    PackBuild.objects.filter(pk=pack.pk).update(claimed_until=timezone.now())
    ready(pack)
    versions = s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=pack.s3_key)["Versions"]
    assert [version["VersionId"] for version in versions] == [pack.version_id]


def test_it_uploads_in_parts_and_aborts_what_was_left(
    played: Story, ask: Ask, s3: "S3Client", settings: "Settings", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(store, "PART_BYTES", 5 << 20)
    for _ in range(12):
        played.write("decision", {"title": "Big", "decision": "x" * 8000, "rationale": "y"})
    monkeypatch.setattr("compliance.packs.page._TEMPLATE", "<!-- " + "x" * (12 << 20) + " -->")
    pack = ask()
    with monkeypatch.context() as patched:
        patched.setattr(store, "_upload_parts", _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            worker.build_pack(pack.pk)
    left = PackBuild.objects.get(pk=pack.pk).upload_id
    assert left
    PackBuild.objects.filter(pk=pack.pk).update(claimed_until=timezone.now())
    ready(pack)
    uploads = s3.list_multipart_uploads(Bucket=settings.S3_BUCKET, Prefix=pack.s3_key).get("Uploads", [])
    assert uploads == []
    assert hashlib.sha256(fetch(s3, pack, settings, tmp_path / "x").read_bytes()).hexdigest() == pack.sha256


def test_it_waits_out_an_outage_of_the_store(played: Story, ask: Ask, settings: "Settings") -> None:
    pack = ask()
    up, settings.S3_ENDPOINT_URL = settings.S3_ENDPOINT_URL, "http://127.0.0.1:1"
    assert worker.build_pack(pack.pk)
    build = PackBuild.objects.get(pk=pack.pk)
    assert (build.attempts, build.stage) == (1, "Waiting after attempt 1")
    assert build.claimed_until > timezone.now()
    settings.S3_ENDPOINT_URL = up
    PackBuild.objects.filter(pk=pack.pk).update(claimed_until=timezone.now())
    ready(pack)


def test_it_records_a_failure_with_its_reason_and_can_be_asked_again(
    cast: Cast, played: Story, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = ask()
    with monkeypatch.context() as patched:
        patched.setattr(worker, "build", _raise(OSError(28, "No space left on device")))
        assert worker.build_pack(pack.pk)
    pack.refresh_from_db()
    assert pack.state == Pack.FAILED
    assert "No space left on device" in pack.error
    assert not worker.build_pack(pack.pk)
    requests.retry_pack(pack, actor=actor(cast.ada))
    ready(pack)
    with pytest.raises(ProoftrailError) as caught:
        requests.retry_pack(pack, actor=actor(cast.ada))
    assert caught.value.code == "pack_not_failed"


def test_it_never_locks_a_pack_that_does_not_verify(
    played: Story, ask: Ask, s3: "S3Client", settings: "Settings", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance.packs.builder._sign", lambda predicate, digest: b"{}")
    pack = ask()
    assert worker.build_pack(pack.pk)
    pack.refresh_from_db()
    assert pack.state == Pack.FAILED
    assert "Versions" not in s3.list_object_versions(Bucket=settings.S3_BUCKET, Prefix=f"packs/{pack.filename}")


def test_it_lets_one_of_two_workers_build(played: Story, ask: Ask) -> None:
    pack, worked = ask(), []

    def work() -> None:
        try:
            worked.append(worker.build_pack(pack.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(worked) == [False, True]
    assert Record.objects.filter(kind="pack.completed").count() == 1


def test_it_names_the_pack_before_it_and_proves_that_the_log_grew(
    played: Story, ask: Ask, s3: "S3Client", settings: "Settings", tmp_path: Path, log_key: Verifier
) -> None:
    first, second = ready(ask()), ready(ask(start=datetime.now(UTC)))
    old = fetch(s3, first, settings, tmp_path / "old.zip")
    new = fetch(s3, second, settings, tmp_path / "new.zip")
    assert steps(new, log_key, since=old)[-1].number == 12


def test_it_shows_a_person_only_packs_of_systems_they_may_see(cast: Cast, played: Story, ask: Ask) -> None:
    eve = create_user(
        actor=actor(cast.root), name="Eve", email="eve@example.com", roles=["auditor"], systems=[cast.billing]
    )
    whole, own = ask(), ask(person=eve, actor=actor(eve))
    assert own.systems == [cast.billing.pk]
    assert list(Pack.objects.in_systems([cast.billing.pk])) == [own]
    assert set(Pack.objects.in_systems(None)) == {whole, own}


def _raise(error: BaseException) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise error

    return function
