"""Evaluate controls over a period: a row for each member of a control's population, and counts.

Everything is pinned to a checkpoint: records at or beyond its size do not exist, and `now` is its time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from compliance.controls import catalog
from compliance.controls.catalog import Control
from compliance.controls.facts import Item, Verdict
from compliance.controls.populations import Period, items
from compliance.controls.rules import RULES


@dataclass(frozen=True)
class Row:
    """A member of a control's population: `index` is the record it stands for, `records` carry the verdict."""

    control: Control
    item: str
    index: int
    release: str | None
    at: datetime
    status: str
    detail: str
    records: tuple[int, ...]
    met_at: datetime | None
    due: datetime | None

    @property
    def is_failure(self) -> bool:
        return self.status in {Verdict.LATE, Verdict.MISSING}


@dataclass
class Counts:
    """How a control's population fared. What an exception excuses, and what is not due yet, is counted apart."""

    satisfied: int = 0
    late: int = 0
    missing: int = 0
    excepted: int = 0
    not_due: int = 0

    def add(self, status: str) -> None:
        name = status.replace(" ", "_")
        setattr(self, name, getattr(self, name) + 1)

    @property
    def population(self) -> int:
        return self.satisfied + self.late + self.missing + self.excepted + self.not_due

    @property
    def required(self) -> int:
        return self.satisfied + self.late + self.missing

    @property
    def completion(self) -> float | None:
        """Share of the required evidence that was recorded and on time (R0.5); None where none was required."""
        return self.satisfied / self.required if self.required else None


@dataclass
class Summary:
    """Counts by control id, and over all of them."""

    by_control: dict[str, Counts] = field(default_factory=dict)
    total: Counts = field(default_factory=Counts)

    def add(self, row: Row) -> None:
        self.by_control.setdefault(row.control.id, Counts()).add(row.status)
        self.total.add(row.status)


def judge(control: Control, item: Item, now: datetime) -> Row:
    """The verdict on one member; what lacks is excepted where an exception in force then waives it."""
    verdict = RULES[control.rule](item, control.parameters, now)
    if verdict.status in {Verdict.LATE, Verdict.MISSING} and control.waived_by:
        verdict = _excepted(verdict, control, item)
    return Row(
        control=control,
        item=item.name,
        index=item.event.index,
        release=item.event.release,
        at=item.event.occurred,
        status=verdict.status,
        detail=verdict.detail,
        records=verdict.records,
        met_at=verdict.met_at,
        due=verdict.due,
    )


def _excepted(verdict: Verdict, control: Control, item: Item) -> Verdict:
    for waiver in item.waivers:
        if waiver.covers(control.waived_by, item.event.scope, item.event.release, item.event.at):
            detail = f"{verdict.detail}; waived by {waiver.exception} until {waiver.end:%Y-%m-%d %H:%M} UTC"
            records = (*verdict.records, waiver.approved_by)
            return Verdict(Verdict.EXCEPTED, detail, records, verdict.met_at, verdict.due)
    return verdict


def evaluate(period: Period, controls: Sequence[Control] | None = None) -> Iterator[Row]:
    """Rows of all controls, population by population, members in the order of the ledger."""
    standing = catalog.load().controls if controls is None else controls
    for population in catalog.POPULATIONS:
        concerned = [control for control in standing if control.population == population]
        if not concerned:
            continue
        for item in items(population, period):
            yield from (judge(control, item, period.now) for control in concerned)


def summarise(period: Period) -> Summary:
    """Counts for a report, without keeping the rows."""
    summary = Summary({control.id: Counts() for control in catalog.load().controls})
    for row in evaluate(period):
        summary.add(row)
    return summary
