"""What a rule finds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evidence.events import Event

MET, UNMET, LATE, STALE, WAIVED, NOT_APPLICABLE = "met", "unmet", "late", "stale", "waived", "not_applicable"
STATES = (MET, UNMET, LATE, STALE, WAIVED, NOT_APPLICABLE)
#: What lets a release go.
PASSING = frozenset({MET, WAIVED, NOT_APPLICABLE})


@dataclass(frozen=True)
class Finding:
    """State, why, the records behind it. `happened` and `due` are both set where something is late."""

    state: str
    detail: str = ""
    records: tuple[int, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    happened: datetime | None = None
    due: datetime | None = None

    @property
    def passes(self) -> bool:
        return self.state in PASSING


def met(detail: str, events: Iterable[Event] = (), **facts: Any) -> Finding:
    found = list(events)
    happened = max((event.happened for event in found), default=None)
    lag = "; ".join(sorted({event.lag_in_words for event in found if event.lag}))
    return Finding(MET, "; ".join(filter(None, [detail, lag])), indexes(found), facts, happened)


def unmet(detail: str, events: Iterable[Event] = (), **facts: Any) -> Finding:
    return Finding(UNMET, detail, indexes(events), facts)


def stale(detail: str, events: Iterable[Event] = (), **facts: Any) -> Finding:
    return Finding(STALE, detail, indexes(events), facts)


def late(detail: str, events: Iterable[Event], *, happened: datetime, due: datetime, **facts: Any) -> Finding:
    return Finding(LATE, detail, indexes(events), facts, happened, due)


def indexes(events: Iterable[Event]) -> tuple[int, ...]:
    return tuple(sorted({event.index for event in events}))
