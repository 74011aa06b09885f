"""What questions about evidence look at (gate, readiness, controls): plain values made from records.

Which time counts: a decision of a person (an approval, a review) happened when it was received (`at`); machine evidence
happened when it says (`occurred`), but what came in much later is marked, and after a day it is never on time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from evidence.ledger import Recorded, reader
from evidence.models import Record
from evidence.projections import manifest_digest

LATER, BACKFILLED = timedelta(minutes=15), timedelta(hours=24)
#: Kinds that are decisions of people: they happened when they were received, whatever they claim.
DECISIONS = frozenset({"approval", "schema.reviewed", "changelog.signed"})
#: Kinds whose whole body is looked at, not only what is searchable.
WITH_BODY = frozenset(
    {
        *("release.checklist", "cutover.planned", "cutover.step", "notice.sent", "deploy.manifest", "deploy.started"),
        *("deploy.finished", "deploy.inventory", "rollback", "hotfix", "postmortem"),
        *("incident.opened", "incident.updated", "incident.resolved"),
    }
)
#: What a question about one release reads at most; a release with more is looked at by its newest records.
LIMIT = 20_000
_CHUNK = 500


@dataclass(frozen=True)
class Event:
    """A record that counted at the moment asked about: neither withdrawn nor disposed of."""

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
    #: The searchable facts and, where it was read, the body; of a manifest with its digest.
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it is known to name a file or page besides itself: a subject of its own, or a ``url``.
    has_evidence: bool = False

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
    def happened(self) -> datetime:
        return self.at if self.kind in DECISIONS else self.occurred

    @property
    def lag(self) -> timedelta:
        """How much later than it happened it was recorded; nothing below what is worth a word."""
        late = self.at - self.happened
        return late if late > LATER else timedelta(0)

    @property
    def is_backfilled(self) -> bool:
        return self.lag > BACKFILLED

    @property
    def lag_in_words(self) -> str:
        """``recorded 3 d 4 h later, backfilled``; empty where that is not worth a word."""
        if not self.lag:
            return ""
        return f"recorded {in_words(self.lag)} later" + (", backfilled" if self.is_backfilled else "")


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


def events_of(rows: Sequence[Record], with_body: Callable[[str], bool] = WITH_BODY.__contains__) -> list[Event]:
    """Events of rows, with the bodies of the kinds that are wanted and still there."""
    bodies = recorded(row.index for row in rows if with_body(row.kind) and row.disposed_by is None)
    return [event_of(row, bodies.get(row.index)) for row in rows]


def recorded(indexes: Iterable[int]) -> dict[int, Recorded]:
    """The records behind indexes that still have their bodies, read a few hundred at a time."""
    wanted, found = list(indexes), dict[int, Recorded]()
    for start in range(0, len(wanted), _CHUNK):
        several = reader.read_many(wanted[start : start + _CHUNK]).items()
        found |= {index: stored.recorded for index, stored in several if stored.envelope is not None}
    return found


def event_of(row: Record, body: Recorded | None = None) -> Event:
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
        facts={**row.facts, **_said(body)} if body is not None else row.facts,
        has_evidence=body is not None and _names_more(body),
    )


def _said(record: Recorded) -> dict[str, Any]:
    if record.leaf.kind != "deploy.manifest":
        return record.body
    return {**record.body, "manifest_digest": manifest_digest(record)}


def _names_more(record: Recorded) -> bool:
    """Whether a record names anything besides itself and the build that it is about."""
    build = str(_said(record).get("manifest_digest", "")).removeprefix("sha256:")
    others = {subject.digest.get("sha256") for subject in record.statement.subjects if subject.name != record.leaf.kind}
    own = {subject.digest.get("sha256") for subject in record.statement.subjects if subject.name == record.leaf.kind}
    return bool(others - own - {build}) or bool(record.body.get("url"))


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
    """``3 d 4 h``, ``2 h 5 min``, ``40 s``: the two largest units."""
    seconds = int(abs(span).total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0 s"
