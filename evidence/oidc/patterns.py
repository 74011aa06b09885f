"""Patterns for claims: the text itself, or with ``*`` for anything but ``/`` and ``**`` for anything at all.

A pattern is about the whole claim (anchored at both ends), and compares case. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_LENGTH = 500
_PARTS = re.compile(r"\*\*|\*|[^*]+")


def fits(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is as `pattern` says. Takes time proportional to both, whatever they are."""
    places = {0}  # how much of the text may be used up by the parts so far
    for part in _PARTS.findall(pattern):
        if part.startswith("*"):
            places = _reachable(places, text, across=part == "**")
        else:
            places = {place + len(part) for place in places if text.startswith(part, place)}
        if not places:
            return False
    return len(text) in places


def _reachable(places: set[int], text: str, *, across: bool) -> set[int]:
    found: set[int] = set()
    going = False
    for place in range(len(text) + 1):
        if place and text[place - 1] == "/" and not across:
            going = False
        going = going or place in places
        if going:
            found.add(place)
    return found


def literal_start(pattern: str) -> str:
    """What every text that fits begins with."""
    return pattern.partition("*")[0]


def as_text(value: Any) -> str | None:
    """A claim as patterns see it: texts, whole numbers and truth values; None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def all_fit(wanted: Mapping[str, Sequence[str]], claims: Mapping[str, Any]) -> bool:
    """Whether each claim that is wanted is there and fits one of its patterns."""
    return all(_one_fits(patterns, as_text(claims.get(name))) for name, patterns in wanted.items())


def _one_fits(patterns: Sequence[str], text: str | None) -> bool:
    return text is not None and any(fits(pattern, text) for pattern in patterns)
