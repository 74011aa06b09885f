"""Artifacts: files uploaded straight to S3, checked once, then locked for as long as a record needs them.

1. `uploads` gives presigned URLs to ``incoming/`` with length and checksum bound in the signature.
2. Confirming reads that version once, compares digest and size, looks for secrets if it is a text, copies it to its
   place under Object Lock (compliance mode), reads the lock back and deletes what was incoming. A large file is left to
   the worker, which says how far it is.
3. A record that names the digest extends the artifact's retention (`keep_for`); `extend_locks` tells S3.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from config.errors import ConflictError, InvalidError, MissingError, UnavailableError
from evidence import clearance, kinds, retention, storage, uploads
from evidence.kinds import Kind
from evidence.models import Artifact, System
from evidence.secretscan import Finding, TextScan

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

#: Up to this size `confirm` reads the file within the request; a larger one is read by the worker.
INLINE_BYTES = 16 * 1024 * 1024
_CHUNK = 1024 * 1024
#: How much is read between two notes of how far it is, and copied with one call.
_TELL = 64 * 1024 * 1024
_COPY = 256 * 1024 * 1024
#: A check that says nothing for so long was lost with its process.
SILENCE = timedelta(minutes=5)


def find(system: System, sha256: str) -> Artifact:
    """Raises MissingError ``artifact_unknown``."""
    artifact = Artifact.objects.filter(system=system, sha256=sha256).first()
    if artifact is None:
        raise MissingError(
            f"No artifact {sha256[:12]}… was announced for {system.name}. POST artifacts first.",
            code="artifact_unknown",
        )
    return artifact


def begin_check(artifact: Artifact) -> Artifact:
    """Check a small file now, hand a large one to the worker. Confirming twice is harmless."""
    if artifact.state in {Artifact.CONFIRMED, Artifact.CHECKING}:
        return artifact
    if artifact.state == Artifact.REFUSED:
        raise InvalidError(artifact.refusal, code="artifact_refused")
    if artifact.size <= INLINE_BYTES:
        return check(artifact)
    uploads.arrived(artifact)
    waiting = Artifact.objects.filter(pk=artifact.pk, state=Artifact.INCOMING)
    waiting.update(state=Artifact.CHECKING, checked=0, tended_at=None)
    artifact.refresh_from_db()
    return artifact


def check_claimed(artifact_id: int) -> None:
    """The worker's part: check a large file unless somebody else is at it. What the store refuses now is tried again.

    Raises what refused the file; its state says so too.
    """
    if not _lost(timezone.now()).filter(pk=artifact_id).update(tended_at=timezone.now()):
        return
    artifact = Artifact.objects.get(pk=artifact_id)
    try:
        check(artifact)
    except UnavailableError:
        Artifact.objects.filter(pk=artifact_id, state=Artifact.CHECKING).update(tended_at=None)
        raise


def unchecked(now: datetime, limit: int = 20) -> list[int]:
    """Large files that nobody is checking: their task was lost, or its process."""
    return list(_lost(now).order_by("pk").values_list("pk", flat=True)[:limit])


def _lost(now: datetime) -> QuerySet[Artifact]:
    idle = Q(tended_at=None) | Q(tended_at__lt=now - SILENCE)
    return Artifact.objects.filter(idle, state=Artifact.CHECKING)


def check(artifact: Artifact) -> Artifact:
    """Read the uploaded version once and, if it is what was announced and holds no secret, keep it under lock.

    Raises ``artifact_not_uploaded``, ``artifact_digest_mismatch``, ``secret_found``.
    """
    version = uploads.complete(artifact)
    size, digest, found = _read_once(artifact, version)
    if size != artifact.size or digest != artifact.sha256:
        reason = f"The file that arrived has {size} bytes and SHA-256 {digest}: not what was announced."
        raise _refused(artifact, reason, InvalidError(reason, code="artifact_digest_mismatch"))
    waived = _waived(artifact, found)
    key = f"artifacts/{artifact.system_id}/{artifact.sha256}"
    until = retention.retain_until(artifact.retention_class, timezone.now())
    stored, locked_until = _place_under_lock(artifact, version, key, until)
    incoming = Artifact(key=artifact.key, upload_id="")
    Artifact.objects.filter(pk=artifact.pk).exclude(state=Artifact.CONFIRMED).update(
        state=Artifact.CONFIRMED,
        key=key,
        version_id=stored,
        retain_until=until,
        locked_until=locked_until,
        checked=size,
        waived_by=waived,
        upload_id="",
        part_sha256=[],
    )
    uploads.remove(incoming)
    artifact.refresh_from_db()
    return artifact


def _refused(artifact: Artifact, reason: str, error: InvalidError) -> InvalidError:
    """Note why, and remove what came."""
    Artifact.objects.filter(pk=artifact.pk).update(state=Artifact.REFUSED, refusal=reason[:200])
    uploads.remove(artifact)
    return error


def _waived(artifact: Artifact, found: Sequence[Finding]) -> str:
    """The exceptions under which secrets in a text stay. Raises InvalidError ``secret_found``: the file is gone."""
    if not found:
        return ""
    names = clearance.waived_by(artifact.kind, [artifact.system_id], None, timezone.now())
    if names is None:
        reason = f"It holds what looks like a secret: {clearance.described(found)}."
        raise _refused(artifact, reason, clearance.refusal(found, artifact.kind, of=artifact.name))
    return names


def _read_once(artifact: Artifact, version: str) -> tuple[int, str, list[Finding]]:
    """Size, digest and secrets of one version, in flat memory; from time to time the row says how far it is."""
    size, digest, texts, told = 0, hashlib.sha256(), TextScan(), 0
    with storage.unavailable("reading the upload"):
        where = {"Bucket": storage.bucket(), "Key": artifact.key} | ({"VersionId": version} if version else {})
        body = storage.client().get_object(**where)["Body"]  # type: ignore[arg-type]  # built by parts
        for chunk in body.iter_chunks(_CHUNK):
            size += len(chunk)
            digest.update(chunk)
            texts.feed(chunk)
            if size - told >= _TELL:
                told = size
                _tell(artifact, size)
    texts.end()
    return size, digest.hexdigest(), texts.findings


def _tell(artifact: Artifact, size: int) -> None:
    """For who waits, and so that nobody takes the check for lost."""
    checking = Artifact.objects.filter(pk=artifact.pk, state=Artifact.CHECKING)
    checking.update(checked=size, tended_at=timezone.now())


def _place_under_lock(artifact: Artifact, version: str, key: str, until: datetime) -> tuple[str, datetime]:
    """Copy, lock (a copy alone drops the lock silently), read back. Returns version and the lock's date."""
    client, bucket = storage.client(), storage.bucket()
    with storage.unavailable("storing the artifact"):
        stored = _copied(artifact, version, key)
        kept = client.head_object(Bucket=bucket, Key=key, VersionId=stored)["ContentLength"]
        if kept != artifact.size:
            raise UnavailableError(
                f"The store kept {kept} bytes of {artifact.size}.", code="store_unfaithful", retry_after=5
            )
        return stored, lock(key, stored, until)


