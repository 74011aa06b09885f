"""Facts from records: a handful of queries, whatever the size of the ledger, pinned to a size and a moment."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import F, Max, Q, QuerySet, Window
from django.utils import timezone

from config.errors import ConflictError, InvalidError
from evidence.checklist import records_named
from evidence.events import Event, event_of, events_of, recorded
from evidence.gate.facts import Facts, deploy_time
from evidence.gate.policy import Policy
from evidence.ledger import reader
from evidence.models import Record, Release
from evidence.waivers import waivers_of

#: What rules look at in the release itself.
OF_RELEASE = (
    *("release.closed", "release.cancelled", "release.checklist", "deploy.manifest", "deploy.started"),
    *("deploy.finished", "test.result", "scan.result", "validation.result", "schema.diff", "schema.reviewed"),
    *("changelog.signed", "branch.merged", "hotfix", "approval"),
)
#: What they look at in the system, whichever release it names.
OF_SYSTEM = ("uptime.snapshot", "quota.snapshot", "config.snapshot", "dependency.alerts")
#: What is opened and resolved.
OPENED = ("incident", "defect")
#: Kinds whose whole body matters, not only the facts that are searchable.
WITH_BODY = frozenset(
    {"deploy.manifest", "scan.result", "validation.result", "release.checklist", "hotfix", "branch.merged"}
    | {"uptime.snapshot", "config.snapshot", "dependency.alerts"}
)
#: At most so many records of a release: with some left out, the answer might be greener than the truth.
MOST = 20_000
#: At most so many snapshots of each kind of a system, the newest.
SNAPSHOTS = 500
#: Snapshots of which only the newest of each environment or source says anything.
_ONE_OF = {"config.snapshot": "environment", "dependency.alerts": "source"}


@dataclass(frozen=True)
class Pin:
    """What is looked at: the first `size` records of the ledger, as of `moment`."""

    size: int
    moment: datetime


def pin(as_of: datetime | None = None, size: int | None = None) -> Pin:
    """Everything received by `as_of` (default: now), and of that the first `size` records.

    Raises InvalidError ``as_of_in_future``, ``size_unknown``.
    """
    whole, now = reader.size(), timezone.now()
    if as_of is not None and as_of > now:
        raise InvalidError("as_of lies in the future.", code="as_of_in_future", where="as_of")
    if size is not None and not 0 < size <= whole:
        raise InvalidError(f"The ledger has {whole} records.", code="size_unknown", where="size")
    received = whole if as_of is None else received_by(as_of, whole)
    if size is None:
        return Pin(received, as_of or now)
    if size > received and as_of is not None:
        raise InvalidError("Not so many records were received by as_of.", code="size_unknown", where="size")
    return Pin(size, as_of or Record.objects.values_list("at", flat=True).get(index=size - 1))


_RECEIVED = """
WITH RECURSIVE search(below, above) AS (
  SELECT -1::bigint, %s::bigint
  UNION ALL
  SELECT CASE WHEN r.at <= %s THEN m.middle ELSE s.below END, CASE WHEN r.at <= %s THEN s.above ELSE m.middle END
  FROM search s, LATERAL (SELECT (s.below + s.above) / 2 AS middle) m
  JOIN evidence_record r ON r."index" = m.middle
  WHERE s.above - s.below > 1
) SELECT max(below) + 1 FROM search
"""


def received_by(moment: datetime, size: int) -> int:
    """How many of the first `size` records were received by then: times of receipt never fall, so halving finds it."""
    with connection.cursor() as cursor:
        cursor.execute(_RECEIVED, [size, moment, moment])
        (found,) = cursor.fetchone()
    return int(found)


def gather(release: Release, environment: str, policy: Policy, at: Pin) -> Facts:
    """The facts about a release. Raises ConflictError ``release_not_open_yet``, ``release_too_large``."""
    if release.opened_by >= at.size:
        raise ConflictError(f"{release.pk} was not open yet at that moment.", code="release_not_open_yet")
    checklist = policy.checklist(release.system.name)
    rows = {row.index: row for row in _of_release(release, checklist, at)}
    if len(rows) > MOST:
        raise ConflictError(
            f"{release.pk} has more than {MOST} records that the gate would have to look at.", code="release_too_large"
        )
    own = events_of(list(rows.values()), WITH_BODY.__contains__)
    manifests = [event for event in own if event.kind == "deploy.manifest"]
    builds = {build for manifest in manifests for build in (*manifest.subjects, manifest.digest) if build is not None}
    around = {row.index: row for row in _around(release.system_id, builds, at) if row.index not in rows}
    bodies = recorded(row.index for row in _telling(around.values()))
    other = [event_of(row, bodies.get(row.index)) for row in around.values()]
    events = tuple(sorted([*own, *other], key=lambda event: event.index))
    return Facts(
        release=release.pk,
        type=release.type,
        surfaces=tuple(release.surfaces),
        environment=environment,
        moment=at.moment,
        size=at.size,
        opened=release.opened_by,
        events=events,
        severities=policy.severities,
        roles=policy.roles(release.system.name),
        excused=_excused(release, policy, events, at),
        checklist=checklist,
        gone=_gone(events, release, at),
    )


def _counting(at: Pin) -> QuerySet[Record]:
    """Records that counted at that size: neither withdrawn nor disposed of by a record below it."""
    return Record.objects.filter(
        Q(withdrawn_by=None) | Q(withdrawn_by__gte=at.size), Q(disposed_by=None) | Q(disposed_by__gte=at.size)
    ).filter(index__lt=at.size)


def _of_release(release: Release, checklist: Iterable[Mapping[str, Any]], at: Pin) -> QuerySet[Record]:
    items = [item for section in checklist for item in section.get("items", [])]
    kinds = {*OF_RELEASE, *(item["met_by"]["kind"] for item in items if item.get("met_by"))}
    return _counting(at).filter(release=release.pk, kind__in=kinds).order_by("-index")[: MOST + 1]


def _around(system: str, builds: Collection[str], at: Pin) -> list[Record]:
    """Snapshots of the system, scans that name the build without naming the release, and what is open in it."""
    here = _counting(at).filter(Q(scope__contains=[system]) | Q(scope=[]))
    parts = [here.filter(kind=kind).order_by("-index")[:SNAPSHOTS] for kind in OF_SYSTEM]
    if builds:
        scans = here.filter(kind="scan.result", subjects__overlap=sorted(builds))
        parts.append(scans.order_by("-index")[:SNAPSHOTS])
    return [*parts[0].union(*parts[1:], all=True), *_still_open(here)]


def _still_open(here: QuerySet[Record]) -> QuerySet[Record]:
    """What was opened and not resolved afterwards: one pass over all of it, however long the history."""
    kinds = [f"{what}.{end}" for what in OPENED for end in ("opened", "resolved")]
    ended = Window(
        Max("index", filter=Q(kind__endswith=".resolved")), partition_by=[F(f"facts__{what}") for what in OPENED]
    )
    # What resolves is never above its own end, so that only what opened remains.
    return here.filter(kind__in=kinds).annotate(ended=ended).filter(Q(ended=None) | Q(index__gt=F("ended")))


def _telling(rows: Iterable[Record]) -> list[Record]:
    """Those whose bodies say more than their facts, without snapshots that a newer one of the same replaces."""
    newest: dict[tuple[object, ...], Record] = {}
    for row in sorted(rows, key=lambda row: (row.occurred, row.index)):
        if row.kind in WITH_BODY:
            newest[_slot(row)] = row
    return list(newest.values())


def _slot(row: Record) -> tuple[object, ...]:
    named = _ONE_OF.get(row.kind)
    return (row.kind, row.facts.get(named)) if named else (row.index,)


def _gone(events: Iterable[Event], release: Release, at: Pin) -> frozenset[int]:
    named = records_named(event for event in events if event.release == release.pk)
    there = _counting(at).filter(Q(scope__contains=[release.system_id]) | Q(scope=[]), index__in=named) if named else []
    return frozenset(named - {row.index for row in there})


def _excused(release: Release, policy: Policy, events: Iterable[Event], at: Pin) -> dict[int, frozenset[str]]:
    """By deploy to production: the roles whose approval an exception in force at its start had waived."""
    approvals = {r.name: r.parameters.role for r in policy.approvals(release.system.name) if r.waivable}
    found = {}
    for event in events:
        if event.kind == "deploy.started" and event.environment == "production" and event.release == release.pk:
            waived = waivers_of(approvals, release.system_id, release.pk, deploy_time(event), at.size)
            found[event.index] = frozenset(approvals[name] for name in waived)
    return found
