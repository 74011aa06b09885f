"""The life of one security exception, folded from its own records (`exception.*`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from compliance.controls.facts import Waiver
from evidence.events import Event
from evidence.tlog.leaf import parse_time

CLOSING = frozenset(f"exception.{end}" for end in ("rejected", "withdrawn", "revoked", "remediated", "superseded"))


#: Records of an exception that change nothing about it.
_NO_TRANSITIONS = frozenset({"exception.reminded", "exception.notified", "exception.self_approval_refused"})


@dataclass(frozen=True)
class Renewal:
    """More time that was asked for, and who has agreed to it."""

    expires_at: datetime
    needed: int
    people: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Terms:
    """What applies from the record at `index` on."""

    since: datetime
    index: int
    requirements: frozenset[str]
    systems: frozenset[str]
    #: Those alone that it waives for; none means every release of the systems.
    releases: frozenset[str]
    effective_from: datetime
    expires_at: datetime
    #: How many different people must approve, and who has.
    needed: int
    people: frozenset[str] = frozenset()
    approved: bool = False
    renewal: Renewal | None = None


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
        return [event for event in self.events if event.kind not in _NO_TRANSITIONS]

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
    def terms(self) -> list[Terms]:
        """What applied from each of its records on."""
        return fold(self.transitions)

    @property
    def claimed(self) -> bool:
        """Whether a sheet that it was imported from calls it approved, and nothing here has changed that."""
        imported = self.request.facts.get("imported") or {}
        amended = any(event.kind == "exception.amended" for event in self.events)
        return imported.get("status") == "approved" and not amended

    @property
    def in_force_from(self) -> datetime | None:
        """When the last approval that it needed was received for the first time; None as long as one lacks."""
        return next((terms.since for terms in self.terms if terms.approved), None)

    @property
    def expires_at(self) -> datetime:
        """As the newest approved renewal left it."""
        return self.terms[-1].expires_at

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
        approved = self.terms[-1].approved
        if not approved and not self.claimed:
            return "requested"
        if now >= self.expires_at:
            return "expired"
        return "active" if approved else "claimed"

    def waivers(self) -> list[Waiver]:
        """What it waives and when, each uninterrupted stretch by itself; none while it names no requirement.

        An amendment ends a stretch until it is approved again; a renewal that came after the expiry begins another.
        """
        found: list[Waiver] = []
        steps = self.terms
        for terms, following in zip(steps, [*steps[1:], None], strict=True):
            waiver = self._waiver(terms, following.since if following else terms.expires_at)
            if waiver is not None and found and _continues(found[-1], waiver):
                found[-1] = replace(found[-1], end=waiver.end)
            elif waiver is not None:
                found.append(waiver)
        return found

    def _waiver(self, terms: Terms, until: datetime) -> Waiver | None:
        start, end = max(terms.since, terms.effective_from), min(until, terms.expires_at)
        if not terms.approved or not terms.requirements or start >= end:
            return None
        return Waiver(self.id, terms.requirements, terms.systems, terms.releases, start, end, terms.index)


def _continues(before: Waiver, after: Waiver) -> bool:
    return before.covering == after.covering and before.end >= after.start


def fold(transitions: Sequence[Event]) -> list[Terms]:
    """The terms after each record of one exception, in ledger order; the first is its request."""
    request = transitions[0]
    terms = Terms(
        since=request.at,
        index=request.index,
        requirements=frozenset(request.facts["requirements"]),
        systems=frozenset(request.scope),
        releases=frozenset(request.facts.get("releases", ())),
        effective_from=parse_time(request.facts["effective_from"]),
        expires_at=parse_time(request.facts["expires_at"]),
        needed=int(request.facts["approvals_needed"]),
    )
    found = [terms]
    for event in transitions[1:]:
        terms = replace(_after(terms, event), since=event.at, index=event.index)
        found.append(terms)
    return found


def _after(terms: Terms, event: Event) -> Terms:
    facts = event.facts
    if event.kind == "exception.approved":
        people = terms.people | {event.by}
        return replace(terms, people=people, approved=len(people) >= terms.needed)
    if event.kind == "exception.amended":
        requirements = frozenset(facts["changes"].get("requirements", terms.requirements))
        return replace(
            terms,
            requirements=requirements,
            systems=frozenset(event.scope),
            releases=frozenset(facts["changes"].get("releases", terms.releases)),
            needed=int(facts["approvals_needed"]),
            people=frozenset(),
            approved=False,
        )
    if event.kind == "exception.renewal_requested":
        return replace(terms, renewal=Renewal(parse_time(facts["expires_at"]), int(facts["approvals_needed"])))
    if event.kind == "exception.renewed" and terms.renewal is not None:
        renewal = replace(terms.renewal, people=terms.renewal.people | {event.by})
        if len(renewal.people) < renewal.needed:
            return replace(terms, renewal=renewal)
        return replace(terms, expires_at=renewal.expires_at, renewal=None)
    if event.kind == "exception.renewal_refused":
        return replace(terms, renewal=None)
    return replace(terms, approved=terms.approved and event.kind not in CLOSING)


def lives(events: Iterable[Event]) -> Iterator[Life]:
    """Group records of whole exceptions, each group complete and in ledger order."""
    grouped: dict[str, list[Event]] = {}
    for event in events:
        grouped.setdefault(str(event.facts.get("exception")), []).append(event)
    for found in grouped.values():
        if found[0].kind == "exception.requested":
            yield Life(tuple(found))


def waivers(found: Sequence[Life]) -> list[Waiver]:
    return [waiver for life in found for waiver in life.waivers()]
