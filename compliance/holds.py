"""Legal holds: while one stands, what it names is not disposed of, whatever its date says.

A hold and its release are records. The database refuses to delete a held payload; files of held records carry a
legal hold at the store too, where it has one (`hold_objects`, swept with every disposition).
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError
from celery import current_app
from django.db import transaction
from django.db.models import Count, QuerySet

from compliance.models import HeldObject
from config.errors import ConflictError, InvalidError, MissingError
from evidence import storage
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor, Idempotency, Placed, append, service_draft
from evidence.models import Artifact, Hold, HoldItem, Record, Release, System
from evidence.models.people import opaque_id

logger = logging.getLogger(__name__)
#: Who places and releases holds; administrators always may.
ROLES = ("liaison",)


@dataclass(frozen=True)
class Target:
    """What a hold keeps: one record (index), everything of a release (id), or everything of a system (name)."""

    record: int | None = None
    release: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.record, self.release, self.system)) != 1:
            raise InvalidError("Name one of record, release or system.", code="hold_target_invalid", where="$")


def place_hold(
    *,
    actor: Actor,
    reason: str,
    target: Target,
    visible: Sequence[str] | None = None,
    idempotency: Idempotency | None = None,
) -> Placed:
    """Append `hold.placed`; `visible` are the systems that who asks may see, None means all.

    Raises ``record_unknown``, ``release_unknown``, ``system_unknown``, ``record_disposed``.
    """
    said = {"hold": opaque_id("hold"), "reason": _checked(reason)}

    def compose(_: datetime) -> Composed:
        found, systems = _find(target, visible)
        return Composed(said | found, systems)

    return _told(append_composed("hold.placed", compose, actor=actor, idempotency=idempotency))


def _told(placed: Placed) -> Placed:
    """Let the worker tell the store; the sweep before each disposition does what a lost message did not."""
    transaction.on_commit(lambda: current_app.send_task("compliance.tasks.hold_objects"), robust=True)
    return placed


def _find(target: Target, visible: Sequence[str] | None) -> tuple[dict[str, str | int], list[str]]:
    """The target as the record names it, and its systems."""
    if target.record is not None:
        record = Record.objects.in_systems(visible).filter(pk=target.record).first()
        if record is None:
            raise MissingError(f"There is no record {target.record}.", code="record_unknown", where="$.record")
        if record.disposed_by is not None:
            detail = f"Record {record.pk} was disposed of by record {record.disposed_by}."
            raise ConflictError(detail, code="record_disposed", where="$.record")
        return {"record": record.pk}, record.scope
    if target.release is not None:
        release = Release.objects.in_systems(visible).filter(pk=target.release).first()
        if release is None:
            raise MissingError(f"There is no release {target.release!r}.", code="release_unknown", where="$.release")
        return {"release": release.pk}, [release.system_id]
    system = System.objects.filter(name=target.system).first()
    if system is None or (visible is not None and system.pk not in visible):
        raise MissingError(f"There is no system {target.system!r}.", code="system_unknown", where="$.system")
    return {"system": system.pk}, [system.pk]


def _checked(reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise InvalidError("Say why: the reason stands in the record.", code="reason_missing", where="$.reason")
    return reason


def release_hold(hold: Hold, *, actor: Actor, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Append `hold.released`. Raises ``hold_released`` when the hold ended before."""

    def admit(_: datetime) -> None:
        if Hold.objects.exclude(released_by=None).filter(pk=hold.pk).exists():
            raise ConflictError(f"Hold {hold.pk} was released before.", code="hold_released")

    systems = list(Record.objects.values_list("scope", flat=True).get(pk=hold.placed_by))
    body = {"hold": hold.pk, "reason": _checked(reason)}
    draft = service_draft("hold.released", body, actor=actor, systems=systems, idempotency=idempotency, admit=admit)
    return _told(append(draft))


# -- questions -------------------------------------------------------------------------------------------------------


def in_systems(systems: Sequence[str] | None) -> QuerySet[Hold]:
    """Holds on what belongs to these systems (opaque ids); None means all."""
    if systems is None:
        return Hold.objects.all()
    placed = Record.objects.in_systems(systems).filter(kind="hold.placed")
    return Hold.objects.filter(placed_by__in=placed.values("index"))


def record_counts(found: Iterable[Hold]) -> dict[str, int]:
    """How many records each hold keeps or kept."""
    items = HoldItem.objects.filter(hold_id__in=[hold.pk for hold in found])
    return dict(items.values_list("hold_id").annotate(count=Count("index")).order_by())


def system_names(found: Iterable[Hold]) -> dict[str, str]:
    """Names of the systems that holds name, by opaque id."""
    wanted = [hold.system for hold in found if hold.system]
    return dict(System.objects.filter(pk__in=wanted).values_list("pk", "name"))


# -- the store -------------------------------------------------------------------------------------------------------


def held_artifacts() -> dict[tuple[str, str], Artifact]:
    """Confirmed files of records under a standing hold, by key and version."""
    standing = Hold.objects.filter(released_by=None).values("pk")
    held = HoldItem.objects.filter(hold_id__in=standing).values("index")
    found: dict[tuple[str, str], Artifact] = {}
    for record in Record.objects.filter(index__in=held).exclude(subjects=[]).iterator():
        digests = [subject.removeprefix("sha256:") for subject in record.subjects]
        files = Artifact.objects.filter(system__in=record.scope, sha256__in=digests, state=Artifact.CONFIRMED)
        found.update(((file.key, file.version_id), file) for file in files)
    return found


def hold_objects() -> None:
    """Bring the store's legal holds in line with the standing ones. What fails is tried again by the next sweep."""
    wanted = set(held_artifacts())
    marked = set(HeldObject.objects.values_list("key", "version_id"))
    for key, version in wanted - marked:
        if _mark(key, version, "ON"):
            HeldObject.objects.get_or_create(key=key, version_id=version)
    for key, version in marked - wanted:
        if _mark(key, version, "OFF"):
            HeldObject.objects.filter(key=key, version_id=version).delete()


def _mark(key: str, version: str, status: str) -> bool:
    client, bucket = storage.client(), storage.bucket()
    try:
        client.put_object_legal_hold(
            Bucket=bucket,
            Key=key,
            VersionId=version,
            LegalHold={"Status": status},  # type: ignore[typeddict-item]  # ON or OFF
        )
    except (ClientError, BotoCoreError) as error:
        logger.warning("the store did not set the legal hold of %s to %s: %s", key, status, error)
        return False
    return True
