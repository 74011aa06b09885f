"""What rules look at: plain values made from records. Nothing here knows a database or a clock.

Which time counts: a decision of a person (an approval, a review) happened when it was received; machine evidence
happened when it says, but what came in more than a day later is backfilled, and never on time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

#: Machine evidence received later than this after the fact says so.
NOTICEABLE_LAG = timedelta(minutes=15)
#: Received later than this it is backfilled, and never on time.
BACKFILLED = timedelta(hours=24)
#: Kinds that are decisions of people: they happened when they were received, whatever they claim.
DECISIONS = frozenset({"approval", "schema.reviewed", "changelog.signed"})


@dataclass(frozen=True)
class Event:
    """A record that counted: neither withdrawn nor disposed of at the size looked at."""

    index: int
    kind: str
    at: datetime
    occurred: datetime
    by: str
    release: str | None = None
    #: ``sha256:<hex>`` of each subject.
    subjects: frozenset[str] = frozenset()
    outcome: str | None = None
    #: The searchable facts; the whole body for the kinds in `gather.WITH_BODY`.
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it names a file or page besides itself: a subject of its own, or a ``url``.
    has_evidence: bool = False

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
    def happened(self) -> datetime:
        return self.at if self.kind in DECISIONS else self.occurred

    @property
    def is_backfilled(self) -> bool:
        return self.kind not in DECISIONS and self.at - self.occurred > BACKFILLED

    @property
    def lag(self) -> str:
        """How much later than it happened it was recorded, in words; empty when that is not worth a word."""
        late = self.at - self.happened
        if late <= NOTICEABLE_LAG:
            return ""
        return f"recorded {in_words(late)} later" + (", backfilled" if self.is_backfilled else "")


@dataclass(frozen=True)
class Facts:
    """Everything about one release at one moment, for one environment. `events` are in the order of the ledger."""

    release: str
    type: str
    surfaces: tuple[str, ...]
    environment: str
    moment: datetime
    #: How many records of the ledger were looked at: those below this index.
    size: int
    opened: int
    events: tuple[Event, ...]
    #: What other scales call a severity.
    severities: Mapping[str, int] = field(default_factory=dict)
    #: The roles whose approval a deploy to production needs.
    roles: tuple[str, ...] = ()
    #: By the index of a deploy to production: roles whose approval an exception in force then had waived.
    excused: Mapping[int, frozenset[str]] = field(default_factory=dict)
    #: Sections of the readiness checklist in force.
    checklist: tuple[Mapping[str, Any], ...] = ()

    def of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]

    def own(self, *kinds: str) -> list[Event]:
        """Those recorded for this very release."""
        return [event for event in self.of(*kinds) if event.release == self.release]

    @property
    def manifest(self) -> Event | None:
        """The newest deploy manifest: what everything else must be about."""
        found = self.own("deploy.manifest")
        return found[-1] if found else None

    @property
    def digest(self) -> str | None:
        return self.manifest.digest if self.manifest else None

    def for_build(self, *kinds: str) -> list[Event]:
        """Those that name the newest manifest's digest or one of its artifacts: evidence for another does not count."""
        manifest = self.manifest
        return [event for event in self.of(*kinds) if manifest is not None and is_about(event, manifest)]

    def deploys(self, environment: str, kind: str = "deploy.started") -> list[Event]:
        return [event for event in self.own(kind) if event.environment == environment]

    @property
    def deployed_at(self) -> datetime | None:
        """When this build first went to production: the earlier of the record's receipt and its claim."""
        starts = [deploy_time(event) for event in self.deploys("production") if event.digest == self.digest]
        return min(starts, default=None)

    def without(self, dropped: Callable[[Event], bool]) -> "Facts":
        return replace(self, events=tuple(event for event in self.events if not dropped(event)))


def is_about(event: Event, manifest: Event) -> bool:
    """Whether evidence is for a build: it names the manifest's digest, or else one of its artifacts."""
    if event.digest is not None or manifest.digest in event.subjects:
        return manifest.digest in {event.digest, *event.subjects}
    return not event.subjects.isdisjoint(manifest.subjects)


def deploy_time(event: Event) -> datetime:
    """What an approval must come before: neither time of a deploy helps a late one."""
    return min(event.at, event.occurred)


def in_words(span: timedelta) -> str:
    """``3 d 4 h``, ``2 h 5 min``, ``40 s``: the two largest units."""
    seconds = int(span.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0 s"


def counted(number: int, thing: str) -> str:
    """``1 alert``, ``2 alerts``."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def short(digest: str | None) -> str:
    return digest[:19] + "…" if digest else "no digest"
