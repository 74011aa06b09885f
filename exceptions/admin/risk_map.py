"""The heat map: how many open risks stand at each likelihood and impact, as a table whose cells are links."""

from dataclasses import dataclass
from typing import Any

from exceptions import risk_policy
from exceptions.models.risks import RiskQuerySet
from exceptions.risk_policy import STEPS, Word


@dataclass(frozen=True)
class Cell:
    likelihood: Word
    impact: Word
    count: int
    level: str

    @property
    def rating(self) -> int:
        return self.likelihood.value * self.impact.value

    @property
    def key(self) -> str:
        """As `parse_key` reads it."""
        return f"{self.likelihood.value}x{self.impact.value}"


def heat_map(found: RiskQuerySet) -> dict[str, Any]:
    """The open risks among these: rows from the most likely down, columns from the least impact up. One query."""
    scale = risk_policy.load()
    counted = found.by_cell()
    rows = [
        (likelihood, [_cell(likelihood, impact, counted, scale) for impact in scale.impact])
        for likelihood in reversed(scale.likelihood)
    ]
    return {"impacts": scale.impact, "rows": rows, "levels": scale.levels, "total": sum(counted.values())}


def _cell(likelihood: Word, impact: Word, counted: dict[tuple[int, int], int], scale: Any) -> Cell:
    level = scale.level(likelihood.value * impact.value)
    return Cell(likelihood, impact, counted.get((likelihood.value, impact.value), 0), level)


def parse_key(text: str) -> tuple[int, int] | None:
    """Likelihood and impact; None for anything that is no cell."""
    likelihood, _, impact = text.partition("x")
    known = {str(number) for number in range(1, STEPS + 1)}
    return (int(likelihood), int(impact)) if {likelihood, impact} <= known else None


def in_cell(found: RiskQuerySet, text: str) -> RiskQuerySet:
    place = parse_key(text)
    return found.none() if place is None else found.in_cell(*place)


def title_of(text: str) -> str:
    place, scale = parse_key(text), risk_policy.load()
    if place is None:
        return "no cell"
    return f"{scale.likelihood[place[0] - 1].word} and {scale.impact[place[1] - 1].word}"
