"""The life of one security exception, folded from its own records (`exception.*`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from compliance.controls.facts import Event, Waiver
from evidence.tlog.leaf import parse_time

CLOSING = frozenset({"exception.rejected", "exception.withdrawn", "exception.revoked", "exception.remediated"})


@dataclass(frozen=True)
class Life:
    """`events` in ledger order; the first is the request, and each carries the record's body as its facts."""

    events: tuple[Event, ...]

    @property
    def request(self) -> Event:
        return self.events[0]

    @property
    def id(self) -> str:
        return str(self.request.facts["exception"])

    @property
    def transitions(self) -> list[Event]:
        return [event for event in self.events if event.kind != "exception.reminded"]

    @property
    def reminders(self) -> list[Event]:
        return [event for event in self.events if event.kind == "exception.reminded"]

    def value(self, name: str) -> object:
        """A field of the request, as later amendments left it."""
        found = self.request.facts.get(name)
        for event in self.events:
            if event.kind == "exception.amended":
                found = event.facts["changes"].get(name, found)
        return found

    @property
    def owners(self) -> set[str]:
        """Everybody who owned it at some time."""
        changed = [e.facts["changes"] for e in self.events if e.kind == "exception.amended"]
        return {str(self.request.facts["owner"]), *(str(c["owner"]) for c in changed if "owner" in c)}

    @property
    def closed(self) -> Event | None:
        return next((event for event in self.events if event.kind in CLOSING), None)

    @property
    def approvals(self) -> list[Event]:
        return [event for event in self.events if event.kind == "exception.approved"]

    @property
    def in_force_from(self) -> datetime | None:
        """When the last approval that the request needed was received; None as long as one lacks."""
        people: set[str] = set()
        for event in self.approvals:
            people.add(event.by)
            if len(people) >= int(self.request.facts["approvals_needed"]):
                return event.at
        return None

    @property
    def expires_at(self) -> datetime:
        """As the newest approved renewal left it."""
        renewed = [
            e.facts["expires_at"] for e in self.events if e.kind == "exception.renewed" and "expires_at" in e.facts
        ]
        return parse_time((renewed or [self.request.facts["expires_at"]])[-1])

    @property
    def original_expires_at(self) -> datetime:
        return parse_time(self.request.facts["expires_at"])

    @property
    def effective_from(self) -> datetime:
        return parse_time(self.request.facts["effective_from"])

    def open_during(self, start: datetime, end: datetime) -> bool:
        """Whether it was requested and not closed at some time of [start, end): expired ones stay open until closed."""
        return self.request.at < end and (self.closed is None or self.closed.at >= start)

    def state_at(self, now: datetime) -> str:
        if self.closed is not None:
            return self.closed.kind.removeprefix("exception.")
        if self.in_force_from is None:
            return "requested"
        return "expired" if now >= self.expires_at else "active"

    def waiver(self) -> Waiver | None:
        """What it waives and when; None while it never came into force or names no requirement."""
        requirements = self.value("requirements")
        if self.in_force_from is None or not isinstance(requirements, list) or not requirements:
            return None
        end = min(self.expires_at, self.closed.at) if self.closed else self.expires_at
        systems = frozenset(self.request.scope)
        return Waiver(self.id, frozenset(requirements), systems, self.in_force_from, end, self.approvals[-1].index)


def lives(events: Iterable[Event]) -> Iterator[Life]:
    """Group records of whole exceptions, each group complete and in ledger order."""
    grouped: dict[str, list[Event]] = {}
    for event in events:
        grouped.setdefault(str(event.facts.get("exception")), []).append(event)
    for found in grouped.values():
        if found[0].kind == "exception.requested":
            yield Life(tuple(found))


def waivers(found: Sequence[Life]) -> list[Waiver]:
    return [waiver for life in found if (waiver := life.waiver()) is not None]
