"""The controls of this installation: YAML of the product, then of the company (`PROOFTRAIL_DATA_PATHS`).

A company's control with a built-in id replaces it; ``enabled: false`` switches one off.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import yaml

from compliance.controls.rules import RULES
from config.errors import InvalidError
from evidence.kinds import yaml_files
from evidence.tlog.canonical import canonical

POPULATIONS = ("production-deployments", "exceptions", "access-changes")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_CRITERION = re.compile(r"(CC[1-9]|A1|C1|PI1|P[1-8])\.\d{1,2}")
_MEMBERS = {"id", "title", "criteria", "evidence", "clock", "population", "rule", "with", "waived_by", "enabled"}


@dataclass(frozen=True)
class Control:
    """What must hold for every member of a population. `criteria` are SOC 2 ids; their text is AICPA's."""

    id: str
    title: str
    criteria: tuple[str, ...]
    evidence: str
    clock: str
    population: str
    rule: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: Requirements whose waiver by an exception in force excuses a member.
    waived_by: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Catalog:
    controls: tuple[Control, ...]
    #: SHA-256 over the canonical definitions.
    revision: str


def parse_control(source: Mapping[str, Any]) -> Control:
    """One control. Raises InvalidError ``control_invalid`` that names what is wrong."""
    name = str(source.get("id", "?"))
    problems = [
        (not _ID.fullmatch(name), "its id is not lower-case words with hyphens"),
        (not source.keys() <= _MEMBERS, f"it has unknown members {sorted(source.keys() - _MEMBERS)}"),
        (not source.get("title"), "it has no title"),
        (source.get("population") not in POPULATIONS, f"its population is not one of {', '.join(POPULATIONS)}"),
        (source.get("rule") not in RULES, f"its rule is not one of {', '.join(RULES)}"),
        (
            not all(_CRITERION.fullmatch(c) for c in source.get("criteria") or ["?"]),
            "a criterion is not an id like CC8.1",
        ),
    ]
    for wrong, complaint in problems:
        if wrong:
            raise InvalidError(f"Control {name}: {complaint}.", code="control_invalid")
    return Control(
        id=name,
        title=source["title"],
        criteria=tuple(source["criteria"]),
        evidence=source.get("evidence", ""),
        clock=source.get("clock", ""),
        population=source["population"],
        rule=source["rule"],
        parameters=source.get("with", {}),
        waived_by=frozenset(source.get("waived_by", [])),
    )


@functools.cache
def load() -> Catalog:
    """All controls in force. Read once for each process."""
    sources = [doc for path in yaml_files("controls") for doc in yaml.safe_load_all(path.read_text()) if doc]
    by_id = {source.get("id"): source for source in sources}
    standing = [source for source in by_id.values() if source.get("enabled", True)]
    revision = "sha256:" + sha256(canonical(standing)).hexdigest()
    return Catalog(tuple(parse_control(source) for source in standing), revision)
