"""Incidents with their updates (R1.9), and rollbacks and hotfixes held against the decision matrix (R1.8)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from evidence.events import Event, in_words, moment
from evidence.models import Record
from evidence.release_policy import Response

KINDS = ("incident.opened", "incident.updated", "incident.resolved", "rollback", "hotfix", "postmortem")
#: So many records of incidents of a system are looked at for open ones: the newest.
_LOOKED_AT = 1000


@dataclass(frozen=True)
class Gap:
    """A stretch of an incident without news that was longer than allowed."""

    start: datetime
    end: datetime
    over: timedelta

    @property
    def words(self) -> str:
        return f"silent for {in_words(self.end - self.start)}"


@dataclass(frozen=True)
class Incident:
    incident: str
    title: str
    severity: int
    opened: datetime
    resolved: datetime | None
    updates: tuple[datetime, ...]
    gaps: tuple[Gap, ...]
    #: When the next update is due; None once it is resolved.
    next_due: datetime | None
    records: tuple[int, ...]

    @property
    def state(self) -> str:
        return "resolved" if self.resolved else "open"


def incidents(events: Sequence[Event], *, every: timedelta, now: datetime) -> list[Incident]:
    """Each incident with the gaps in its news: what was silent longer than `every` from opening to resolution."""
    return [_incident(event, events, every, now) for event in events if event.kind == "incident.opened"]


def _incident(opened: Event, events: Sequence[Event], every: timedelta, now: datetime) -> Incident:
    name = opened.facts["incident"]
    later = [e for e in events if e.facts.get("incident") == name and e.index > opened.index]
    ends = [e for e in later if e.kind == "incident.resolved"]
    resolved = ends[0].occurred if ends else None
    said = sorted(e.occurred for e in later if e.kind == "incident.updated" and e.occurred >= opened.occurred)
    said = [at for at in said if resolved is None or at <= resolved]
    moments = [opened.occurred, *said, resolved or now]
    pairs = pairwise(moments)
    gaps = tuple(Gap(start, end, end - start - every) for start, end in pairs if end - start > every)
    severity = opened.facts.get("severity")
    return Incident(
        str(name),
        str(opened.facts.get("title", "")),
        severity if isinstance(severity, int) else 0,
        opened.occurred,
        resolved,
        tuple(said),
        gaps,
        None if resolved else max([opened.occurred, *said]) + every,
        tuple(e.index for e in [opened, *later] if e.kind.startswith("incident.")),
    )


def open_in(system: str) -> list[Record]:
    """The records that opened what is still open in a system (opaque id), the newest first; of many the newest."""
    rows = Record.objects.counting().filter(kind__in=["incident.opened", "incident.resolved"], scope__contains=[system])
    found: dict[str, Record] = {}
    for row in list(rows.order_by("-index")[:_LOOKED_AT])[::-1]:
        name = str(row.facts.get("incident"))
        found.pop(name, None)
        if row.kind == "incident.opened":
            found[name] = row
    return list(found.values())[::-1]


@dataclass(frozen=True)
class Reaction:
    """A rollback or hotfix against the matrix."""

    kind: str
    severity: int
    trigger: str
    owner: str
    restored_tag: str
    at: datetime
    #: What the matrix asks for at this severity.
    rule: str
    #: What is not as the matrix wants it; empty when all is.
    findings: tuple[str, ...]
    #: None: restoring flags is not part of it.
    flags_restored: bool | None
    #: The record that has the root cause; None while it is not known.
    root_cause: int | None
    index: int


def reactions(events: Sequence[Event], matrix: Mapping[int, Response]) -> list[Reaction]:
    """Every rollback and hotfix of a release, in order."""
    return [_reaction(event, events, matrix) for event in events if event.kind in {"rollback", "hotfix"}]


def _reaction(event: Event, events: Sequence[Event], matrix: Mapping[int, Response]) -> Reaction:
    facts = event.facts
    severity = int(facts.get("severity", 0))
    rule = matrix.get(severity)
    return Reaction(
        kind=event.kind,
        severity=severity,
        trigger=str(facts.get("trigger", "")),
        owner=str(facts.get("owner", "")),
        restored_tag=str(facts.get("restored_tag", "")),
        at=event.occurred,
        rule=rule.title if rule else "",
        findings=tuple(_findings(event, events, rule)),
        flags_restored=bool(facts.get("flags_restored")) if event.kind == "rollback" else None,
        root_cause=_root_cause(event, events),
        index=event.index,
    )


def _findings(event: Event, events: Sequence[Event], rule: Response | None) -> list[str]:
    if rule is None:
        return ["no rule for this severity"]
    found = []
    if event.kind not in rule.actions:
        found.append(f"a {event.kind} is not what severity {rule.severity} asks for")
    detected = _detected(event, events)
    if detected is not None and event.occurred - detected > rule.within:
        found.append(f"{in_words(event.occurred - detected - rule.within)} later than {in_words(rule.within)} allow")
    if event.kind == "rollback" and not event.facts.get("flags_restored"):
        found.append("flags not restored")
    return found


def _detected(event: Event, events: Sequence[Event]) -> datetime | None:
    """When it was noticed: as the record says, else when the last incident of that severity before it was opened."""
    said = moment(event.facts.get("detected_at"))
    if said is not None:
        return said
    opened = [
        e.occurred
        for e in events
        if e.kind == "incident.opened"
        and e.facts.get("severity") == event.facts.get("severity")
        and e.occurred <= event.occurred
    ]
    return opened[-1] if opened else None


def _root_cause(event: Event, events: Sequence[Event]) -> int | None:
    """In the record itself, in a later one of its kind, or in a post-mortem."""
    for other in events:
        same = other.index == event.index or (other.index > event.index and other.kind in {event.kind, "postmortem"})
        if same and str(other.facts.get("root_cause") or "").strip():
            return other.index
    return None
