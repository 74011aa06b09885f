"""Rules about staging before production: the build that was tested is the build that is promoted (R1.6)."""

from dataclasses import dataclass
from datetime import timedelta

from evidence.events import Event, in_words
from evidence.gate.facts import Facts, counted, short, shown
from evidence.gate.findings import Finding, late, met, stale, unmet
from evidence.gate.rules import Nothing, no_manifest, rule


@rule("staged", before_deploy=True)
def staged(facts: Facts, _: Nothing) -> Finding:
    """The newest deploy to staging succeeded and has the digest of the newest manifest."""
    if facts.manifest is None:
        return no_manifest()
    deploys = facts.deploys("staging", "deploy.finished")
    if not deploys:
        return unmet("nothing was deployed to staging")
    last = deploys[-1]
    if last.digest != facts.digest:
        detail = f"staging runs {short(last.digest)}, the manifest is {short(facts.digest)}"
        return stale(detail, [last, facts.manifest], staging=last.digest, manifest=facts.digest)
    if last.outcome != "succeeded":
        return unmet(f"the deploy to staging {last.outcome}", [last])
    return met(f"{short(last.digest)} since {shown(last.occurred)}", [last], staging=last.digest)


@dataclass(frozen=True)
class Validated:
    environment: str
    #: Part of the names of the checks that are meant.
    check: str
    #: Minutes from the end of the deploy within which they pass; 0 for any time.
    within_minutes: float = 0
    #: Whether one of them must come with a file or a page: a screenshot, a log.
    needs_evidence: bool = False


@rule("validated", Validated, before_deploy=True)
def validated(facts: Facts, parameters: Validated) -> Finding:
    """Every check of that name passed on the newest deploy of this build, soon enough."""
    if facts.manifest is None:
        return no_manifest()
    deploy = _newest_deploy(facts, parameters.environment)
    if deploy is None:
        return unmet(f"this build was not deployed to {parameters.environment}")
    checks = _checks(facts, deploy, parameters.check)
    due = deploy.occurred + timedelta(minutes=parameters.within_minutes) if parameters.within_minutes else None
    if not checks:
        until = f" (due {shown(due)})" if due else ""
        return unmet(f"no check {parameters.check!r} of this build on {parameters.environment}{until}", [deploy])
    found = [event for events in checks.values() for event in events]
    failed = [name for name, events in checks.items() if events[-1].outcome != "passed"]
    if failed:
        return unmet(f"failed: {', '.join(failed[:10])}", found)
    if parameters.needs_evidence and not any(event.has_evidence for event in found if event.outcome == "passed"):
        return unmet("passed, but without a file or a link as evidence", found)
    first = max(next(e for e in events if e.outcome == "passed").occurred for events in checks.values())
    if due is not None and first > due:
        by = in_words(first - due)
        return late(f"passed {by} late", [deploy, *found], happened=first, due=due, deployed_at=deploy.occurred)
    return met(
        f"{counted(len(checks), 'check')} passed after {in_words(first - deploy.occurred)}",
        [deploy, *found],
        checks=sorted(checks),
    )


def _newest_deploy(facts: Facts, environment: str) -> Event | None:
    """The newest deploy of this build that succeeded."""
    ends = facts.deploys(environment, "deploy.finished")
    good = [event for event in ends if event.outcome == "succeeded" and event.digest == facts.digest]
    return good[-1] if good else None


def _checks(facts: Facts, deploy: Event, part: str) -> dict[str, list[Event]]:
    """Results since the deploy by the name of the check, in the order in which they happened."""
    found: dict[str, list[Event]] = {}
    for event in sorted(facts.for_build("validation.result"), key=lambda event: (event.occurred, event.index)):
        name = str(event.facts.get("check"))
        if event.environment == deploy.environment and event.occurred >= deploy.occurred and _fits(part, name):
            found.setdefault(name, []).append(event)
    return found


def _fits(part: str, name: str) -> bool:
    return part.casefold() in name.casefold()


@dataclass(frozen=True)
class Where:
    environment: str


@rule("surfaces-validated", Where, before_deploy=True)
def surfaces_validated(facts: Facts, parameters: Where) -> Finding:
    """Each surface of the release has a passed check that names it, on the newest deploy of this build."""
    if facts.manifest is None:
        return no_manifest()
    if not facts.surfaces:
        return unmet("the release names no surface")
    deploy = _newest_deploy(facts, parameters.environment)
    if deploy is None:
        return unmet(f"this build was not deployed to {parameters.environment}")
    found: list[Event] = []
    lacking = []
    for surface in facts.surfaces:
        checks = [events[-1] for events in _checks(facts, deploy, surface).values()]
        found += checks
        if not checks or any(event.outcome != "passed" for event in checks):
            lacking.append(surface)
    if lacking:
        return unmet(f"not validated: {', '.join(lacking[:10])}", [deploy, *found], lacking=lacking)
    return met(counted(len(facts.surfaces), "surface"), [deploy, *found], surfaces=list(facts.surfaces))
