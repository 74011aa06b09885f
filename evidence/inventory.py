"""Deployments as a host lists them against deployments as they were recorded: what either side lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from evidence.deploys import PRODUCTION, Deployment
from evidence.events import Event, moment


@dataclass(frozen=True)
class Row:
    """A deployment as a host or a CI lists it."""

    source: str
    id: str
    at: datetime
    release: str
    environment: str
    scope: tuple[str, ...]
    #: The `deploy.inventory` record it stands in.
    record: int


@dataclass(frozen=True)
class Reconciliation:
    """Both lists laid over each other; what is left over on either side is a finding."""

    matched: tuple[tuple[Row, Deployment], ...]
    #: The host knows of it, nobody recorded it.
    unrecorded: tuple[Row, ...]
    #: It was recorded, no host lists it.
    unlisted: tuple[Deployment, ...]
    sources: tuple[str, ...]


def rows(inventories: Sequence[Event], *, start: datetime, end: datetime) -> list[Row]:
    """Rows of production in [start, end). Of rows that several inventories of a source list, the newest counts."""
    found: dict[tuple[str, str], Row] = {}
    for event in inventories:
        source = str(event.facts.get("source", ""))
        for listed in event.facts.get("rows", []):
            at = moment(listed.get("at"))
            environment = listed.get("environment") or PRODUCTION
            if at is None or environment != PRODUCTION or not start <= at < end:
                continue
            found[source, listed["id"]] = Row(
                source, listed["id"], at, listed.get("release", ""), environment, event.scope, event.index
            )
    return sorted(found.values(), key=lambda row: (row.at, row.source, row.id))


@dataclass(frozen=True)
class Coverage:
    """What an inventory can speak of: a system's deployments until it was made, or in the period that it names."""

    source: str
    scope: frozenset[str]
    start: datetime | None
    end: datetime

    def reaches(self, deployment: Deployment) -> bool:
        at = deployment.event.occurred
        early = self.start is not None and at < self.start
        return not early and at <= self.end and not self.scope.isdisjoint(deployment.event.scope)


def coverage(inventories: Sequence[Event]) -> list[Coverage]:
    return [
        Coverage(
            str(event.facts.get("source", "")),
            frozenset(event.scope),
            moment(event.facts.get("from")),
            moment(event.facts.get("to")) or event.occurred,
        )
        for event in inventories
    ]


def reconcile(
    listed: Sequence[Row], recorded: Sequence[Deployment], *, covered: Sequence[Coverage], tolerance: timedelta
) -> Reconciliation:
    """Match each row with the nearest recorded deployment that it may be; each is matched once.

    A deployment that no inventory reaches is not a finding: nobody has listed its time yet.
    """
    candidates = sorted(
        (abs(row.at - (recorded[number].finished or recorded[number].event).occurred), place, number)
        for place, numbers in enumerate(_near(listed, recorded, tolerance))
        for number in numbers
        if _may_be(row := listed[place], recorded[number], tolerance)
    )
    by_row: dict[int, int] = {}
    taken: set[int] = set()
    for _, place, number in candidates:
        if place not in by_row and number not in taken:
            by_row[place] = number
            taken.add(number)
    rest = [each for number, each in enumerate(recorded) if number not in taken]
    return Reconciliation(
        matched=tuple((listed[place], recorded[number]) for place, number in sorted(by_row.items())),
        unrecorded=tuple(row for place, row in enumerate(listed) if place not in by_row),
        unlisted=tuple(each for each in rest if any(inventory.reaches(each) for inventory in covered)),
        sources=tuple(dict.fromkeys(each.source for each in covered)),
    )


def _near(listed: Sequence[Row], recorded: Sequence[Deployment], tolerance: timedelta) -> Iterator[Sequence[int]]:
    """For each row, the deployments of its day: laying everything over everything would take for ever."""
    by_day: dict[date, list[int]] = {}
    for number, deployment in enumerate(recorded):
        first, last = _span(deployment)
        day, until = (first - tolerance).date(), min(last + tolerance, first + timedelta(days=7)).date()
        while day <= until:
            by_day.setdefault(day, []).append(number)
            day += timedelta(days=1)
    for row in listed:
        yield by_day.get(row.at.astimezone(UTC).date(), ())


def _span(deployment: Deployment) -> tuple[datetime, datetime]:
    known = [event.occurred for event in (deployment.started, deployment.finished) if event]
    return min(known), max(known)


def _may_be(row: Row, deployment: Deployment, tolerance: timedelta) -> bool:
    """The same system, the same release where the host knows one, and near enough to its start or its end."""
    if not set(row.scope) & set(deployment.event.scope):
        return False
    if row.release and row.release not in {deployment.release, deployment.release.rpartition(":")[2]}:
        return False
    first, last = _span(deployment)
    return first - tolerance <= row.at <= last + tolerance
