"""The scale of the risk register as data: ``policies/risks.yaml``, members overridden by a company's own file."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import yaml

from config.errors import InvalidError
from evidence.kinds import yaml_files

FILE = "risks.yaml"
#: From the worst; reports and badges know these.
LEVELS = ("critical", "high", "medium", "low")
STEPS = 5
SEATS = ("owner", "manager", "liaisons")
_MEMBERS = ("likelihood", "impact", "levels", "review_days", "remind", "retry_minutes")


@dataclass(frozen=True)
class Word:
    """What a step of a scale is called, and what it stands for."""

    value: int
    word: str
    means: str

    def __str__(self) -> str:
        return f"{self.value} {self.word}"


@dataclass(frozen=True)
class Remind:
    """A reminder so many days after the review's date; `to` is one of SEATS."""

    days: int
    to: str


@dataclass(frozen=True)
class RiskPolicy:
    likelihood: tuple[Word, ...]
    impact: tuple[Word, ...]
    #: The least rating of each level, the worst level first.
    levels: tuple[tuple[int, str], ...]
    review: Mapping[str, timedelta]
    remind: tuple[Remind, ...]
    retries: tuple[timedelta, ...]

    def level(self, rating: int) -> str:
        """What a rating, 1 to 25, is called."""
        return next(name for least, name in self.levels if rating >= least)

    def span(self, level: str) -> tuple[int, int]:
        """The ratings that a level covers: the first, and the first above it."""
        upper = STEPS * STEPS + 1
        for least, name in self.levels:
            if name == level:
                return least, upper
            upper = least
        raise InvalidError(f"There is no level {level!r}: {', '.join(LEVELS)}.", code="filter_invalid", where="level")


def _wrong(member: str, complaint: str) -> InvalidError:
    return InvalidError(f"{FILE}, {member}: {complaint}", code="policy_invalid", where=member)


def parse(source: Any) -> RiskPolicy:
    """A policy from its YAML. Raises InvalidError ``policy_invalid``, which names the file and the member."""
    if not isinstance(source, dict):
        raise _wrong("the file", f"it holds the members {', '.join(_MEMBERS)}.")
    for name in source:
        if name not in _MEMBERS:
            raise _wrong(str(name), f"there is no such member: {', '.join(_MEMBERS)}.")
    for name in _MEMBERS:
        if name not in source:
            raise _wrong(name, "it is missing.")
    return RiskPolicy(
        likelihood=_scale("likelihood", source["likelihood"]),
        impact=_scale("impact", source["impact"]),
        levels=_levels(source["levels"]),
        review={level: timedelta(days=days) for level, days in _by_level("review_days", source["review_days"]).items()},
        remind=_remind(source["remind"]),
        retries=tuple(timedelta(minutes=number) for number in _waits(source["retry_minutes"])),
    )


def _scale(name: str, given: Any) -> tuple[Word, ...]:
    if not isinstance(given, list) or len(given) != STEPS:
        raise _wrong(name, f"a scale has {STEPS} steps, from the least to the worst.")
    found = []
    for value, step in enumerate(given, start=1):
        where = f"{name}[{value - 1}]"
        if not isinstance(step, dict) or step.keys() - {"word", "means"} or not _is_word(step.get("word")):
            raise _wrong(where, "a step is {word, means}, with a word of at most 40 characters.")
        if not isinstance(step.get("means", ""), str):
            raise _wrong(f"{where}.means", "it is a sentence.")
        found.append(Word(value, step["word"], step.get("means", "")))
    if len({step.word.casefold() for step in found}) < STEPS:
        raise _wrong(name, "no two steps have the same word.")
    return tuple(found)


def _is_word(given: Any) -> bool:
    return isinstance(given, str) and 1 <= len(given) <= 40 and not given[0].isdigit()


def _by_level(name: str, given: Any) -> dict[str, int]:
    if not isinstance(given, dict) or given.keys() != set(LEVELS):
        raise _wrong(name, f"it names each of {', '.join(LEVELS)}.")
    for level, number in given.items():
        if not _is_number(number, 1, 3660):
            raise _wrong(f"{name}.{level}", f"{number!r} is no whole number from 1 to 3660.")
    return given


def _levels(given: Any) -> tuple[tuple[int, str], ...]:
    named = _by_level("levels", given)
    found = tuple((named[level], level) for level in LEVELS)
    least = [number for number, _ in found]
    if least[-1] != 1:
        raise _wrong("levels.low", "it begins at 1, so that every rating has a level.")
    if least[0] > STEPS * STEPS or any(above <= below for above, below in pairwise(least)):
        raise _wrong("levels", f"each begins below the one before: critical at most at {STEPS * STEPS}, down to low.")
    return found


def _remind(given: Any) -> tuple[Remind, ...]:
    if not isinstance(given, list) or not given:
        raise _wrong("remind", "it is a list of {days, to}.")
    found = []
    for place, step in enumerate(given):
        if not isinstance(step, dict) or step.keys() != {"days", "to"}:
            raise _wrong(f"remind[{place}]", "a reminder is {days, to}.")
        if not _is_number(step["days"], 0, 365):
            raise _wrong(f"remind[{place}].days", f"{step['days']!r} is no whole number from 0 to 365.")
        if step["to"] not in SEATS:
            raise _wrong(f"remind[{place}].to", f"{step['to']!r} is none of {', '.join(SEATS)}.")
        found.append(Remind(step["days"], step["to"]))
    return tuple(found)


def _waits(given: Any) -> Sequence[int]:
    if not isinstance(given, list) or not given or not all(_is_number(number, 1, 10_080) for number in given):
        raise _wrong("retry_minutes", "it is a list of whole numbers from 1 to 10080.")
    return given


def _is_number(given: Any, least: int, most: int) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and least <= given <= most


@functools.cache
def load() -> RiskPolicy:
    """The policy of this installation. Read once for each process. Raises InvalidError ``policy_invalid``."""
    source: dict[str, Any] = {}
    for path in yaml_files("policies"):
        if path.name != FILE:
            continue
        try:
            given = yaml.safe_load(path.read_text()) or {}
        except yaml.YAMLError as error:
            raise _wrong(str(path), f"it is no YAML: {error}") from None
        if not isinstance(given, dict):
            raise _wrong(str(path), f"it holds members: {', '.join(_MEMBERS)}.")
        source |= given
    return parse(source)
