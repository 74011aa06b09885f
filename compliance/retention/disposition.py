"""Daily disposition (R1.12, R2.5): erase what is past its retention, keep the leaf, record it.

A crash between any two steps leaves something that the next run finishes:

1. records: `retention.disposed` is appended; in the same transaction the payloads, the idempotency marks and the
   derived columns go. A proof of the leaf still verifies.
2. files that no record refers to any more: their rows go with a `retention.disposed` record that names the object
   versions, and each version becomes a durable to-do (`ObjectErasure`) in that transaction.
3. the store: each version on the to-do list is deleted, again and again until the store says it is gone; then
   `retention.erased` says so and ends the to-do in one transaction.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.db.models import F
from django.utils import timezone

from compliance.models import ObjectErasure
from compliance.retention import due
from config.errors import ConflictError
from evidence import retention, storage
from evidence.ledger import Actor, Placed, append, service_draft
from evidence.models import Artifact, Idempotency, Payload, Record
from evidence.models.people import SERVICE

logger = logging.getLogger(__name__)


def rule_of(retention_class: str) -> str:
    """The rule in words of the policy: ``deploy-log P13M``."""
    period = retention.classes().get(retention_class, {}).get("period", "class no longer declared")
    return f"{retention_class} {period}"


def dispose(now: datetime | None = None) -> list[Placed]:
    """Make every disposition that is due; returns its records."""
    now = now or timezone.now()
    made: list[Placed] = []
    try:
        for retention_class, indexes in due.batches(now):
            made.append(_dispose_records(retention_class, indexes))
        while files := list(due.unreferenced(now).order_by("retention_class", "pk")[: due.BATCH]):
            same_class = [file for file in files if file.retention_class == files[0].retention_class]
            made.append(_dispose_files(same_class))
    except ConflictError as error:  # another worker, or a hold placed a moment ago: the next run looks again
        logger.info("disposition stops: %s", error.detail)
    erase_objects()
    return made


# -- 1. records ------------------------------------------------------------------------------------------------------


def _dispose_records(retention_class: str, indexes: Sequence[int]) -> Placed:
    def admit(at: datetime) -> None:
        if not due.still_due(indexes, at):
            raise ConflictError("A record is held, needed or gone since it was found due.", code="disposition_stale")

    def apply(_: int, __: datetime) -> None:
        deleted = Payload.objects.filter(index__in=indexes).delete()[0]
        if deleted != len(indexes):
            raise RuntimeError(f"{deleted} payloads deleted, {len(indexes)} meant")  # ends the transaction
        Idempotency.objects.filter(index__in=indexes).update(request_mac=None)

    body = {"rule": rule_of(retention_class), "class": retention_class, "records": sorted(indexes), "objects": []}
    return _append("retention.disposed", body, _systems(indexes), admit, apply)


def _systems(indexes: Sequence[int]) -> list[str]:
    """The systems of some records; none when one of them belongs to all."""
    scopes = list(Record.objects.filter(index__in=indexes).values_list("scope", flat=True))
    return [] if any(not scope for scope in scopes) else sorted({system for scope in scopes for system in scope})


def _append(
    kind: str,
    body: Mapping[str, Any],
    systems: Sequence[str],
    admit: Callable[[datetime], None] | None,
    apply: Callable[[int, datetime], None],
) -> Placed:
    return append(service_draft(kind, body, actor=Actor(SERVICE), systems=systems, admit=admit, apply=apply))


# -- 2. files --------------------------------------------------------------------------------------------------------


def _dispose_files(files: Sequence[Artifact]) -> Placed:
    ids = [file.pk for file in files]

    def admit(at: datetime) -> None:
        if due.unreferenced(at).filter(pk__in=ids).count() != len(ids):
            raise ConflictError("A file is referred to again.", code="disposition_stale")

    def apply(index: int, _: datetime) -> None:
        ObjectErasure.objects.bulk_create(
            ObjectErasure(
                key=file.key,
                version_id=file.version_id,
                sha256=file.sha256,
                size=file.size,
                system=file.system_id,
                disposed_by=index,
            )
            for file in files
        )
        Artifact.objects.filter(pk__in=ids).delete()

    retention_class = files[0].retention_class
    objects = [_object(file) for file in files]
    body = {"rule": rule_of(retention_class), "class": retention_class, "records": [], "objects": objects}
    return _append("retention.disposed", body, sorted({file.system_id for file in files}), admit, apply)


def _object(row: Artifact | ObjectErasure) -> dict[str, Any]:
    return {"sha256": row.sha256, "key": row.key, "version_id": row.version_id, "size": row.size}


# -- 3. the store ----------------------------------------------------------------------------------------------------


def erase_objects(limit: int = 5000) -> int:
    """Delete what is on the to-do list and record it; what the store refuses waits for the next run."""
    erased: dict[int, list[ObjectErasure]] = {}
    for row in islice(ObjectErasure.objects.waiting().iterator(), limit):
        if _erase(row):
            erased.setdefault(row.disposed_by, []).append(row)
    for disposed_by, rows in erased.items():
        for start in range(0, len(rows), due.BATCH):
            _record_erased(disposed_by, rows[start : start + due.BATCH])
    return sum(map(len, erased.values()))


def _erase(row: ObjectErasure) -> bool:
    """Delete that version alone; deleting one that is gone succeeds too."""
    where = {"Bucket": storage.bucket(), "Key": row.key, "VersionId": row.version_id}
    try:
        storage.client().delete_object(**where)  # type: ignore[arg-type]  # built by parts
        _expect_gone(where)
    except (ClientError, BotoCoreError, ConflictError) as error:
        ObjectErasure.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1, error=str(error)[:300])
        logger.warning("object %s version %s was not erased: %s", row.key, row.version_id, error)
        return False
    return True


def _expect_gone(where: Mapping[str, str]) -> None:
    try:
        storage.client().head_object(**where)  # type: ignore[arg-type]  # built by parts
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 405}:
            return
        raise
    raise ConflictError("The store still has that version.", code="object_remains")


def _record_erased(disposed_by: int, rows: Sequence[ObjectErasure]) -> None:
    ids = [row.pk for row in rows]

    def admit(_: datetime) -> None:
        if ObjectErasure.objects.waiting().filter(pk__in=ids).count() != len(ids):
            raise ConflictError("Another worker recorded this erasure.", code="disposition_stale")

    def apply(index: int, _: datetime) -> None:
        ObjectErasure.objects.filter(pk__in=ids).update(erased_by=index, error="")

    body = {"disposed_by": disposed_by, "objects": [_object(row) for row in rows]}
    try:
        _append("retention.erased", body, sorted({row.system for row in rows}), admit, apply)
    except ConflictError as error:
        logger.info("erasure not recorded twice: %s", error.detail)
