"""Rules about what people decide: the checklist and approvals (R1.2, R1.4, R1.5)."""

from dataclasses import dataclass
from datetime import datetime

from evidence import approvals, checklist
from evidence.events import Event, in_words
from evidence.gate.facts import Facts, counted, deploy_time, short, shown
from evidence.gate.findings import NOT_APPLICABLE, Finding, late, met, stale, unmet
from evidence.gate.rules import Nothing, no_manifest, rule


@dataclass(frozen=True)
class Role:
    role: str


@rule("approved", Role, before_deploy=True)
def approved(facts: Facts, parameters: Role) -> Finding:
    """Somebody approved this very manifest in the role, and nobody's standing decision in it is against."""
    if facts.manifest is None:
        return no_manifest()
    decisions = approvals.in_role(facts.own("approval"), parameters.role)
    standing = approvals.standing(decisions)
    found = approvals.decision(decisions, parameters.role, facts.digest)
    if found is not None and found.outcome == approvals.REJECTED:
        against = [event for event in standing if event.digest == facts.digest and event.outcome == approvals.REJECTED]
        return unmet(f"rejected {shown(found.at)}", against, by=found.by)
    if found is not None:
        return met(f"approved {shown(found.at)}", [found], by=found.by, digest=facts.digest)
    before = [event for event in standing if event.outcome == approvals.APPROVED]
    if before:
        detail = f"approved {short(before[-1].digest)}, the manifest is {short(facts.digest)}"
        return stale(detail, [before[-1], facts.manifest], by=before[-1].by, digest=before[-1].digest)
    return unmet(f"no approval of {short(facts.digest)} by {parameters.role}")


@rule("deploys-approved")
def deploys_approved(facts: Facts, _: Nothing) -> Finding:
    """Each deploy to production was of the newest manifest then, and every role had approved that before.

    Approvals given afterwards make it late, and it stays late: an emergency deploy is never green.
    """
    deploys = facts.deploys("production")
    if not deploys:
        return Finding(NOT_APPLICABLE, "nothing was deployed to production yet")
    for deploy in deploys:
        manifests = [event for event in facts.own("deploy.manifest") if event.index < deploy.index]
        if not manifests or manifests[-1].digest != deploy.digest:
            wanted = f"the manifest was {short(manifests[-1].digest)}" if manifests else "there was no manifest"
            return unmet(f"{_named(deploy)} deployed {short(deploy.digest)}, {wanted}", [deploy, *manifests[-1:]])
    findings = [finding for deploy in deploys if (finding := _unapproved(facts, deploy)) is not None]
    if findings:
        return next((finding for finding in findings if finding.state == "unmet"), findings[0])
    return met(f"{counted(len(deploys), 'deploy')}, approved before", deploys)


def _unapproved(facts: Facts, deploy: Event) -> Finding | None:
    """What a deploy lacked, or None. What an exception in force at the deploy excused is not asked of it."""
    started = deploy_time(deploy)
    needed = [role for role in facts.roles if role not in facts.excused.get(deploy.index, ())]
    roles = [role for role in needed if not _approved_by(facts, deploy, role, until=started)]
    if not roles:
        return None
    after = {role: _approved_by(facts, deploy, role) for role in roles}
    lacking = [role for role, event in after.items() if event is None]
    if lacking:
        return unmet(f"{_named(deploy)} went without approval by {', '.join(lacking)}", [deploy], roles=roles)
    events = [event for event in after.values() if event is not None]
    last = max(event.at for event in events)
    detail = f"{_named(deploy)} was approved by {', '.join(roles)} {in_words(last - started)} after it started"
    return late(detail, [deploy, *events], happened=last, due=started, roles=roles)


def _approved_by(facts: Facts, deploy: Event, role: str, until: datetime | None = None) -> Event | None:
    return approvals.approval(facts.own("approval"), role, deploy.digest, until=until)


def _named(deploy: Event) -> str:
    return f"deploy #{deploy.index} of {shown(deploy_time(deploy))}"


@rule("checklist-complete")
def checklist_complete(facts: Facts, _: Nothing) -> Finding:
    """Every item is done with evidence, or not done with a reason, or answered by a record that the checklist names."""
    own = [event for event in facts.events if event.release == facts.release]
    sections = checklist.parse_sections(facts.checklist) or checklist.sections_of(own)
    if not sections:
        return unmet("there is no checklist of this release")
    state = checklist.evaluate(sections, own, gone=facts.gone, at=facts.moment)
    behind = [event for event in own if event.index in state.records]
    if state.open:
        named = [item.title + (f" ({item.note})" if item.note else "") for item in state.open]
        detail = f"{len(named)} open: {', '.join(named[:5])}" + (" …" if len(named) > 5 else "")
        return unmet(detail, behind, open=[item.title for item in state.open[:200]])
    return met(counted(len(state.items), "item"), behind)
