"""Members of populations, read from the searchable rows at a pinned size, a page at a time."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from compliance.controls import catalog
from compliance.controls.exceptions import Life, lives, waivers
from compliance.controls.facts import Item, Waiver
from config.errors import InvalidError
from evidence import events
from evidence.events import Event
from evidence.ledger import reader
from evidence.models import Record, System

PAGE = 200
#: Kinds whose whole body matters, not only the facts that are searchable.
_WITH_BODY = "exception."
#: What rules look at in a release, beside the kinds that controls name; a release may have thousands of others.
_LOOKED_AT = {"approval", "deploy.finished", "deploy.manifest", "test.result"}


@dataclass(frozen=True)
class Period:
    """[start, end) as of a checkpoint: `size` entries, the last one received at `now`. `systems` are opaque ids."""

    start: datetime
    end: datetime
    systems: tuple[str, ...]
    size: int
    now: datetime

    @classmethod
    def pinned(cls, start: datetime, end: datetime, *, systems: Sequence[str] | None = None) -> "Period":
        """A period as of the newest checkpoint; without `systems` all of them, except sandboxes."""
        if systems is None:
            systems = list(System.objects.filter(sandbox=False).order_by("id").values_list("id", flat=True))
        return cls.at_size(start, end, tuple(sorted(systems)), reader.size())

    @classmethod
    def at_size(cls, start: datetime, end: datetime, systems: tuple[str, ...], size: int) -> "Period":
        if size == 0:
            raise InvalidError("The ledger is empty: there is nothing to evaluate.", code="ledger_empty")
        return cls(start, end, systems, size, reader.get(size - 1).leaf.at)


def pages(rows: QuerySet[Record]) -> Iterator[list[Record]]:
    """Rows in the order of the ledger, each page a query of its own: no transaction outlives it."""
    last = -1
    while page := list(rows.filter(index__gt=last).order_by("index")[:PAGE]):
        yield page
        last = page[-1].index


def standing(period: Period) -> QuerySet[Record]:
    """Records that counted at the checkpoint: of these systems or of all, neither withdrawn nor disposed of then."""
    return Record.objects.filter(
        Q(scope__overlap=list(period.systems)) | Q(scope=[]),
        Q(withdrawn_by=None) | Q(withdrawn_by__gte=period.size),
        Q(disposed_by=None) | Q(disposed_by__gte=period.size),
        index__lt=period.size,
    )


def in_period(period: Period) -> QuerySet[Record]:
    """Of those, the ones that happened in the period."""
    return standing(period).filter(occurred__gte=period.start, occurred__lt=period.end)


def events_of(rows: Sequence[Record]) -> list[Event]:
    """Events of rows; manifests and exceptions with their whole bodies."""
    return events.events_of(rows, lambda kind: kind == "deploy.manifest" or kind.startswith(_WITH_BODY))


# -- populations -------------------------------------------------------------------------------------------------------


def items(population: str, period: Period) -> Iterator[Item]:
    """The members of a population, in the order of the ledger."""
    sources = {
        "production-deployments": _deployments,
        "exceptions": _exceptions,
        "access-changes": _access_changes,
    }
    return sources[population](period)


def _deployments(period: Period) -> Iterator[Item]:
    found = in_period(period).filter(kind="deploy.started", facts__environment="production")
    excuses = waivers(list(exception_lives(period)))
    release_events = functools.lru_cache(maxsize=8)(functools.partial(_release_events, period))
    for page in pages(found):
        for row in page:
            yield _deployment(row, release_events(row.release), excuses)


def _deployment(row: Record, around: Sequence[Event], excuses: list[Waiver]) -> Item:
    event = events.event_of(row)
    relevant = [waiver for waiver in excuses if not waiver.systems.isdisjoint(event.scope)]
    return Item(f"{row.release} #{row.index}", event, around, relevant)


def _release_events(period: Period, release: str | None) -> list[Event]:
    named = {control.parameters["kind"] for control in catalog.load().controls if "kind" in control.parameters}
    rows = standing(period).filter(release=release, kind__in=_LOOKED_AT | named)
    return [event for page in pages(rows) for event in events_of(page)]


def _exceptions(period: Period) -> Iterator[Item]:
    for life in exception_lives(period):
        yield Item(life.id, life.request, life.events)


def exception_lives(period: Period) -> Iterator[Life]:
    """Every exception that was open at some time of the period, with its whole history up to the checkpoint."""
    requests = standing(period).filter(kind="exception.requested", at__lt=period.end)
    for page in pages(requests):
        names = [row.facts.get("exception") for row in page]
        rows = standing(period).filter(kind__startswith="exception.", facts__exception__in=names)
        events = [event for part in pages(rows) for event in events_of(part)]
        yield from (life for life in lives(events) if life.open_during(period.start, period.end))


def _access_changes(period: Period) -> Iterator[Item]:
    for page in pages(in_period(period).filter(Q(kind__startswith="access.") | Q(kind__startswith="key."))):
        for row in page:
            if row.kind != "access.pack_downloaded":
                yield Item(f"{row.kind} #{row.index}", events.event_of(row))
