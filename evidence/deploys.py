"""Deployments as records tell them: what ran where, whether it was what was tested and approved, and who approved it.

Pure functions over the events of one release. The build that was tested is the build that is deployed (R1.6): a
difference is named before (`differences`) and is a failure row afterwards (`failures`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evidence import approvals
from evidence.events import Event, in_words, names_build, newest

PRODUCTION, STAGING = "production", "staging"
#: What these functions look at.
KINDS = (
    *("deploy.manifest", "deploy.started", "deploy.finished", "approval", "test.result", "validation.result"),
    *("rollback", "hotfix"),
)


@dataclass(frozen=True)
class Deployment:
    """One deploy of one build to one environment: its start, its end, or both."""

    release: str
    environment: str
    digest: str | None
    started: Event | None
    finished: Event | None

    @property
    def event(self) -> Event:
        """The record it is known by: its start, else its end."""
        event = self.started or self.finished
        if event is None:
            raise ValueError("a deployment has a start or an end")
        return event

    @property
    def index(self) -> int:
        return self.event.index

    @property
    def at(self) -> datetime:
        """When it began: the earlier of what its record claims and when that was received."""
        return min(self.event.occurred, self.event.at)

    @property
    def outcome(self) -> str:
        """succeeded, failed, or unfinished."""
        return (self.finished.outcome or "finished") if self.finished else "unfinished"

    @property
    def deployers(self) -> frozenset[str]:
        """Who deployed: principals that posted it, and whoever its records name (lower case)."""
        known = [event for event in (self.started, self.finished) if event]
        named = {str(event.facts["deployed_by"]).lower() for event in known if event.facts.get("deployed_by")}
        return frozenset({event.by for event in known} | named)

    @property
    def is_backfilled(self) -> bool:
        return self.event.is_backfilled


def deployments(events: Iterable[Event], environment: str | None = None) -> list[Deployment]:
    """Every deployment, in the order of the ledger. An end belongs to the oldest start of its build still running."""
    running: dict[tuple[str | None, str | None], list[int]] = {}
    found: list[Deployment] = []
    for event in events:
        if event.kind not in {"deploy.started", "deploy.finished"}:
            continue
        key = (event.environment, event.digest)
        if event.kind == "deploy.started":
            running.setdefault(key, []).append(len(found))
            found.append(Deployment(event.release or "", event.environment or "", event.digest, event, None))
        elif running.get(key):
            place = running[key].pop(0)
            begun = found[place]
            found[place] = Deployment(begun.release, begun.environment, begun.digest, begun.started, event)
        else:
            found.append(Deployment(event.release or "", event.environment or "", event.digest, None, event))
    return [each for each in found if environment in {None, each.environment}]


# -- the build that was tested is the build that is deployed -----------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Why what would be deployed is not what was tried: a stable code, a sentence, the records that show it."""

    code: str
    detail: str
    records: tuple[int, ...]


def differences(events: Sequence[Event]) -> list[Difference]:
    """What keeps the newest manifest from being promoted: empty when staging and tests were of this very build."""
    manifest = newest(events, "deploy.manifest")
    if manifest is None:
        return [Difference("manifest_missing", "There is no deploy manifest.", ())]
    found = _staging_differences(events, manifest)
    for kind, what in (("test.result", "tests"), ("validation.result", "staging validations")):
        results = [e for e in events if e.kind == kind and e.environment in {None, STAGING}]
        of_this = [e for e in results if names_build(e, manifest)]
        others = [e for e in results if not names_build(e, manifest) and e.digest is not None]
        if others and not of_this:
            detail = f"The {what} are of {short(others[-1].digest)}, the manifest is {short(manifest.digest)}."
            found.append(Difference(f"{kind.split('.')[0]}_digest", detail, (others[-1].index, manifest.index)))
    return found


def _staging_differences(events: Sequence[Event], manifest: Event) -> list[Difference]:
    good = [each for each in deployments(events, STAGING) if each.outcome == "succeeded"]
    if any(each.digest == manifest.digest for each in good):
        return []
    if not good:
        return [Difference("staging_missing", "This build was not deployed to staging.", (manifest.index,))]
    last = good[-1]
    detail = f"Staging ran {short(last.digest)}, the manifest is {short(manifest.digest)}."
    return [Difference("staging_digest", detail, (last.index, manifest.index))]


# -- approvals around a deployment -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Retrospective:
    """What an emergency deploy still owes, or gave too late: one for each role that had not approved before."""

    role: str
    due: datetime
    #: ``due``, ``given`` (in time), ``late`` (given, after it was due), ``overdue``, ``rejected``.
    state: str
    by: timedelta
    approval: Event | None

    @property
    def words(self) -> str:
        """``late by 2 h``."""
        if self.state in {"late", "overdue"}:
            return f"{self.state} by {in_words(self.by)}"
        return f"due in {in_words(self.by)}" if self.state == "due" else self.state


def approvals_before(events: Iterable[Event], deployment: Deployment, roles: Sequence[str]) -> dict[str, Event]:
    """By role: the approval of the deployed digest that stood when the deploy began."""
    known = list(events)
    found = {role: approvals.approval(known, role, deployment.digest, until=deployment.at) for role in roles}
    return {role: event for role, event in found.items() if event is not None}


def retrospectives(
    events: Sequence[Event], deployment: Deployment, *, roles: Sequence[str], within: timedelta, now: datetime
) -> list[Retrospective]:
    """What the deployment owes: empty unless it went to production without every approval."""
    if not is_emergency(events, deployment, roles):
        return []
    given, due = approvals_before(events, deployment, roles), deployment.at + within
    return [_retrospective(events, role, deployment, due, now) for role in roles if role not in given]


