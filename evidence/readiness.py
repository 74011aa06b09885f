"""Everything about one release at once: what its page and the API show. A few queries, whatever its size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from evidence import checklist, deploys, events, incidents, planned, release_policy, sign_offs
from evidence.checklist import Checklist, ChecklistSection
from evidence.deploys import Deployment, Difference, Failure, Retrospective
from evidence.events import Event
from evidence.incidents import Incident, Reaction
from evidence.models import Record, Release
from evidence.planned import Line, Step
from evidence.releases import known_as
from evidence.sign_offs import Role


@dataclass(frozen=True)
class Readiness:
    """As of `at`; only who is assigned to sign is as of now."""

    at: datetime
    lines: tuple[Line, ...]
    cutover: tuple[Step, ...]
    checklist: Checklist
    roles: tuple[Role, ...]
    deployments: tuple[Deployment, ...]
    differences: tuple[Difference, ...]
    failures: tuple[Failure, ...]
    retrospectives: tuple[tuple[Deployment, Retrospective], ...]
    #: Records of decisions that an emergency deploy owed.
    given_afterwards: frozenset[int]
    incidents: tuple[Incident, ...]
    reactions: tuple[Reaction, ...]

    @property
    def lacking(self) -> list[str]:
        """What the release lacks now, in a few words each, the gravest first."""
        found = [failure.detail for failure in self.failures]
        found += [f"{line.title}: {line.words}" for line in self.lines if line.state in {"failed", "missing"}]
        found += [each.detail for each in self.differences if not self.deployments_to(deploys.PRODUCTION)]
        missing = [role.role for role in self.roles if role.state != "approved"]
        found += [f"Sign-off missing: {', '.join(missing)}"] if missing else []
        count = len(self.checklist.open)
        found += [f"Checklist: {count} item{'s' * (count != 1)} open"] if count else []
        return found

    def deployments_to(self, environment: str) -> list[Deployment]:
        return [each for each in self.deployments if each.environment == environment]


def readiness(release: Release, at: datetime | None = None) -> Readiness:
    """The state of a release as of a moment (default: now)."""
    now, policy = at or timezone.now(), release_policy.load()
    roles = policy.roles(release.system.name)
    wanted = {*deploys.KINDS, *incidents.KINDS, *planned.KINDS, *(line.kind for line in policy.expected)}
    known = events.of_release(release.pk, at=at, kinds=sorted(wanted))
    runs = deploys.deployments(known)
    return Readiness(
        at=now,
        lines=tuple(planned.lines(release, known, policy, now=now)),
        cutover=tuple(planned.cutover(release, known, policy, now=now)),
        checklist=checklist_state(release, at),
        roles=tuple(sign_offs.needed(release, known)),
        deployments=tuple(runs),
        differences=tuple(deploys.differences(known)),
        failures=tuple(deploys.failures(known, roles=roles, people=_people(known, runs))),
        retrospectives=tuple(_retrospectives(known, runs, roles, policy, now)),
        given_afterwards=deploys.given_afterwards(known, roles),
        incidents=tuple(incidents.incidents(known, every=policy.incident_updates, now=now)),
        reactions=tuple(incidents.reactions(known, policy.rollbacks)),
    )


def _people(known: Sequence[Event], runs: Sequence[Deployment]) -> dict[str, set[str]]:
    """What those who approved are called, where anything ran that they may have deployed."""
    live = any(run.environment == deploys.PRODUCTION for run in runs)
    return known_as(event.by for event in known if live and event.kind == "approval")


def checklist_state(release: Release, at: datetime | None = None) -> Checklist:
    """The checklist as it stood at `at` (default: now)."""
    sections = release_policy.checklist(release.system.name)
    known = events.of_release(release.pk, at=at, kinds=sorted({checklist.KIND, "deploy.manifest", *_kinds(sections)}))
    return checklist.evaluate(sections, known, gone=_gone(known, release, at), at=at or timezone.now())


def _kinds(sections: Iterable[ChecklistSection]) -> set[str]:
    return {item.met_by["kind"] for section in sections for item in section.items if item.met_by}


def _gone(known: Sequence[Event], release: Release, at: datetime | None) -> frozenset[int]:
    """Records that answers name as evidence and that do not count: withdrawn, or of another system."""
    named = checklist.records_named(known)
    there = events.counting(Record.objects.in_systems([release.system_id]).filter(index__in=named), at) if named else []
    return frozenset(named - {row.index for row in there})


def _retrospectives(
    known: list[Event], runs: list[Deployment], roles: tuple[str, ...], policy: release_policy.Policy, now: datetime
) -> list[tuple[Deployment, Retrospective]]:
    return [
        (run, each)
        for run in runs
        for each in deploys.retrospectives(known, run, roles=roles, within=policy.retrospective, now=now)
    ]
