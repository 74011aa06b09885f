"""Packs on S3: one version, under Object Lock in compliance mode, read back before anybody relies on it."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING

from compliance.packs.container import CHUNK
from config.errors import ConflictError, UnavailableError
from evidence import storage
from evidence.artifacts import lock

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 16 << 20
_MOST_PARTS = 9_000


@dataclass(frozen=True)
class Stored:
    key: str
    version_id: str
    locked_until: datetime


@dataclass(frozen=True)
class Content:
    """A finished pack on disk."""

    file: IO[bytes]
    sha256: str
    size: int

    @classmethod
    def of(cls, file: IO[bytes]) -> "Content":
        digest, size = hashlib.sha256(), 0
        file.seek(0)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return cls(file, digest.hexdigest(), size)


def store(
    key: str, content: Content, *, until: datetime, began: Callable[[str], None], part_done: Callable[[int, int], None]
) -> Stored:
    """Put the pack under lock and read it back; a version that an interrupted attempt left is adopted.

    `began` gets the id of a multipart upload, so that the next attempt can abort what this one leaves behind.
    Raises UnavailableError when the store is out, ConflictError when it did not keep what it was given.
    """
    with storage.unavailable("storing a pack"):
        found = _standing(key, content) or _upload(key, content, until, began, part_done)
        _read_back(found, content)
    return found


def abort(key: str, upload_id: str) -> None:
    """Remove the parts of an upload that never ended; harmless when it did."""
    client = storage.client()
    with storage.unavailable("aborting an upload"):
        try:
            client.abort_multipart_upload(Bucket=storage.bucket(), Key=key, UploadId=upload_id)
        except client.exceptions.ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise


def _standing(key: str, content: Content) -> Stored | None:
    client = storage.client()
    try:
        head = client.head_object(Bucket=storage.bucket(), Key=key)
    except client.exceptions.ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
    until, mode = head.get("ObjectLockRetainUntilDate"), head.get("ObjectLockMode")
    same = head["ContentLength"] == content.size and head.get("Metadata", {}).get("sha256") == content.sha256
    if not same or mode != "COMPLIANCE" or until is None:
        return None
    return Stored(key, head["VersionId"], until)


def _upload(
    key: str, content: Content, until: datetime, began: Callable[[str], None], part_done: Callable[[int, int], None]
) -> Stored:
    client, bucket = storage.client(), storage.bucket()
    upload_id = client.create_multipart_upload(
        Bucket=bucket,
        Key=key,
        ContentType="application/zip",
        ChecksumAlgorithm="SHA256",
        Metadata={"sha256": content.sha256},
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )["UploadId"]
    began(upload_id)
    parts = _upload_parts(key, upload_id, content, part_done)
    done = client.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
    )
    version = done.get("VersionId") or client.head_object(Bucket=bucket, Key=key)["VersionId"]
    return Stored(key, version, lock(key, version, until))


def _upload_parts(
    key: str, upload_id: str, content: Content, part_done: Callable[[int, int], None]
) -> "list[CompletedPartTypeDef]":
    size = max(PART_BYTES, content.size // _MOST_PARTS + 1)
    parts: list[CompletedPartTypeDef] = []
    content.file.seek(0)
    while data := content.file.read(size):
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        answer = storage.client().upload_part(
            Bucket=storage.bucket(),
            Key=key,
            UploadId=upload_id,
            PartNumber=len(parts) + 1,
            Body=data,
            ChecksumSHA256=checksum,
        )
        parts.append({"PartNumber": len(parts) + 1, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
        part_done(content.file.tell(), content.size)
    return parts


def _read_back(found: Stored, content: Content) -> None:
    """The version has the bytes that were verified, and the lock that was asked for."""
    client, digest = storage.client(), hashlib.sha256()
    answer = client.get_object(Bucket=storage.bucket(), Key=found.key, VersionId=found.version_id)
    for chunk in answer["Body"].iter_chunks(CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != content.sha256:
        raise UnavailableError(
            f"The store gave back {found.key} with SHA-256 {digest.hexdigest()}, not {content.sha256}.",
            code="store_unfaithful",
        )
    kept = client.get_object_retention(Bucket=storage.bucket(), Key=found.key, VersionId=found.version_id)["Retention"]
    if kept.get("Mode") != "COMPLIANCE" or kept["RetainUntilDate"] < found.locked_until - timedelta(seconds=1):
        raise ConflictError(f"The store did not keep the lock of {found.key}: {kept}.", code="lock_refused")
