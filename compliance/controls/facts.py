"""What controls look at: plain values made from records. Nothing here knows a database or a clock.

Which time counts: an approval, a transition or an access change happened when it was received (`at`); machine
evidence happened when it says (`occurred`), but what came in much later is marked, and never on time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

#: Machine evidence received later than this after the fact says so.
NOTICEABLE_LAG = timedelta(minutes=15)
#: Received later than this it is backfilled, and never on time.
BACKFILLED = timedelta(hours=24)


@dataclass(frozen=True)
class Event:
    """A record that counts: neither withdrawn nor disposed of."""

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
    def is_backfilled(self) -> bool:
        return self.at - self.occurred > BACKFILLED

    @property
    def lag(self) -> str:
        """How much later than it happened it was recorded, in words; empty when that is not worth a word."""
        late = self.at - self.occurred
        if late <= NOTICEABLE_LAG:
            return ""
        return f"recorded {in_words(late)} later" + (", backfilled" if self.is_backfilled else "")


def in_words(span: timedelta) -> str:
    """``3 d 4 h``, ``2 h 5 min``, ``40 s``: the two largest units."""
    seconds = int(span.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0 s"


@dataclass(frozen=True)
class Waiver:
    """An exception in force that waives requirements for some systems."""

    exception: str
    requirements: frozenset[str]
    systems: frozenset[str]
    start: datetime
    end: datetime
    #: Record that put it in force.
    approved_by: int

    def covers(self, requirements: frozenset[str], systems: Sequence[str], when: datetime) -> bool:
        return (
            self.start <= when < self.end
            and not requirements.isdisjoint(self.requirements)
            and not self.systems.isdisjoint(systems)
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
