"""Rules of the gate: each a small pure function from facts and its parameters to a finding.

A requirement of the policy names its rule; ``with`` holds the parameters, which are the fields of the rule's own
dataclass. A rule `before_deploy` is judged by what happened before the build went to production, and by nothing that
was recorded more than a day after it happened: what it was met by only later is late.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from evidence.events import in_words
from evidence.gate.facts import Facts, shown
from evidence.gate.findings import LATE, MET, Finding, unmet

Judge = Callable[[Facts, Any], Finding]
_F = TypeVar("_F", bound=Judge)


@dataclass(frozen=True)
class Rule:
    name: str
    judge: Judge
    parameters: type[Any]
    before_deploy: bool

    def apply(self, facts: Facts, parameters: Any) -> Finding:
        """The finding, with lateness as a fact of its own."""
        finding = self.judge(facts, parameters)
        if finding.state != MET or not self.before_deploy:
            return finding
        return self._backfilled(facts, parameters, finding) or self._after_deploy(facts, parameters, finding) or finding

    def _backfilled(self, facts: Facts, parameters: Any, finding: Finding) -> Finding | None:
        prompt = facts.without(lambda event: event.is_backfilled)
        if self.judge(prompt, parameters).state == MET:
            return None
        behind = [event for event in facts.events if event.index in finding.records and event.is_backfilled]
        if not behind:
            return None
        slowest = max(behind, key=lambda event: event.at - event.occurred)
        return replace(finding, state=LATE, detail=f"{finding.detail}", happened=slowest.at, due=slowest.occurred)

    def _after_deploy(self, facts: Facts, parameters: Any, finding: Finding) -> Finding | None:
        deployed = facts.deployed_at
        if deployed is None:
            return None
        before = facts.without(lambda event: event.kind not in _STRUCTURE and event.happened >= deployed)
        if self.judge(before, parameters).state == MET:
            return None
        by = f", {in_words(finding.happened - deployed)} after" if finding.happened else ", after"
        detail = f"{finding.detail}{by} the deploy to production of {shown(deployed)}"
        return replace(finding, state=LATE, detail=detail, due=deployed)


#: Kinds that say what is judged, not how it fared.
_STRUCTURE = frozenset({"deploy.manifest", "deploy.started"})

RULES: dict[str, Rule] = {}


@dataclass(frozen=True)
class Nothing:
    """A rule without parameters."""


def rule(name: str, parameters: type[Any] = Nothing, *, before_deploy: bool = False) -> Callable[[_F], _F]:
    """Register a rule under the name that policies use."""

    def register(judge: _F) -> _F:
        RULES[name] = Rule(name, judge, parameters, before_deploy)
        return judge

    return register


def no_manifest() -> Finding:
    return unmet("there is no deploy manifest that it could be about")


def load() -> dict[str, Rule]:
    """All rules by name."""
    from evidence.gate.rules import build, operations, people, staging  # noqa: F401  (importing registers)

    return RULES
