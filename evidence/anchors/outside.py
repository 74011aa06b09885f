"""The bucket of anchors: what was published there, and how something is added.

- ``checkpoints/<size>``: the signed checkpoint of that size, written once, under Object Lock. Its metadata names the
  anchor before it, so that one which was taken away leaves a hole.
- ``tile/…``: full tiles and full entry bundles (C2SP tlog-tiles), under Object Lock.
- ``checkpoint``: the newest checkpoint again, overwritten. It is a pointer for readers and may lag.

Whoever reads trusts signatures only: what no log key signed does not count, wherever it lies.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from django.conf import settings
from django.utils import timezone

from evidence import keys, retention, storage
from evidence.tlog.checkpoint import Checkpoint, open_checkpoint
from evidence.tlog.errors import MalformedError, TlogError
from evidence.tlog.note import Verifier

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints/"
POINTER = "checkpoint"
PREVIOUS = "previous"
TEXT, BINARY = "text/plain; charset=utf-8", "application/octet-stream"


def configured() -> bool:
    """Whether this installation has a bucket of anchors."""
    return bool(settings.S3_ANCHOR_BUCKET)


@dataclass(frozen=True)
class Published:
    """A checkpoint in the bucket, its signature verified."""

    checkpoint: Checkpoint
    note: str
    key: str
    version_id: str
    modified: datetime
    #: Size of the anchor before this one; None for the first.
    previous: int | None

    @property
    def size(self) -> int:
        return self.checkpoint.size


def log_keys() -> Sequence[Verifier]:
    """Keys whose signature counts: published ones for their sizes, and those of the key file that this database does
    not know (it may be an older copy)."""
    published = keys.log_keys()
    unknown = set(keys.private_keys(keys.LOG)) - {key.vkey for key in published}
    return [*published, *map(Verifier.parse, sorted(unknown))]


def open_anchor(note: str, trusted: Sequence[Verifier] | None = None) -> Checkpoint:
    """The checkpoint of a note that a log key of that size signed. Raises TlogError."""
    return open_checkpoint(note, log_keys() if trusted is None else trusted)


@dataclass(frozen=True)
class Outside:
    """The bucket, through one client. Errors of the store pass through as botocore's."""

    client: "S3Client"

    @property
    def bucket(self) -> str:
        return str(settings.S3_ANCHOR_BUCKET)

    def key(self, path: str) -> str:
        return f"{settings.S3_ANCHOR_PREFIX}{path}"

    # -- reading ---------------------------------------------------------------------------------------------------

    def newest(self) -> Published | None:
        """The newest anchor: the pointer's, or one beyond it where the pointer lags. None in an empty bucket."""
        pointer = self.pointer()
        for size in self._beyond(pointer.size if pointer else 0):
            if found := self.read(f"{CHECKPOINTS}{size}"):
                return found
        return pointer

    def pointer(self) -> Published | None:
        """What the pointer says; None where there is none, or none that a log key signed."""
        return self.read(POINTER)

    def read(self, path: str) -> Published | None:
        """An anchor; None where there is none that counts. What was put over one does not hide it."""
        found = self._open(path)
        if found is None:
            versions = self.client.list_object_versions(Bucket=self.bucket, Prefix=self.key(path)).get("Versions", [])
            same = (version["VersionId"] for version in versions if version["Key"] == self.key(path))
            found = next((anchor for version in same if (anchor := self._open(path, version))), None)
        return found

    def _open(self, path: str, version: str | None = None) -> Published | None:
        which = {"VersionId": version} if version else {}
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key(path), **which)  # type: ignore[arg-type]  # by parts
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        note = answer["Body"].read(1 << 16).decode(errors="replace")
        try:
            checkpoint = open_anchor(note)
            if path not in {POINTER, f"{CHECKPOINTS}{checkpoint.size}"}:
                raise MalformedError(f"it speaks of size {checkpoint.size}")
        except TlogError as error:
            logger.error("%s/%s does not count: %s", self.bucket, self.key(path), error)
            return None
        return Published(
            checkpoint=checkpoint,
            note=note,
            key=self.key(path),
            version_id=answer.get("VersionId", ""),
            modified=answer["LastModified"],
            previous=previous_of(answer["Metadata"]),
        )

    def _beyond(self, size: int) -> list[int]:
        """Sizes in the bucket above `size`, largest first.

        Keys are listed as text. Numbers somewhat larger than `size` follow it there, those with one digit more follow
        a 1 and zeros: so few pages find what was published after a pointer was, however many anchors there are.
        """
        found: set[int] = set()
        while True:
            highest = max(found, default=size)
            digits = len(str(highest))
            more = {n for start in (str(highest), "1" + "0" * (digits - 1)) for n in self._listed(start) if n > highest}
            if not more:
                return sorted(found, reverse=True)
            found |= more

    def _listed(self, start: str) -> Iterator[int]:
        prefix = self.key(CHECKPOINTS)
        page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, StartAfter=prefix + start)
        for entry in page.get("Contents", []):
            name = entry["Key"].removeprefix(prefix)
            if name.isascii() and name.isdecimal():
                yield int(name)

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(self, path: str, body: bytes, *, media_type: str, same: Callable[[bytes], bool], previous: str = "") -> str:
        """Write an object once, under Object Lock, and return its version.

        One that is there already stays if it is the same. Whatever else somebody put there is covered by a version
        of ours: nothing can be replaced.
        """
        where = {"Bucket": self.bucket, "Key": self.key(path)}
        try:
            return self._put(path, body, media_type, previous, once=True)
        except ClientError as error:
            if _status(error) != 412:
                raise
        there = self.client.get_object(**where)  # type: ignore[arg-type]  # built by parts
        if same(there["Body"].read()):
            return there.get("VersionId", "")
        logger.error("%s/%s was not written by this log; a version of its own covers it", self.bucket, self.key(path))
        return self._put(path, body, media_type, previous, once=False)

    def _put(self, path: str, body: bytes, media_type: str, previous: str, *, once: bool) -> str:
        options = {"IfNoneMatch": "*"} if once else {}
        answer = self.client.put_object(
            Bucket=self.bucket,
            Key=self.key(path),
            Body=body,
            ContentType=media_type,
            Metadata={PREVIOUS: previous} if previous else {},
            ChecksumAlgorithm="SHA256",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=locked_until(timezone.now()),
            **options,  # type: ignore[arg-type]  # built by parts
        )
        return answer.get("VersionId", "")

    def point_to(self, note: str) -> None:
        """Overwrite the pointer. Not locked: it changes, and what it names is."""
        self.client.put_object(
            Bucket=self.bucket,
            Key=self.key(POINTER),
            Body=note.encode(),
            ContentType=TEXT,
            CacheControl="no-store",
            ChecksumAlgorithm="SHA256",
        )


def previous_of(metadata: Mapping[str, str]) -> int | None:
    """Size of the anchor before, as an object's metadata names it."""
    named = metadata.get(PREVIOUS, "")
    return int(named) if named.isascii() and named.isdecimal() else None


def writer() -> Outside:
    """With the credentials that may add anchors and nothing else."""
    return Outside(storage.anchor_client())


def reader() -> Outside:
    """With the service's own credentials, which may look; it does not wait long."""
    return Outside(storage.quick_client())


def locked_until(now: datetime) -> datetime:
    """As long as the longest retention class: an anchor proves every record before it."""
    return max(retention.retain_until(name, now) for name in retention.classes())


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
