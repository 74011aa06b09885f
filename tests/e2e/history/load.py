"""Sends the history through `POST records/batch`, as a pipeline and a person."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.e2e.history.reading import SYSTEMS, Line, read, register

#: Lines of a batch: after each it is told how far it is.
SIZE = 150


class HistoryError(Exception):
    """A line was refused."""


class Service(Protocol):
    """The service as the loader needs it."""

    def post(self, who: str, batch: bytes) -> bytes:
        """The answer to a batch of a ``pipeline`` or a ``person``."""

    def bring(self, filename: str, data: bytes) -> dict[str, Any]:
        """What becomes of a file of risks."""

    def closed(self, system: str) -> set[str]:
        """The system's releases that are closed."""


@dataclass(frozen=True)
class Loaded:
    """How many records were new, and how many lines an earlier load had recorded."""

    recorded: int
    known: int


def load(service: Service, *, told: Callable[[str], None]) -> Loaded:
    """Load everything; loaded again, it changes nothing. Raises HistoryError for the first line that is refused.

    A release is closed by its last line and takes nothing more: one that is closed is there, and is passed over.
    """
    lines, statuses = read(), list[int]()
    closed = {release for system in SYSTEMS for release in service.closed(system)}
    for who, what, several in (
        ("pipeline", "releases opened", lines.openings),
        ("pipeline", "pieces of evidence", lines.evidence),
        ("person", "reviews and post-mortems", lines.by_people),
        ("pipeline", "releases closed", lines.closings),
    ):
        wanted = [line for line in several if line.release not in closed]
        statuses += [200] * (len(several) - len(wanted))
        for done, part in _parts(wanted):
            statuses += _statuses(part, service.post(who, b"".join(line.data + b"\n" for line in part)))
            told(f"{done} of {len(wanted)} {what}")
    return Loaded(statuses.count(201), statuses.count(200))


def load_register(service: Service) -> Loaded:
    """Import the risk register, after the history that it points to; imported again, it changes nothing."""
    counts = service.bring("history-register.json", register().data)["counts"]
    return Loaded(counts["added"] + counts["changed"] + counts["closed"], counts["unchanged"])


def _parts(lines: Sequence[Line]) -> Iterator[tuple[int, Sequence[Line]]]:
    """Pieces, each with how many lines are done after it."""
    for start in range(0, len(lines), SIZE):
        part = lines[start : start + SIZE]
        yield start + len(part), part


def _statuses(sent: Iterable[Line], answer: bytes) -> list[int]:
    found = []
    for line, text in zip(sent, answer.splitlines(), strict=True):
        said = json.loads(text)
        if said["status"] not in {200, 201}:
            raise HistoryError(f"{line.data.decode()[:300]} was refused: {said['problem']}")
        found.append(int(said["status"]))
    return found
