"""docs/gate.md names every rule, parameter and requirement of the gate."""

import re
from dataclasses import fields
from pathlib import Path

from evidence.gate import policy
from evidence.gate.findings import STATES
from evidence.gate.rules import load

DOCS = Path(__file__).resolve().parents[2] / "docs" / "gate.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \|([^|]*)\|[^|]*\|([^|]*)\|$", re.MULTILINE)


def _named(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z_-]+)`", cell))


def test_it_names_every_rule_with_its_parameters() -> None:
    told = {rule: _named(parameters) for rule, parameters, _ in _ROW.findall(DOCS.read_text())}
    assert told == {name: {field.name for field in fields(rule.parameters)} for name, rule in load().items()}


def test_it_names_every_requirement_under_its_rule() -> None:
    told = {name: rule for rule, _, names in _ROW.findall(DOCS.read_text()) for name in _named(names)}
    assert told == {requirement.name: requirement.rule for requirement in policy.load().requirements("any")}


def test_it_names_every_state() -> None:
    assert all(f"| `{state}` |" in DOCS.read_text() for state in STATES)