def _copied(artifact: Artifact, version: str, key: str) -> str:
    """The version that the copy makes. A large file is copied piece by piece: no answer takes longer than a piece."""
    client, bucket = storage.client(), storage.bucket()
    source: Any = {"Bucket": bucket, "Key": artifact.key} | ({"VersionId": version} if version else {})
    if artifact.size <= _COPY:
        copied = client.copy_object(Bucket=bucket, Key=key, CopySource=source)
        return copied.get("VersionId") or client.head_object(Bucket=bucket, Key=key)["VersionId"]
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=artifact.media_type)["UploadId"]
    try:
        parts: list[CompletedPartTypeDef] = []
        for start in range(0, artifact.size, _COPY):
            span = f"bytes={start}-{min(start + _COPY, artifact.size) - 1}"
            number = len(parts) + 1
            answer = client.upload_part_copy(
                Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, CopySource=source, CopySourceRange=span
            )
            parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            _tell(artifact, artifact.size)
        done = client.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )
    except BaseException:
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise
    return done.get("VersionId") or client.head_object(Bucket=bucket, Key=key)["VersionId"]


def lock(key: str, version: str, until: datetime) -> datetime:
    """Put an object version under compliance-mode retention and return the date that the store answers."""
    client, bucket = storage.client(), storage.bucket()
    client.put_object_retention(
        Bucket=bucket, Key=key, VersionId=version, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
    )
    found = client.get_object_retention(Bucket=bucket, Key=key, VersionId=version)["Retention"]
    if found.get("Mode") != "COMPLIANCE" or found["RetainUntilDate"] < until - timedelta(seconds=1):
        raise ConflictError(f"The store did not keep the lock of {key}: {found}.", code="lock_refused")
    return until


