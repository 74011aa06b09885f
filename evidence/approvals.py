"""Which decisions of people about a build stand (R1.5): gate, readiness, controls and packs judge by these alone.

Pure functions over events. What one person decides undoes what the same person had decided about the same manifest in
the same role, and nothing else: nobody overrides another's rejection. A withdrawal leaves its author undecided.
"""

from collections.abc import Iterable
from datetime import datetime

from evidence.events import Event, newest

APPROVED, REJECTED, WITHDRAWN = "approved", "rejected", "withdrawn"


def standing(decisions: Iterable[Event]) -> list[Event]:
    """The newest decision of each person about each manifest, in the order of the ledger; withdrawn ones left out.

    `decisions` are of one role.
    """
    last = {(event.by, event.digest): event for event in decisions}
    return sorted((e for e in last.values() if e.outcome != WITHDRAWN), key=lambda event: event.index)


def in_role(events: Iterable[Event], role: str) -> list[Event]:
    """Every decision in a role, about whatever manifest."""
    return [event for event in events if event.kind == "approval" and event.facts.get("role") == role]


def decision(events: Iterable[Event], role: str, digest: str | None, *, until: datetime | None = None) -> Event | None:
    """What counts in a role about a manifest, of what was received before `until`: a rejection as long as one stands,
    else the newest approval."""
    received = [e for e in in_role(events, role) if e.digest == digest and (until is None or e.at < until)]
    found = standing(received)
    against = [event for event in found if event.outcome == REJECTED]
    return newest(against or found, "approval")


def approval(events: Iterable[Event], role: str, digest: str | None, *, until: datetime | None = None) -> Event | None:
    """The same where it is an approval."""
    found = decision(events, role, digest, until=until)
    return found if found is not None and found.outcome == APPROVED else None