def _retrospective(
    events: Sequence[Event], role: str, deployment: Deployment, due: datetime, now: datetime
) -> Retrospective:
    decided = approvals.decision(events, role, deployment.digest)
    if decided is None:
        late = now - due
        return Retrospective(role, due, "overdue" if late > timedelta(0) else "due", abs(late), None)
    if decided.outcome != "approved":
        return Retrospective(role, due, "rejected", timedelta(0), decided)
    late = decided.at - due
    return Retrospective(role, due, "late" if late > timedelta(0) else "given", max(late, timedelta(0)), decided)


def owed(events: Sequence[Event], deployment: Deployment, roles: Sequence[str]) -> list[str]:
    """Roles that had not approved before the deploy and have decided nothing since."""
    given = approvals_before(events, deployment, roles)
    return [role for role in roles if role not in given and approvals.decision(events, role, deployment.digest) is None]


def owing(events: Sequence[Event], digest: str, roles: Sequence[str]) -> dict[str, Deployment]:
    """By role: the emergency deploy of this manifest that the role had not approved before, the first of them."""
    found: dict[str, Deployment] = {}
    for each in deployments(events, PRODUCTION):
        if each.digest == digest and is_emergency(events, each, roles):
            given = approvals_before(events, each, roles)
            found = {role: each for role in roles if role not in given} | found
    return found


def given_afterwards(events: Sequence[Event], roles: Sequence[str]) -> frozenset[int]:
    """Decisions that an emergency deploy owed and that came after it began, whatever they say."""
    decisions = [event for event in events if event.kind == "approval" and event.digest is not None]
    owed = {digest: owing(events, digest, roles) for digest in {str(event.digest) for event in decisions}}
    return frozenset(
        event.index
        for event in decisions
        if (run := owed[str(event.digest)].get(str(event.facts.get("role")))) and event.at >= run.at
    )


def is_emergency(events: Sequence[Event], deployment: Deployment, roles: Sequence[str]) -> bool:
    """Whether it went to production before everybody had approved this very build.

    What was recorded long after owes nothing now: its lacking approvals are failure rows.
    """
    if deployment.environment != PRODUCTION or deployment.is_backfilled:
        return False
    return len(approvals_before(events, deployment, roles)) < len(roles)


# -- failure rows ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """Something about a deployment that must never be hidden."""

    code: str
    detail: str
    deployment: Deployment
    records: tuple[int, ...]


def failures(
    events: Sequence[Event], *, roles: Sequence[str], people: Mapping[str, Collection[str]] | None = None
) -> list[Failure]:
    """Failure rows of every production deployment of a release. `people`: what approvers are called, by opaque id."""
    found: list[Failure] = []
    for each in deployments(events, PRODUCTION):
        found += [*_build_failures(events, each), *_people_failures(events, each, roles, people or {})]
        if each.outcome == "failed":
            found.append(Failure("deploy_failed", "The deploy failed.", each, (each.index,)))
    return found


def _build_failures(events: Sequence[Event], deployment: Deployment) -> list[Failure]:
    before = [event for event in events if event.index < deployment.index]
    manifest = newest(before, "deploy.manifest")
    if manifest is None:
        return [Failure("manifest_missing", "Deployed without a manifest.", deployment, (deployment.index,))]
    if manifest.digest != deployment.digest:
        detail = f"Deployed {short(deployment.digest)}, the manifest was {short(manifest.digest)}."
        return [Failure("deployed_digest", detail, deployment, (deployment.index, manifest.index))]
    staged = [d for d in deployments(before, STAGING) if d.outcome == "succeeded"]
    if any(d.digest == deployment.digest for d in staged):
        return []
    if not staged:
        return [Failure("staging_missing", "Deployed without having run on staging.", deployment, (deployment.index,))]
    detail = f"Deployed {short(deployment.digest)}, staging ran {short(staged[-1].digest)}."
    return [Failure("staging_digest", detail, deployment, (deployment.index, staged[-1].index))]


def own_approvals(
    events: Sequence[Event], deployment: Deployment, roles: Sequence[str], people: Mapping[str, Collection[str]]
) -> list[Event]:
    """Approvals that counted before the deploy, by who deployed it: as themselves, or as its records name them."""
    given = approvals_before(events, deployment, roles).values()
    return [e for e in given if not deployment.deployers.isdisjoint({e.by, *people.get(e.by, ())})]


def _people_failures(
    events: Sequence[Event], deployment: Deployment, roles: Sequence[str], people: Mapping[str, Collection[str]]
) -> list[Failure]:
    given = approvals_before(events, deployment, roles)
    lacking = [role for role in roles if role not in given]
    found = []
    if lacking:
        detail = f"Deployed without approval by {', '.join(lacking)}."
        records = (deployment.index, *(event.index for event in given.values()))
        found.append(Failure("approval_missing", detail, deployment, records))
    own = own_approvals(events, deployment, roles, people)
    if own:
        roles_of = ", ".join(str(event.facts.get("role")) for event in own)
        records = (deployment.index, *(event.index for event in own))
        found.append(Failure("deployer_approved", f"Deployed by who approved it as {roles_of}.", deployment, records))
    return found


def short(digest: str | None) -> str:
    """A digest by its beginning."""
    return digest[:19] + "…" if digest else "no digest"
