"""What controls look at, made from `evidence.events`: plain values. Nothing here asks a database or a clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evidence.events import Event


@dataclass(frozen=True)
class Waiver:
    """An exception in force that waives requirements for some systems."""

    exception: str
    requirements: frozenset[str]
    systems: frozenset[str]
    #: None means every release of the systems.
    releases: frozenset[str]
    start: datetime
    end: datetime
    #: Record that put it in force.
    approved_by: int

    @property
    def covering(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        return self.requirements, self.systems, self.releases

    def covers(self, requirements: frozenset[str], systems: Sequence[str], release: str | None, when: datetime) -> bool:
        return (
            self.start <= when < self.end
            and not requirements.isdisjoint(self.requirements)
            and not self.systems.isdisjoint(systems)
            and (not self.releases or release in self.releases)
        )


@dataclass(frozen=True)
class Item:
    """One member of a population: what it is named, the record it stands for, and what is known about it."""

    name: str
    event: Event
    #: Everything of the same release or exception, in the order of the ledger.
    events: Sequence[Event] = ()
    waivers: Sequence[Waiver] = ()

    def of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]


@dataclass(frozen=True)
class Verdict:
    """What a rule found: status, the records behind it, when it was met and why it was not."""

    SATISFIED, LATE, MISSING, EXCEPTED, NOT_DUE = "satisfied", "late", "missing", "excepted", "not due"

    status: str
    detail: str = ""
    records: tuple[int, ...] = ()
    met_at: datetime | None = None
    due: datetime | None = None
