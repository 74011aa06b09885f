"""May this release go? Requirements of the policy in force, judged over the facts, and what is waived."""

from collections.abc import Sequence
from datetime import datetime

from config.errors import InvalidError
from evidence.gate import revisions
from evidence.gate.answer import Answer, Judged
from evidence.gate.facts import Facts
from evidence.gate.findings import Finding
from evidence.gate.gather import Pin, gather, pin
from evidence.gate.policy import ENVIRONMENTS, Requirement
from evidence.gate.rules import load as load_rules
from evidence.models import Release
from evidence.waivers import Waiver, waivers_of


def ask(*, release: Release, environment: str, as_of: datetime | None = None, size: int | None = None) -> Answer:
    """The answer at a moment (default: now), by everything received until then, or by the first `size` records of it.

    `release` comes from a query that its asker may see. A past answer follows from the records and the policy of that
    time; an exception granted since waives nothing then. Raises ``environment_unknown``, ``as_of_in_future``,
    ``size_unknown``, ``policy_missing``, ``release_not_open_yet``, ``release_too_large``.
    """
    check_environment(environment)
    if as_of is None and size is None:
        revisions.ensure_recorded()
    return evaluate(release, environment, pin(as_of, size))


def check_environment(environment: str) -> None:
    if environment not in ENVIRONMENTS:
        raise InvalidError(
            f"environment is one of {', '.join(ENVIRONMENTS)}.", code="environment_unknown", where="environment"
        )


def evaluate(release: Release, environment: str, at: Pin) -> Answer:
    """The answer at a pin."""
    force = revisions.in_force(at.size)
    facts = gather(release, environment, force.policy, at)
    concerned = [r for r in force.policy.requirements(release.system.name) if r.concerns(environment, release.type)]
    rules = load_rules()
    found = [(requirement, rules[requirement.rule].apply(facts, requirement.parameters)) for requirement in concerned]
    waived = _waived(release, facts, found, at)
    return Answer(
        release=release.pk,
        system=release.system_id,
        environment=environment,
        as_of=at.moment,
        size=at.size,
        policy=force.policy.revision,
        policy_record=force.index,
        manifest_digest=facts.digest,
        requirements=tuple(Judged(r, finding, waived.get(r.name)) for r, finding in found),
    )


def _waived(release: Release, facts: Facts, found: Sequence[tuple[Requirement, Finding]], at: Pin) -> dict[str, Waiver]:
    """What exceptions waive of what does not pass.

    For what had to be there before the deploy to production, the exception was in force at that deploy too: one that
    is granted afterwards excuses nothing.
    """
    rules = load_rules()
    lacking = {r.name: r for r, finding in found if not finding.passes and r.waivable}
    now = waivers_of(lacking, release.system_id, release.pk, at.moment, at.size)
    bound = [name for name in now if rules[lacking[name].rule].before_deploy]
    if facts.deployed_at is None or not bound:
        return now
    then = waivers_of(bound, release.system_id, release.pk, facts.deployed_at, at.size)
    return {name: waiver for name, waiver in now.items() if name not in bound or name in then}