# -- records and their files -------------------------------------------------------------------------------------------


def check_subjects(
    kind: Kind,
    digests: Sequence[str],
    body: Mapping[str, Any],
    systems: Sequence[str],
    to_come: list[str] | None = None,
) -> list[Artifact]:
    """The artifacts that a record names. Nothing refers to a file that was announced but not confirmed.

    With `to_come`, digests of files that may yet be uploaded and confirmed are put there instead of refused.
    Raises ``artifact_unconfirmed``, ``artifact_required``, ``artifact_digest_mismatch``, ``artifact_size_mismatch`` and
    ``secret_found``.
    """
    known = {a.sha256: a for a in Artifact.objects.filter(system__in=systems, sha256__in=digests)}
    if to_come is not None:
        known = {sha256: artifact for sha256, artifact in known.items() if artifact.state == Artifact.CONFIRMED}
        to_come += [digest for digest in digests if digest not in known]
    for artifact in known.values():
        if artifact.state != Artifact.CONFIRMED:
            raise ConflictError(
                f"Artifact {artifact.name} ({artifact.sha256[:12]}…) is not confirmed yet.", code="artifact_unconfirmed"
            )
        if artifact.waived_by and artifact.kind != kind.name:
            raise InvalidError(
                f"{artifact.name} holds what looks like a secret; {artifact.waived_by} lets it through for records of "
                f"kind {artifact.kind} only.",
                code="secret_found",
                where="$.subject",
            )
    if kind.needs_artifact and (not digests or set(digests) - set(known) - set(to_come or ())):
        raise InvalidError(
            f"A record of kind {kind.name} names its file as subject, uploaded and confirmed first (POST artifacts).",
            code="artifact_required",
            where="$.subject",
        )
    if kind.name == "deploy.manifest":
        _check_manifest(digests, body, known)
    return list(known.values())


def _check_manifest(digests: Sequence[str], body: Mapping[str, Any], known: Mapping[str, Artifact]) -> None:
    listed = body.get("artifacts")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        return  # the kind's schema says so with a better message
    sizes = {item.get("sha256"): item.get("size") for item in listed}
    if set(sizes) != set(digests):
        raise InvalidError(
            "The manifest's artifacts and the statement's subjects are not the same digests.",
            code="artifact_digest_mismatch",
            where="$.body.artifacts",
        )
    for sha256, artifact in known.items():
        if sizes[sha256] != artifact.size:
            raise InvalidError(
                f"{artifact.name} has {artifact.size} bytes, the manifest says {sizes[sha256]}.",
                code="artifact_size_mismatch",
                where="$.body.artifacts",
            )


def still_there(files: Sequence[Artifact]) -> Callable[[datetime], None]:
    """Asked again under the head lock: a file may have been disposed of since `check_subjects`."""
    ids = [artifact.pk for artifact in files]

    def admit(_: datetime) -> None:
        if Artifact.objects.filter(pk__in=ids, state=Artifact.CONFIRMED).count() != len(ids):
            raise ConflictError("A file that the record names was disposed of meanwhile.", code="artifact_unconfirmed")

    return admit


def keep_for(files: Sequence[Artifact], kind: Kind) -> Callable[[int, datetime], None] | None:
    """What the record's transaction does to its artifacts: they are kept at least as long as the record."""
    if not files:
        return None
    ids = [artifact.pk for artifact in files]

    def apply(_: int, at: datetime) -> None:
        until = retention.retain_until(kind.retention, at)
        Artifact.objects.filter(pk__in=ids, retain_until__lt=until).update(retain_until=until)

    return apply


def extend_locks(limit: int = 200) -> int:
    """Tell S3 what records promised since: Object Lock and `retain_until` say the same date. Returns how many."""
    behind = Artifact.objects.filter(
        Q(locked_until=None) | Q(locked_until__lt=F("retain_until")), state=Artifact.CONFIRMED
    ).order_by("pk")[:limit]
    for artifact in behind:
        with storage.unavailable("extending a lock"):
            until = lock(artifact.key, artifact.version_id, artifact.retain_until)
        Artifact.objects.filter(pk=artifact.pk).update(locked_until=until)
    return len(behind)


def kind_for_upload(name: str) -> Kind:
    """The kind whose retention class a file takes."""
    return kinds.load().named(name)
