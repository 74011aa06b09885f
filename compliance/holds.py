"""Legal holds: while one stands, what it names is not disposed of, whatever its date says.

A hold and its release are records. The database refuses to delete a held payload; files of held records carry a
legal hold at the store too, where it has one (`hold_objects`, swept with every disposition).
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from compliance.models import HeldObject
from config.errors import ConflictError, InvalidError, MissingError
from evidence import storage
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


def place_hold(*, actor: Actor, reason: str, target: Target, idempotency: Idempotency | None = None) -> Placed:
    """Append `hold.placed`. Raises ``record_unknown``, ``release_unknown``, ``system_unknown``, ``record_disposed``."""
    body: dict[str, str | int] = {"hold": opaque_id("hold"), "reason": _checked(reason)}
    systems: list[str] = []
    if target.record is not None:
        body["record"] = target.record
        systems = _scope_of(target.record)
    elif target.release is not None:
        release = Release.objects.filter(pk=target.release).first()
        if release is None:
            raise MissingError(f"There is no release {target.release!r}.", code="release_unknown", where="$.release")
        body["release"] = release.pk
        systems = [release.system_id]
    else:
        system = System.objects.filter(name=target.system).first()
        if system is None:
            raise MissingError(f"There is no system {target.system!r}.", code="system_unknown", where="$.system")
        body["system"] = system.pk
        systems = [system.pk]

    def admit(_: datetime) -> None:
        if target.record is not None:
            _scope_of(target.record)  # it may have been disposed of since

    return append(
        service_draft("hold.placed", body, actor=actor, systems=systems, idempotency=idempotency, admit=admit)
    )


def _scope_of(index: int) -> list[str]:
    record = Record.objects.filter(pk=index).first()
    if record is None:
        raise MissingError(f"There is no record {index}.", code="record_unknown", where="$.record")
    if record.disposed_by is not None:
        raise ConflictError(
            f"Record {index} was disposed of by record {record.disposed_by}.", code="record_disposed", where="$.record"
        )
    return record.scope


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
    return append(
        service_draft("hold.released", body, actor=actor, systems=systems, idempotency=idempotency, admit=admit)
    )


def visible_holds(systems: Iterable[str] | None) -> "list[str] | None":
    """Ids of the holds on records of these systems; None means no restriction."""
    if systems is None:
        return None
    placed = Record.objects.in_systems(systems).filter(kind="hold.placed").values_list("index", flat=True)
    return list(Hold.objects.filter(placed_by__in=placed).values_list("pk", flat=True))


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
