"""What headings and words of other tools mean: ``policies/risk-import.yaml``, members overridden by a company's own."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from config.errors import InvalidError
from evidence.kinds import yaml_files
from exceptions import risk_policy
from exceptions.exchange.fields import ALL
from exceptions.importing.mapping import normal
from exceptions.models import Risk

FILE = "risk-import.yaml"
_STEPS = {str(number) for number in range(1, risk_policy.STEPS + 1)}
#: The parts of the file, and what each may give words for.
_PARTS: Mapping[str, Collection[str]] = {
    "headings": ALL.keys(),
    "likelihood": _STEPS,
    "impact": _STEPS,
    "status": dict(Risk.STATUSES),
}


@dataclass(frozen=True)
class Words:
    """All of them normalised, as `importing.mapping.normal` does."""

    headings: Mapping[str, Sequence[str]]
    likelihood: Mapping[str, str]
    impact: Mapping[str, str]
    status: Mapping[str, str]

    def step(self, name: str, text: str) -> int | None:
        """A step of the scale: its number, its word, ``4 likely``, or a word known for it; None for anything else."""
        scale = "likelihood" if "likelihood" in name else "impact"
        known: Mapping[str, str] = getattr(self, scale)
        number, _, rest = text.partition(" ")
        if number in _STEPS and (not rest or _is_of_step(rest, scale, int(number))):
            return int(number)
        meant = known.get(normal(text))
        return int(meant) if meant is not None else None


def _is_of_step(rest: str, scale: str, number: int) -> bool:
    """``- likely`` behind a 4."""
    return normal(rest) in {"", normal(getattr(risk_policy.load(), scale)[number - 1].word)}


@functools.cache
def words() -> Words:
    """The words of this installation. Read once for each process. Raises InvalidError ``policy_invalid``."""
    source: dict[str, dict[str, list[str]]] = {part: {} for part in _PARTS}
    for path in yaml_files("policies"):
        if path.name == FILE:
            for part, entries in parse(_loaded(path)).items():
                source[part] |= entries
    scale = risk_policy.load()

    def turned(part: str) -> dict[str, str]:
        return {normal(word): meaning for meaning, known in source[part].items() for word in known}

    own = {
        name: {normal(step.word): str(step.value) for step in getattr(scale, name)} for name in ("likelihood", "impact")
    }
    headings = {name: [normal(word) for word in known] for name, known in source["headings"].items()}
    for name, heading in ALL.items():  # what an export calls it comes first
        headings[name] = [normal(heading), *headings.get(name, ())]
    likelihood, impact = turned("likelihood") | own["likelihood"], turned("impact") | own["impact"]
    return Words(headings, likelihood, impact, turned("status"))


def _loaded(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise _wrong(str(path), f"it is no YAML: {error}") from None


def parse(given: Any) -> dict[str, dict[str, list[str]]]:
    """The parts of one file. Raises InvalidError ``policy_invalid``, which names the file and the member."""
    if not isinstance(given, dict):
        raise _wrong("the file", f"it holds the members {', '.join(_PARTS)}.")
    found: dict[str, dict[str, list[str]]] = {}
    for part, entries in given.items():
        if part not in _PARTS:
            raise _wrong(str(part), f"there is no such member: {', '.join(_PARTS)}.")
        if not isinstance(entries, dict):
            raise _wrong(part, "it is an object of lists of words.")
        found[part] = {str(name): _list(f"{part}.{name}", known) for name, known in entries.items()}
        if unknown := sorted(found[part].keys() - set(_PARTS[part])):
            raise _wrong(f"{part}.{unknown[0]}", f"there is none: {', '.join(_PARTS[part])}.")
    return found


def _list(member: str, given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(word, str | int) for word in given):
        raise _wrong(member, "it is a list of words.")
    return [str(word) for word in given]


def _wrong(member: str, complaint: str) -> InvalidError:
    return InvalidError(f"{FILE}, {member}: {complaint}", code="policy_invalid", where=member)
