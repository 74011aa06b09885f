"""Uploads: how a file gets to ``incoming/``, in one piece or in parts.

1. `announce` notes that a file will come. Announced again, it is the same upload: what was interrupted goes on.
2. `offer` gives presigned URLs with length and checksum bound in the signature: one for the file, or one for each part
   that the store does not hold yet, a few dozen at a time. Who uploads in parts announces until none is offered.
3. `arrived` and `complete` are for `artifacts`, which checks what came.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from config.errors import ConflictError, InvalidError, TooLargeError
from evidence import storage
from evidence.kinds import Kind
from evidence.models import Artifact, System
from evidence.people import Principal

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

UPLOAD_MINUTES = 15
#: Above this a file may come in parts of this size (the last one is shorter).
MULTIPART_BYTES = 64 * 1024 * 1024
PART_BYTES = 32 * 1024 * 1024
#: How many parts one answer offers: fewer than go stale while they are sent.
OFFERED = 32
#: An upload that nobody has touched for so long is given up.
ABANDONED = timedelta(days=1)


def announce(
    *,
    principal: Principal,
    system: System,
    sha256: str,
    size: int,
    name: str,
    media_type: str,
    kind: Kind,
    limit: int,
    part_sha256: Sequence[str] = (),
) -> Artifact:
    """Note that a file will come, in parts if `part_sha256` has their digests (hex) and it is large enough.

    An artifact confirmed before is returned as it is. Raises ``artifact_too_large``, ``artifact_parts_invalid``,
    ``artifact_size_mismatch``.
    """
    check_announcement(size=size, limit=limit, part_sha256=part_sha256)
    parts = list(part_sha256) if size > MULTIPART_BYTES else []
    wanted = {"size": size, "name": name, "media_type": media_type, "kind": kind.name, "part_sha256": parts}
    wanted["retention_class"] = kind.retention
    artifact, created = Artifact.objects.get_or_create(
        system=system,
        sha256=sha256,
        defaults=wanted
        | {
            "key": _new_key(),
            "retain_until": timezone.now(),  # of nothing yet; confirming starts the class's period
            "created_by": principal.uid,
            "tended_at": timezone.now(),
        },
    )
    if not created and artifact.state == Artifact.CONFIRMED and artifact.size != size:
        raise InvalidError(
            f"The artifact with this digest has {artifact.size} bytes, not {size}.", code="artifact_size_mismatch"
        )
    if not created and artifact.state in {Artifact.INCOMING, Artifact.REFUSED}:
        _announce_again(artifact, wanted)
    if artifact.state == Artifact.INCOMING and artifact.part_sha256 and not artifact.upload_id:
        _begin_parts(artifact)
    return artifact


def check_announcement(*, size: int, limit: int, part_sha256: Sequence[str]) -> None:
    """Raises TooLargeError ``artifact_too_large``, InvalidError ``artifact_parts_invalid``."""
    if size > limit:
        raise TooLargeError(f"Artifacts are at most {limit} bytes.", code="artifact_too_large", limit=limit)
    if size > MULTIPART_BYTES and part_sha256 and len(part_sha256) != _count(size):
        raise InvalidError(
            f"A file of {size} bytes comes in {_count(size)} parts of {PART_BYTES} bytes, the last one shorter; "
            f"there are {len(part_sha256)} digests.",
            code="artifact_parts_invalid",
            where="$.part_sha256",
        )


def _announce_again(artifact: Artifact, wanted: dict[str, Any]) -> None:
    """What was interrupted goes on; what was refused, or is described otherwise now, starts over."""
    same = all(getattr(artifact, name) == wanted[name] for name in ("size", "part_sha256", "media_type"))
    values = wanted | {"tended_at": timezone.now()}
    if artifact.state == Artifact.REFUSED or not same:
        remove(artifact)
        values |= {"state": Artifact.INCOMING, "refusal": "", "key": _new_key(), "upload_id": "", "checked": 0}
    Artifact.objects.filter(pk=artifact.pk, state=artifact.state, key=artifact.key).update(**values)
    artifact.refresh_from_db()


def _new_key() -> str:
    return f"incoming/{secrets.token_hex(16)}"


def _count(size: int) -> int:
    return -(-size // PART_BYTES)


def _begin_parts(artifact: Artifact) -> None:
    """Open the store's upload. Of two that do so at once one wins; the other's is closed again."""
    client, bucket = storage.client(), storage.bucket()
    with storage.unavailable("opening an upload"):
        upload_id = client.create_multipart_upload(
            Bucket=bucket, Key=artifact.key, ContentType=artifact.media_type, ChecksumAlgorithm="SHA256"
        )["UploadId"]
        waiting = Artifact.objects.filter(pk=artifact.pk, state=Artifact.INCOMING, key=artifact.key, upload_id="")
        if not waiting.update(upload_id=upload_id):
            client.abort_multipart_upload(Bucket=bucket, Key=artifact.key, UploadId=upload_id)
    artifact.refresh_from_db()


# -- what to send ------------------------------------------------------------------------------------------------------


def offer(artifact: Artifact) -> dict[str, Any] | None:
    """What to PUT now, or None where nothing is to be sent.

    ``{url, method, headers, expires_at}`` for a file in one piece. In parts: ``{part_size, parts_total, parts_done,
    parts: [{number, offset, size, url, method, headers}], expires_at}``; without parts left, confirm.
    """
    if artifact.state != Artifact.INCOMING:
        return None
    expires = {"expires_at": (timezone.now() + timedelta(minutes=UPLOAD_MINUTES)).isoformat()}
    if not artifact.upload_id:
        headers = {"Content-Type": artifact.media_type, "Content-Length": str(artifact.size)}
        return _presigned("put_object", artifact, artifact.size, artifact.sha256, headers) | expires
    done = _parts(artifact)
    missing = [number for number in range(1, len(artifact.part_sha256) + 1) if done is not None and number not in done]
    return {
        "part_size": PART_BYTES,
        "parts_total": len(artifact.part_sha256),
        "parts_done": len(artifact.part_sha256) - len(missing),
        "parts": [_part(artifact, number) for number in missing[:OFFERED]],
    } | expires


def _part(artifact: Artifact, number: int) -> dict[str, Any]:
    offset = (number - 1) * PART_BYTES
    size = min(PART_BYTES, artifact.size - offset)
    place = {"number": number, "offset": offset, "size": size}
    headers = {"Content-Length": str(size)}
    return place | _presigned("upload_part", artifact, size, artifact.part_sha256[number - 1], headers, number)


def _presigned(
    call: str, artifact: Artifact, size: int, sha256: str, headers: dict[str, str], number: int | None = None
) -> dict[str, Any]:
    """Length and checksum are bound in the signature: the headers have to be sent exactly so."""
    checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
    named = {"Bucket": storage.bucket(), "Key": artifact.key, "ContentLength": size, "ChecksumSHA256": checksum}
    if number is None:
        named["ContentType"] = artifact.media_type
    else:
        named |= {"UploadId": artifact.upload_id, "PartNumber": number}
    url = storage.client().generate_presigned_url(call, Params=named, ExpiresIn=UPLOAD_MINUTES * 60)
    if "x-amz-checksum-sha256" not in url.lower().partition("?")[2].partition("&x-amz-signedheaders")[0]:
        headers["x-amz-checksum-sha256"] = checksum
    return {"url": url, "method": "PUT", "headers": headers}


# -- what has come -----------------------------------------------------------------------------------------------------


def _parts(artifact: Artifact) -> "dict[int, CompletedPartTypeDef] | None":
    """The parts that the store holds; None where it does not know the upload (any more)."""
    client = storage.client()
    found: dict[int, CompletedPartTypeDef] = {}
    try:
        with storage.unavailable("listing the parts of an upload"):
            pages = client.get_paginator("list_parts").paginate(
                Bucket=storage.bucket(), Key=artifact.key, UploadId=artifact.upload_id
            )
            for part in (part for page in pages for part in page.get("Parts", [])):
                number = part["PartNumber"]
                if 1 <= number <= len(artifact.part_sha256) and part["Size"] == _size_of(artifact, number):
                    checksum = base64.b64encode(bytes.fromhex(artifact.part_sha256[number - 1])).decode()
                    found[number] = {"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": checksum}
    except client.exceptions.ClientError:
        return None
    return found


def _size_of(artifact: Artifact, number: int) -> int:
    return min(PART_BYTES, artifact.size - (number - 1) * PART_BYTES)


def arrived(artifact: Artifact) -> str | None:
    """The version that was uploaded; None while it lies there in parts that are all there.

    Raises ConflictError ``artifact_not_uploaded``, which says how much is missing.
    """
    client = storage.client()
    try:
        with storage.unavailable("looking for the upload"):
            return client.head_object(Bucket=storage.bucket(), Key=artifact.key).get("VersionId", "")
    except client.exceptions.ClientError:
        missing = "The file has not arrived. PUT it to the upload URL, then confirm."
    if artifact.upload_id:
        done = _parts(artifact)
        if done is not None and len(done) == len(artifact.part_sha256):
            return None
        if done is None:  # the store gave the upload up: the next announcement opens another
            Artifact.objects.filter(pk=artifact.pk, state=Artifact.INCOMING).update(upload_id="")
        missing = (
            f"{len(done or ())} of {len(artifact.part_sha256)} parts have arrived. "
            "Announce the file again to get URLs for the others, PUT them, then confirm."
        )
    raise ConflictError(missing, code="artifact_not_uploaded")


def complete(artifact: Artifact) -> str:
    """The version of the whole file, put together now if it came in parts. Raises ``artifact_not_uploaded``."""
    version = arrived(artifact)
    if version is not None:
        return version
    done = _parts(artifact) or {}
    with storage.unavailable("putting the parts together"):
        storage.client().complete_multipart_upload(
            Bucket=storage.bucket(),
            Key=artifact.key,
            UploadId=artifact.upload_id,
            MultipartUpload={"Parts": [done[number] for number in sorted(done)]},
        )
    return arrived(artifact) or ""


def remove(artifact: Artifact) -> None:
    """Every version of what lies under ``incoming/``, and parts that were never put together."""
    client, bucket = storage.client(), storage.bucket()
    with storage.unavailable("deleting the upload"):
        if artifact.upload_id:
            try:
                client.abort_multipart_upload(Bucket=bucket, Key=artifact.key, UploadId=artifact.upload_id)
            except client.exceptions.ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                    raise
        for version in client.list_object_versions(Bucket=bucket, Prefix=artifact.key).get("Versions", []):
            client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


def give_up_abandoned(now: datetime, limit: int = 100) -> int:
    """Remove what was announced, and perhaps sent, and never confirmed. Returns how many."""
    since = now - ABANDONED
    abandoned = Artifact.objects.filter(state=Artifact.INCOMING, tended_at__lt=since).order_by("tended_at")[:limit]
    for artifact in abandoned:
        remove(artifact)
        Artifact.objects.filter(pk=artifact.pk, state=Artifact.INCOMING, tended_at__lt=since).delete()
    return len(abandoned)
