"""What waives requirements. This app knows no exceptions: who has them registers a source at start."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Waiver:
    """An exception in force that names the requirement. `index` is the record from which it applied in this form."""

    requirement: str
    exception: str
    title: str
    until: datetime
    index: int


#: Given names of requirements, a system (opaque id), a release, a moment and a size of the ledger: what waives them
#: then, by the first `size` records, the longest-lasting first.
Source = Callable[[Collection[str], str, str | None, datetime, int | None], Sequence[Waiver]]
_SOURCES: list[Source] = []


def register(source: Source) -> Source:
    """Let the gate ask this source too."""
    if source not in _SOURCES:
        _SOURCES.append(source)
    return source


def waivers_of(
    requirements: Collection[str], system: str, release: str | None, at: datetime, size: int | None = None
) -> dict[str, Waiver]:
    """For each requirement that is waived at `at`: the waiver that lasts longest. One query for each source."""
    found: dict[str, Waiver] = {}
    for source in _SOURCES if requirements else []:
        for waiver in source(requirements, system, release, at, size):
            best = found.get(waiver.requirement)
            if best is None or waiver.until > best.until:
                found[waiver.requirement] = waiver
    return found


def waivers(requirement: str, system: str, release: str | None, at: datetime) -> list[Waiver]:
    """Everything that waives one requirement at `at`."""
    return [waiver for source in _SOURCES for waiver in source([requirement], system, release, at, None)]
