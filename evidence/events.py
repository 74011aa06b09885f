"""What pure questions about a release look at: plain values made from records, as of a moment.

Which time counts: approvals and other decisions happened when they were received (`at`); machine evidence happened
when it says (`occurred`), but what came in much later is marked, and after a day it is never on time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from evidence.ledger import reader
from evidence.models import Record
from evidence.projections import manifest_digest

LATER, BACKFILLED = timedelta(minutes=15), timedelta(hours=24)
#: Kinds whose whole body is looked at, not only what is searchable.
WITH_BODY = (
    *("release.checklist", "cutover.planned", "cutover.step", "notice.sent", "deploy.manifest", "deploy.started"),
    *("deploy.finished", "deploy.inventory", "rollback", "hotfix", "postmortem"),
    *("incident.opened", "incident.updated", "incident.resolved"),
)
#: What a question about one release reads at most; a release with more is looked at by its newest records.
LIMIT = 20_000
_CHUNK = 500


@dataclass(frozen=True)
class Event:
    """A record that counted at the moment asked about."""

    index: int
    kind: str
    at: datetime
    occurred: datetime
    by: str
    release: str | None = None
    scope: tuple[str, ...] = ()
    #: ``sha256:<hex>`` of each subject.
    subjects: frozenset[str] = frozenset()
    outcome: str | None = None
    #: The searchable facts; the body of the kinds in `WITH_BODY`, with the digest of a manifest.
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str | None:
        """The manifest digest that the record names or, for a manifest, has."""
        digest: str | None = self.facts.get("manifest_digest")
        return digest

    @property
    def environment(self) -> str | None:
        environment: str | None = self.facts.get("environment")
        return environment

    @property
    def lag(self) -> timedelta:
        """How much later than it happened it was recorded; nothing below what is worth a word."""
        late = self.at - self.occurred
        return late if late > LATER else timedelta(0)

    @property
    def is_backfilled(self) -> bool:
        return self.lag > BACKFILLED


def of_release(release: str, *, at: datetime | None = None, kinds: Sequence[str] | None = None) -> list[Event]:
    """The events of one release in the order of the ledger, as they counted at `at` (default: now)."""
    return of_releases([release], at=at, kinds=kinds).get(release, [])


def of_releases(
    releases: Iterable[str], *, at: datetime | None = None, kinds: Sequence[str] | None = None
) -> dict[str, list[Event]]:
    """The same for several releases, in a few queries for all of them."""
    rows = Record.objects.filter(release__in=list(releases))
    if kinds is not None:
        rows = rows.filter(kind__in=kinds)
    found: dict[str, list[Event]] = {}
    for event in events_of(counting(rows, at)):
        found.setdefault(event.release or "", []).append(event)
    return found


def counting(rows: Any, at: datetime | None = None) -> list[Record]:
    """Those of a queryset's records that counted at `at`: received by then, and neither withdrawn nor disposed of."""
    if at is None:
        return _newest(rows.counting())
    found = _newest(rows.filter(at__lte=at))
    ends = {index for row in found for index in (row.withdrawn_by, row.disposed_by) if index is not None}
    ended = set(Record.objects.filter(index__in=ends, at__lte=at).values_list("index", flat=True)) if ends else set()
    return [row for row in found if row.withdrawn_by not in ended and row.disposed_by not in ended]


def _newest(rows: Any) -> list[Record]:
    return list(rows.order_by("-index")[:LIMIT])[::-1]


def events_of(rows: Sequence[Record]) -> list[Event]:
    """Events of rows; the bodies that are needed are read a few hundred at a time."""
    wanted = [row.index for row in rows if row.kind in WITH_BODY and row.disposed_by is None]
    bodies: dict[int, dict[str, Any]] = {}
    for start in range(0, len(wanted), _CHUNK):
        for index, stored in reader.read_many(wanted[start : start + _CHUNK]).items():
            if stored.envelope is None:
                continue
            recorded = stored.recorded
            bodies[index] = dict(recorded.body)
            if recorded.leaf.kind == "deploy.manifest":
                bodies[index]["manifest_digest"] = manifest_digest(recorded)
    return [_event(row, bodies.get(row.index, row.facts)) for row in rows]


def _event(row: Record, facts: Mapping[str, Any]) -> Event:
    return Event(
        index=row.index,
        kind=row.kind,
        at=row.at,
        occurred=row.occurred,
        by=row.principal,
        release=row.release,
        scope=tuple(row.scope),
        subjects=frozenset(row.subjects),
        outcome=row.outcome,
        facts=facts,
    )


def newest(events: Iterable[Event], *kinds: str) -> Event | None:
    """The last of these kinds to be received."""
    return next((event for event in reversed(list(events)) if event.kind in kinds), None)


def is_about(event: Event, manifest: Event) -> bool:
    """Whether evidence is for this build: it names the manifest's digest or one of its artifacts, or no build at all.

    A subject that is no build of anybody's (a record's own digest, a log file) does not make it evidence for another.
    """
    if event.digest is not None:
        return event.digest == manifest.digest
    return True


def names_build(event: Event, manifest: Event) -> bool:
    """Whether evidence says itself that it is for this build."""
    if event.digest is not None or manifest.digest in event.subjects:
        return manifest.digest in {event.digest, *event.subjects}
    return not event.subjects.isdisjoint(manifest.subjects)


def in_period(rows: Any, start: datetime, end: datetime, systems: Iterable[str]) -> Any:
    """Records of these systems (opaque ids) that happened in [start, end)."""
    return rows.filter(Q(scope__overlap=list(systems)), occurred__gte=start, occurred__lt=end)


def moment(text: object) -> datetime | None:
    """A time out of a stored body; None where there is none, or one that no clock shows (a leap second)."""
    try:
        found = datetime.fromisoformat(str(text).upper())
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def in_words(span: timedelta) -> str:
    """``3 days 4 h``, ``2 h 5 min``, ``40 s``: the two largest units."""
    seconds = int(abs(span).total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} day{'s' * (days != 1)}" + (f" {hours} h" if hours and days < 7 else "")
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"
