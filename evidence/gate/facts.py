"""What rules look at: plain values made from records (`evidence.events`). Nothing here asks a database or a clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from evidence.events import Event, names_build


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
    #: Records that answers of the checklist name as evidence and that do not count: withdrawn, or of another system.
    gone: frozenset[int] = frozenset()

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
    def first_manifest(self) -> Event | None:
        """The first record of that very manifest: posted again, it is no other one."""
        return next((event for event in self.own("deploy.manifest") if event.digest == self.digest), None)

    @property
    def digest(self) -> str | None:
        return self.manifest.digest if self.manifest else None

    def for_build(self, *kinds: str) -> list[Event]:
        """Those that name the newest manifest's digest or one of its artifacts: evidence for another does not count."""
        manifest = self.manifest
        return [event for event in self.of(*kinds) if manifest is not None and names_build(event, manifest)]

    def deploys(self, environment: str, kind: str = "deploy.started") -> list[Event]:
        return [event for event in self.own(kind) if event.environment == environment]

    @property
    def deployed_at(self) -> datetime | None:
        """When this build first went to production: the earlier of the record's receipt and its claim."""
        starts = [deploy_time(event) for event in self.deploys("production") if event.digest == self.digest]
        return min(starts, default=None)

    def without(self, dropped: Callable[[Event], bool]) -> "Facts":
        return replace(self, events=tuple(event for event in self.events if not dropped(event)))


def deploy_time(event: Event) -> datetime:
    """What an approval must come before: neither time of a deploy helps a late one."""
    return min(event.at, event.occurred)


def counted(number: int, thing: str) -> str:
    """``1 alert``, ``2 alerts``."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def short(digest: str | None) -> str:
    return digest[:19] + "…" if digest else "no digest"
