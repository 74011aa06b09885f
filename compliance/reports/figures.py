"""The monthly report's figures: one set of answers for the page, the PDF and the mail (R0.4, R0.7, R1.10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from compliance.controls import catalog, evaluation
from compliance.controls.populations import Period
from compliance.reports import exceptions, releases
from compliance.reports.exceptions import Count, Exceptions
from compliance.reports.months import Month
from compliance.reports.releases import ReleaseLine
from evidence.ledger import reader
from evidence.models import System

#: Months that the trend shows, the report's own included.
TREND = 6


@dataclass(frozen=True)
class ControlLine:
    id: str
    title: str
    criteria: str
    required: int
    satisfied: int
    late: int
    missing: int
    excepted: int

    @property
    def percent(self) -> str:
        return f"{100 * self.satisfied / self.required:.0f}\N{NO-BREAK SPACE}%" if self.required else "–"


@dataclass(frozen=True)
class Controls:
    """R0.5: of the evidence that controls required, the share that was recorded, and on time."""

    total: ControlLine
    before: ControlLine
    lines: list[ControlLine]


@dataclass(frozen=True)
class Point:
    """Exceptions at the end of a month."""

    month: Month
    open: int
    overdue: int


@dataclass(frozen=True)
class Monthly:
    month: Month
    #: The moment that states are told for: the month's end, or now while it lasts.
    moment: datetime
    made_at: datetime
    ledger_size: int
    exceptions: Exceptions
    releases: list[ReleaseLine]
    releases_before: list[ReleaseLine]
    trend: list[Point]
    controls: Controls | None

    @property
    def so_far(self) -> bool:
        return self.moment < self.month.end

    @property
    def headline(self) -> list[Count]:
        found = self.exceptions
        link = "/admin/evidence/release/"
        deployed, before = (
            sum(line.deployed == "succeeded" for line in r) for r in (self.releases, self.releases_before)
        )
        return [
            found.open,
            found.overdue_count,
            Count("releases", len(self.releases), len(self.releases_before), link),
            Count("deployed to production", deployed, before, link),
        ]

    @property
    def overdue_items(self) -> list[str]:
        """What somebody is late with, worst first, a sentence each."""
        late = [
            f"{row.id} {row.title} ({row.severity}, {row.owner}): expired {_days(row.days)} ago"
            for row in self.exceptions.overdue
        ]
        late += [
            f"{line.id}: metrics snapshot {line.metrics}"
            for line in self.releases
            if line.metrics.startswith("overdue")
        ]
        late += [f"{line.id}: no validation in production" for line in self.releases if line.validation == "missing"]
        return late


def _days(days: int) -> str:
    return "less than a day" if days < 1 else "1 day" if days == 1 else f"{days} days"


def monthly(month: Month, *, now: datetime, systems: Sequence[str] | None = None) -> Monthly:
    """The figures of `month`; `systems` are opaque ids, None means all but sandboxes."""
    if systems is None:
        systems = list(System.objects.filter(sandbox=False).values_list("id", flat=True))
    before, moment = month.previous, min(month.end, now)
    return Monthly(
        month=month,
        moment=moment,
        made_at=now,
        ledger_size=reader.size(),
        exceptions=exceptions.figures(
            start=month.start, end=moment, before_start=before.start, before_end=before.end, systems=systems
        ),
        releases=releases.figures(start=month.start, end=moment, systems=systems),
        releases_before=releases.figures(start=before.start, end=before.end, systems=systems),
        trend=_trend(month, moment, systems),
        controls=_controls(month, systems) if reader.size() else None,
    )


def _trend(month: Month, moment: datetime, systems: Sequence[str]) -> list[Point]:
    months = [month]
    while len(months) < TREND:
        months.insert(0, months[0].previous)
    points = []
    for each in months:
        rows = exceptions.as_of(min(each.end, moment), systems)
        overdue = sum(row.state(min(each.end, moment)) == "expired" for row in rows)
        points.append(Point(each, len(rows), overdue))
    return points


def _controls(month: Month, systems: Sequence[str]) -> Controls:
    period = Period.pinned(month.start, month.end, systems=systems)
    summary = evaluation.summarise(period)
    before = evaluation.summarise(Period.pinned(month.previous.start, month.previous.end, systems=systems))
    lines = [
        _control_line(control.id, control.title, ", ".join(control.criteria), summary.by_control[control.id])
        for control in catalog.load().controls
    ]
    return Controls(
        total=_control_line("", "All controls", "", summary.total),
        before=_control_line("", "All controls", "", before.total),
        lines=lines,
    )


def _control_line(id_: str, title: str, criteria: str, counts: evaluation.Counts) -> ControlLine:
    return ControlLine(
        id_, title, criteria, counts.required, counts.satisfied, counts.late, counts.missing, counts.excepted
    )
