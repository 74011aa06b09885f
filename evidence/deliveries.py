"""Production deployments of a period with everything that is known about them: rates stand beside their population."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from config.errors import InvalidError
from evidence import deploys, events, inventory, release_policy
from evidence.deploys import PRODUCTION, Deployment, Failure, Retrospective
from evidence.events import Event
from evidence.inventory import Reconciliation
from evidence.models import Record, Release
from evidence.releases import known_as

#: The longest period and the largest population of one answer.
LONGEST = timedelta(days=400)
MOST = 5_000
_CHUNK = 200


@dataclass(frozen=True)
class Member:
    """One production deployment as a member of the population."""

    deployment: Deployment
    tag: str
    system: str
    type: str
    ticket_id: str
    ticket_url: str
    rolled_back: bool
    emergency: bool
    retrospectives: tuple[Retrospective, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Deliveries:
    """R2.1. `rate` is of the finished ones; what is unfinished or was recorded long after is counted apart."""

    start: datetime
    end: datetime
    members: tuple[Member, ...]
    reconciliation: Reconciliation

    @property
    def succeeded(self) -> tuple[Member, ...]:
        return self._with_outcome("succeeded")

    @property
    def failed(self) -> tuple[Member, ...]:
        return self._with_outcome("failed")

    @property
    def unfinished(self) -> tuple[Member, ...]:
        return self._with_outcome("unfinished")

    @property
    def backfilled(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.deployment.is_backfilled)

    @property
    def rolled_back(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.rolled_back)

    @property
    def emergencies(self) -> tuple[Member, ...]:
        """A population of its own: deployed before everybody had approved."""
        return tuple(member for member in self.members if member.emergency)

    @property
    def failures(self) -> tuple[tuple[Member, Failure], ...]:
        return tuple((member, failure) for member in self.members for failure in member.failures)

    @property
    def rate(self) -> float | None:
        """Percent, of succeeded and failed together; None without either."""
        return 100 * len(self.succeeded) / self.finished if self.finished else None

    @property
    def finished(self) -> int:
        return len(self.succeeded) + len(self.failed)

    @property
    def unmatched(self) -> int:
        return len(self.reconciliation.unrecorded) + len(self.reconciliation.unlisted)

    def _with_outcome(self, outcome: str) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.deployment.outcome == outcome)


def deliveries(*, start: datetime, end: datetime, systems: Sequence[str], now: datetime) -> Deliveries:
    """Production deployments that began in [start, end) in these systems (opaque ids), and what hosts list.

    Raises InvalidError ``period_invalid``, ``period_too_large``.
    """
    if not start < end or end - start > LONGEST:
        raise InvalidError(f"A period has at least a moment and at most {LONGEST.days} days.", code="period_invalid")
    releases = _releases(start, end, systems)
    members = [
        member
        for chunk in (releases[i : i + _CHUNK] for i in range(0, len(releases), _CHUNK))
        for member in _members(chunk, now)
        if start <= member.deployment.event.occurred < end
    ]
    return Deliveries(start, end, tuple(members), _reconciled(members, start, end, systems))


def _releases(start: datetime, end: datetime, systems: Sequence[str]) -> list[str]:
    found = Record.objects.counting().filter(
        kind__in=["deploy.started", "deploy.finished"], facts__environment=PRODUCTION
    )
    names = events.in_period(found, start, end, systems).exclude(release=None).order_by("release")
    releases = list(names.values_list("release", flat=True).distinct()[: MOST + 1])
    if len(releases) > MOST:
        raise InvalidError(f"More than {MOST} releases: ask for a shorter period.", code="period_too_large")
    return releases


def _members(names: Sequence[str], now: datetime) -> list[Member]:
    policy = release_policy.load()
    known = events.of_releases(names, kinds=deploys.KINDS)
    people = known_as(event.by for events_ in known.values() for event in events_ if event.kind == "approval")
    releases = Release.objects.filter(pk__in=names).select_related("system")
    found = []
    for release in releases.order_by("opened_by"):
        own = known.get(release.pk, [])
        roles = policy.roles(release.system.name)
        failed = deploys.failures(own, roles=roles, people=people)
        live = deploys.deployments(own, PRODUCTION)
        found += [
            Member(
                deployment=each,
                tag=release.tag,
                system=release.system.name,
                type=release.type,
                ticket_id=release.ticket_id,
                ticket_url=release.ticket_url,
                rolled_back=_was_rolled_back(each, live, own),
                emergency=deploys.is_emergency(own, each, roles),
                retrospectives=tuple(
                    deploys.retrospectives(own, each, roles=roles, within=policy.retrospective, now=now)
                ),
                failures=tuple(failure for failure in failed if failure.deployment.index == each.index),
            )
            for each in live
        ]
    return found


def _was_rolled_back(deployment: Deployment, live: Sequence[Deployment], known: Sequence[Event]) -> bool:
    """Whether a rollback came after it and before the release's next deployment."""
    after = [other.index for other in live if other.index > deployment.index]
    until = min(after, default=None)
    return any(
        event.kind == "rollback" and event.index > deployment.index and (until is None or event.index < until)
        for event in known
    )


def _reconciled(members: Sequence[Member], start: datetime, end: datetime, systems: Sequence[str]) -> Reconciliation:
    """Against inventories received since the period began: the newest ones are read, as many as an answer allows."""
    found = Record.objects.counting().filter(kind="deploy.inventory", scope__overlap=list(systems), at__gte=start)
    inventories = events.events_of(list(found.order_by("-index")[:500])[::-1])
    listed = inventory.rows(inventories, start=start, end=end)
    return inventory.reconcile(
        listed,
        [member.deployment for member in members],
        covered=inventory.coverage(inventories),
        tolerance=release_policy.load().inventory_tolerance,
    )
