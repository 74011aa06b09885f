"""The gate's policy as data: ``policies/gate.yaml`` of the product, then of the company, with ``checklist.yaml``.

The policy in force at a moment is the newest one that the ledger holds then (`revisions`), so that a decision can be
explained with the rules of its time. The revision is the SHA-256 of the canonical document.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

import yaml

from config.errors import InvalidError
from evidence.gate.rules import load as load_rules
from evidence.kinds import yaml_files
from evidence.tlog.canonical import canonical

ENVIRONMENTS = ("staging", "production")
TYPES = ("regular", "hotfix")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}")
_MEMBERS = {"name", "title", "rule", "with", "environments", "types", "waivable", "enabled"}
_FILES = ("gate.yaml", "checklist.yaml")


@dataclass(frozen=True)
class Requirement:
    """One line of the gate. `given` is the rule's parameters as the policy states them."""

    name: str
    title: str
    rule: str
    given: Mapping[str, Any]
    parameters: Any
    environments: tuple[str, ...]
    types: tuple[str, ...]
    waivable: bool

    def concerns(self, environment: str, release_type: str) -> bool:
        return environment in self.environments and release_type in self.types


@dataclass(frozen=True)
class Policy:
    #: ``sha256:<hex>`` of the canonical document.
    revision: str
    document: Mapping[str, Any]
    severities: Mapping[str, int]

    def requirements(self, system: str) -> tuple[Requirement, ...]:
        """The requirements of a system (by name), in the order of the policy."""
        own = self.document.get("systems", {}).get(system, {})
        merged = _merged(self.document["requirements"], [{"name": name, **change} for name, change in own.items()])
        return tuple(_requirement(source) for source in merged if source.get("enabled", True))

    def checklist(self, system: str) -> tuple[Mapping[str, Any], ...]:
        """Sections of the readiness checklist of a system; none where there is no such policy."""
        found = self.document.get("checklist", {})
        return tuple((found.get("systems") or {}).get(system) or found.get("sections") or ())

    def roles(self, system: str) -> tuple[str, ...]:
        """The roles whose approval a production deploy of this system needs."""
        return tuple(dict.fromkeys(requirement.parameters.role for requirement in self.approvals(system)))

    def approvals(self, system: str) -> tuple[Requirement, ...]:
        """The requirements that ask for an approval before production."""
        return tuple(r for r in self.requirements(system) if r.rule == "approved" and "production" in r.environments)


@functools.cache
def load() -> Policy:
    """The policy that this installation's files state. Read once for each process. Raises ``policy_invalid``."""
    sources: dict[str, list[Mapping[str, Any]]] = {name: [] for name in _FILES}
    for path in yaml_files("policies"):
        if path.name in sources:
            sources[path.name].append(_read(path.read_text(), str(path)))
    return parse(assemble(sources["gate.yaml"], sources["checklist.yaml"]))


