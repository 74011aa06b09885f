"""Artifacts: files uploaded straight to S3, checked once, then locked for as long as a record needs them.

1. `announce` gives a presigned PUT to ``incoming/`` with length and checksum bound in the signature.
2. `confirm` reads that version once, compares digest and size, copies it to its place under Object Lock
   (compliance mode), reads the lock back and deletes what was incoming.
3. A record that names the digest extends the artifact's retention (`keep_for`); `extend_locks` tells S3.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q
from django.utils import timezone

from config.errors import ConflictError, InvalidError, MissingError, TooLargeError
from evidence import kinds, retention, storage
from evidence.kinds import Kind
from evidence.models import Artifact, System
from evidence.people import Principal

UPLOAD_MINUTES = 15
#: Up to this size `confirm` reads the file within the request; a larger one is read by the worker.
INLINE_BYTES = 16 * 1024 * 1024
_CHUNK = 1024 * 1024


def announce(
    *, principal: Principal, system: System, sha256: str, size: int, name: str, media_type: str, kind: Kind, limit: int
) -> Artifact:
    """Note that a file will come. An artifact confirmed before is returned as it is."""
    if size > limit:
        raise TooLargeError(f"Artifacts are at most {limit} bytes.", code="artifact_too_large", limit=limit)
    artifact, created = Artifact.objects.get_or_create(
        system=system,
        sha256=sha256,
        defaults={
            "size": size,
            "name": name,
            "media_type": media_type,
            "key": f"incoming/{secrets.token_hex(16)}",
            "retention_class": kind.retention,
            "retain_until": timezone.now(),  # of nothing yet; confirming starts the class's period
            "created_by": principal.uid,
        },
    )
    if not created and artifact.state == Artifact.CONFIRMED and artifact.size != size:
        raise InvalidError(
            f"The artifact with this digest has {artifact.size} bytes, not {size}.", code="artifact_size_mismatch"
        )
    if not created and artifact.state in {Artifact.INCOMING, Artifact.REFUSED}:
        artifact.state, artifact.size, artifact.name, artifact.refusal = Artifact.INCOMING, size, name, ""
        artifact.media_type, artifact.key = media_type, f"incoming/{secrets.token_hex(16)}"
        artifact.save()
    return artifact


def presigned_put(artifact: Artifact) -> dict[str, Any]:
    """``{url, method, headers, expires_at}``: PUT the bytes with exactly these headers."""
    checksum = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    url = storage.client().generate_presigned_url(
        "put_object",
        Params={
            "Bucket": storage.bucket(),
            "Key": artifact.key,
            "ContentLength": artifact.size,
            "ContentType": artifact.media_type,
            "ChecksumSHA256": checksum,
        },
        ExpiresIn=UPLOAD_MINUTES * 60,
    )
    headers = {"Content-Type": artifact.media_type, "Content-Length": str(artifact.size)}
    if "x-amz-checksum-sha256" not in url.lower().partition("?")[2].partition("&x-amz-signedheaders")[0]:
        headers["x-amz-checksum-sha256"] = checksum
    return {
        "url": url,
        "method": "PUT",
        "headers": headers,
        "expires_at": (timezone.now() + timedelta(minutes=UPLOAD_MINUTES)).isoformat(),
    }


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
    Artifact.objects.filter(pk=artifact.pk, state=Artifact.INCOMING).update(state=Artifact.CHECKING)
    artifact.refresh_from_db()
    return artifact


def check(artifact: Artifact) -> Artifact:
    """Read the uploaded version once and, if it is what was announced, keep it under lock."""
    version = _uploaded_version(artifact)
    size, digest = _read_once(artifact.key, version)
    if size != artifact.size or digest != artifact.sha256:
        reason = f"The file that arrived has {size} bytes and SHA-256 {digest}: not what was announced."
        Artifact.objects.filter(pk=artifact.pk).update(state=Artifact.REFUSED, refusal=reason[:200])
        _delete_incoming(artifact.key)
        raise InvalidError(reason, code="artifact_digest_mismatch")
    incoming = artifact.key
    key = f"artifacts/{artifact.system_id}/{artifact.sha256}"
    until = retention.retain_until(artifact.retention_class, timezone.now())
    stored, locked_until = _place_under_lock(incoming, version, key, until)
    Artifact.objects.filter(pk=artifact.pk).exclude(state=Artifact.CONFIRMED).update(
        state=Artifact.CONFIRMED, key=key, version_id=stored, retain_until=until, locked_until=locked_until
    )
    _delete_incoming(incoming)
    artifact.refresh_from_db()
    return artifact


def _uploaded_version(artifact: Artifact) -> str:
    client = storage.client()
    try:
        with storage.unavailable("looking for the upload"):
            return client.head_object(Bucket=storage.bucket(), Key=artifact.key).get("VersionId", "")
    except client.exceptions.ClientError:
        raise ConflictError(
            "The file has not arrived. PUT it to the upload URL, then confirm.", code="artifact_not_uploaded"
        ) from None


def _read_once(key: str, version: str) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with storage.unavailable("reading the upload"):
        where = {"Bucket": storage.bucket(), "Key": key} | ({"VersionId": version} if version else {})
        body = storage.client().get_object(**where)["Body"]  # type: ignore[arg-type]  # built by parts
        for chunk in body.iter_chunks(_CHUNK):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()


def _place_under_lock(incoming: str, version: str, key: str, until: datetime) -> tuple[str, datetime]:
    """Copy, lock (a copy alone drops the lock silently), read back. Returns version and the lock's date."""
    client, bucket = storage.client(), storage.bucket()
    source = {"Bucket": bucket, "Key": incoming} | ({"VersionId": version} if version else {})
    with storage.unavailable("storing the artifact"):
        copied = client.copy_object(Bucket=bucket, Key=key, CopySource=source)  # type: ignore[arg-type]  # by parts
        stored = copied.get("VersionId") or client.head_object(Bucket=bucket, Key=key)["VersionId"]
        return stored, lock(key, stored, until)


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


def _delete_incoming(key: str) -> None:
    client, bucket = storage.client(), storage.bucket()
    with storage.unavailable("deleting the upload"):
        for version in client.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", []):
            client.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])


# -- records and their files -------------------------------------------------------------------------------------------


def check_subjects(
    kind: Kind, digests: Sequence[str], body: Mapping[str, Any], systems: Sequence[str]
) -> list[Artifact]:
    """The artifacts that a record names. Nothing refers to a file that was announced but not confirmed.

    Raises ``artifact_unconfirmed``, ``artifact_required``, ``artifact_digest_mismatch`` and ``artifact_size_mismatch``.
    """
    known = {a.sha256: a for a in Artifact.objects.filter(system__in=systems, sha256__in=digests)}
    for artifact in known.values():
        if artifact.state != Artifact.CONFIRMED:
            raise ConflictError(
                f"Artifact {artifact.name} ({artifact.sha256[:12]}…) is not confirmed yet.", code="artifact_unconfirmed"
            )
    if kind.needs_artifact and (not digests or set(digests) - set(known)):
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
