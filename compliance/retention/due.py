"""Which records may go: past their date, not held, not needed.

Records that make up one thing (a release with its approvals, an exception with its transitions) go together in one
disposition or not at all, so that the rows which follow from them are always those of a whole history.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.db.models import Exists, OuterRef, QuerySet

from compliance.models import Pack
from evidence.models import Artifact, Hold, HoldItem, Payload, Record
from exceptions.models import Risk, SecurityException

#: The most records of one disposition; only a thing that is larger by itself makes it longer.
BATCH = 1000
#: Never disposed of: without them nobody could say why a payload is missing, or whose key or which system was meant.
PERMANENT = ("retention.", "hold.", "config.", "key.")
#: Kinds whose records make up a thing, and the fact that names it.
THINGS = {"exception.": "exception", "risk.": "risk", "pack.": "pack"}
#: Kinds that make up a release's row.
RELEASE_KINDS = ("release.opened", "release.closed", "release.cancelled", "deploy.manifest", "approval")


@dataclass(frozen=True)
class Thing:
    """What records make up together: ``("exception", "EXC-0001")``."""

    type: str
    id: str


def thing_of(record: Record) -> Thing | None:
    """The thing that this record is a part of, or None when it stands alone."""
    if record.kind in RELEASE_KINDS and record.release is not None:
        return Thing("release", record.release)
    fact = next((name for prefix, name in THINGS.items() if record.kind.startswith(prefix)), None)
    return Thing(fact, str(record.facts[fact])) if fact is not None and fact in record.facts else None


def parts_of(thing: Thing) -> QuerySet[Record]:
    """All records of a thing that still have their content."""
    remaining = Record.objects.filter(disposed_by=None).order_by("index")
    if thing.type == "release":
        return remaining.filter(release=thing.id, kind__in=RELEASE_KINDS)
    return remaining.filter(kind__startswith=thing.type + ".", **{f"facts__{thing.type}": thing.id})


def is_open(thing: Thing, now: datetime) -> bool:
    """Whether a thing is not over: retention of exceptions and risks runs from their closing."""
    if thing.type == "exception":
        return any(exception.is_open for exception in SecurityException.objects.filter(pk=thing.id))
    if thing.type == "risk":
        return Risk.objects.filter(pk=thing.id).exclude(status="closed").exists()
    if thing.type == "pack":
        return Pack.objects.filter(pk=thing.id, locked_until__gt=now).exists()
    return False


def expired(now: datetime) -> QuerySet[Payload]:
    """Payloads past their date that no standing hold keeps."""
    standing = Hold.objects.filter(pk=OuterRef("hold_id"), released_by=None)
    held = HoldItem.objects.filter(Exists(standing), index=OuterRef("index"))
    return Payload.objects.filter(~Exists(held), retain_until__lte=now)


def needed(record: Record) -> bool:
    """Whether a record stays whatever its date says."""
    if record.kind.startswith(PERMANENT):
        return True
    if record.kind == "record.withdrawn":  # or the record that it withdrew would count again
        return Record.objects.filter(withdrawn_by=record.index, disposed_by=None).exists()
    return False


def whole(record: Record, now: datetime) -> list[Record]:
    """The records that go with this one, itself included; empty when any of them has to stay."""
    if needed(record):
        return []
    thing = thing_of(record)
    if thing is None:
        return [record]
    parts = list(parts_of(thing))
    gone = expired(now).filter(index__in=[part.index for part in parts]).count()
    return parts if gone == len(parts) and not is_open(thing, now) else []


def batches(now: datetime) -> Iterator[tuple[str, list[int]]]:
    """Dispositions to make: a retention class and at most BATCH record indexes, oldest first."""
    taken: set[int] = set()
    for retention_class, page in groupby(_candidates(now), key=lambda candidate: candidate[0]):
        batch: list[int] = []
        for _, record in page:
            if record.index in taken:
                continue
            found = [part.index for part in whole(record, now)]
            if batch and len(batch) + len(found) > BATCH:
                yield retention_class, batch
                batch = []
            batch += found
            taken.update(found)
        if batch:
            yield retention_class, batch


def _candidates(now: datetime) -> Iterator[tuple[str, Record]]:
    """Records past their date by class and index, in pages: what has to stay does not hold up what comes after."""
    names = expired(now).order_by("retention_class").values_list("retention_class", flat=True).distinct()
    for name in list(names):
        last = -1
        while page := list(
            expired(now)
            .filter(retention_class=name, index__gt=last)
            .order_by("index")
            .values_list("index", flat=True)[:BATCH]
        ):
            yield from ((name, record) for record in Record.objects.filter(index__in=page).order_by("index"))
            last = page[-1]


def still_due(indexes: Iterable[int], now: datetime) -> bool:
    """Whether all of these may (still) go: asked again under the head lock."""
    wanted = set(indexes)
    records = Record.objects.filter(index__in=wanted, disposed_by=None)
    if expired(now).filter(index__in=wanted).count() != len(wanted):
        return False
    return all((found := {part.index for part in whole(record, now)}) and found <= wanted for record in records)


def unreferenced(now: datetime) -> QuerySet[Artifact]:
    """Files past their date, at the store too, that no record refers to any more."""
    past = Artifact.objects.filter(state=Artifact.CONFIRMED, retain_until__lte=now)
    return past.exclude(locked_until__gt=now).extra(  # the array column is built from the row's own digest
        where=[
            "NOT EXISTS (SELECT 1 FROM evidence_record r WHERE r.subjects @> ARRAY['sha256:' || "
            "evidence_artifact.sha256]::varchar[] AND r.scope @> ARRAY[evidence_artifact.system_id]::varchar[])"
        ]
    )