def _read(text: str, name: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidError(f"{name}: {error}", code="policy_invalid") from None
    if not isinstance(found, dict):
        raise _invalid(f"{name} is not a mapping")
    return found


def assemble(gate: Sequence[Mapping[str, Any]], checklist: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """One document out of the files, later ones over earlier ones."""
    document: dict[str, Any] = {"severities": {}, "requirements": [], "systems": {}}
    for source in gate:
        if unknown := source.keys() - document.keys():
            raise _invalid(f"gate.yaml has no member {sorted(unknown)[0]!r}")
        document["severities"] |= {str(k).upper(): v for k, v in (source.get("severities") or {}).items()}
        document["requirements"] = _merged(document["requirements"], source.get("requirements") or [])
        for system, changes in (source.get("systems") or {}).items():
            own = document["systems"].setdefault(system, {})
            for name, change in changes.items():
                own[name] = own.get(name, {}) | change
    merged: dict[str, Any] = {}
    for source in checklist:
        merged |= source
    return document | ({"checklist": merged} if merged else {})


def _merged(before: Iterable[Mapping[str, Any]], changes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_name = {str(source["name"]): dict(source) for source in before}
    for change in changes:
        if not isinstance(change, Mapping) or not isinstance(change.get("name"), str):
            raise _invalid("a requirement has no name")
        known = by_name.get(change["name"], {})
        parameters = (known.get("with") or {}) | (change.get("with") or {})
        by_name[change["name"]] = known | dict(change) | ({"with": parameters} if parameters else {})
    return list(by_name.values())


def parse(document: Mapping[str, Any]) -> Policy:
    """A policy from its document. Raises InvalidError ``policy_invalid`` that names what is wrong."""
    severities = document.get("severities", {})
    if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 1 for value in severities.values()):
        raise _invalid("severities are whole numbers, 1 is the worst")
    revision = "sha256:" + hashlib.sha256(canonical(document)).hexdigest()
    policy = Policy(revision, document, severities)
    for system in ("", *document.get("systems", {})):
        if not policy.requirements(system):
            raise _invalid("a gate without requirements would always be green")
    return policy


def _requirement(source: Mapping[str, Any]) -> Requirement:
    name = str(source.get("name"))
    rules = load_rules()
    environments, types = tuple(source.get("environments", ENVIRONMENTS)), tuple(source.get("types", TYPES))
    problems = [
        (not _NAME.fullmatch(name), "its name is not lower-case words with hyphens"),
        (bool(source.keys() - _MEMBERS), f"it has unknown members {sorted(source.keys() - _MEMBERS)}"),
        (source.get("rule") not in rules, f"its rule is none of {', '.join(sorted(rules))}"),
        (not environments or not set(environments) <= {*ENVIRONMENTS}, f"environments are {', '.join(ENVIRONMENTS)}"),
        (not types or not set(types) <= {*TYPES}, f"types are {', '.join(TYPES)}"),
        (not isinstance(source.get("waivable", True), bool), "waivable is true or false"),
        (not isinstance(source.get("enabled", True), bool), "enabled is true or false"),
    ]
    for wrong, complaint in problems:
        if wrong:
            raise _invalid(f"requirement {name}: {complaint}")
    given = source.get("with") or {}
    return Requirement(
        name=name,
        title=str(source.get("title") or name),
        rule=source["rule"],
        given=given,
        parameters=_parameters(rules[source["rule"]].parameters, given, name),
        environments=environments,
        types=types,
        waivable=source.get("waivable", True),
    )


def _parameters(wanted: type[Any], given: Mapping[str, Any], name: str) -> Any:
    """The rule's own dataclass, filled and checked against its annotations."""
    hints = get_type_hints(wanted)
    if unknown := given.keys() - hints.keys():
        raise _invalid(f"requirement {name}: its rule has no parameter {sorted(unknown)[0]!r}")
    missing = [f.name for f in fields(wanted) if f.default is f.default_factory is MISSING and f.name not in given]
    if missing:
        raise _invalid(f"requirement {name}: its rule needs {missing[0]!r}")
    return wanted(**{key: _typed(hints[key], value, f"requirement {name}: {key}") for key, value in given.items()})


def _typed(hint: Any, value: Any, where: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if hint == dict[str, float] and isinstance(value, dict):
        return {str(key): _typed(float, item, where) for key, item in value.items()}
    if hint == tuple[str, ...] and isinstance(value, list) and value and all(isinstance(v, str) and v for v in value):
        return tuple(value)
    if (hint is float and number) or (hint is int and number and isinstance(value, int)):
        return value
    if (hint is str and isinstance(value, str) and value) or (hint is bool and isinstance(value, bool)):
        return value
    kinds = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    raise _invalid(f"{where} is not {kinds.get(hint, 'a mapping' if hint == dict[str, float] else 'a list of texts')}")


def _invalid(what: str) -> InvalidError:
    return InvalidError(f"Gate policy: {what}.", code="policy_invalid")
