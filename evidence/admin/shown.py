"""How records look on a page: kind, outcome, lateness, who. Shared by the lists and the timeline."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from evidence import kinds
from evidence.events import BACKFILLED, LATER, in_words
from evidence.models import Record
from evidence.people import display_names

#: Colour of a label by what a record says of its outcome.
TONES = {
    "passed": "success",
    "succeeded": "success",
    "approved": "success",
    "green": "success",
    "failed": "danger",
    "rejected": "danger",
    "red": "danger",
    "withdrawn": "warning",
}


@dataclass(frozen=True)
class Shown:
    """A record as a row or a step of a timeline."""

    record: Record
    who: str

    @property
    def title(self) -> str:
        kind = kinds.load().by_name.get(self.record.kind)
        return kind.title if kind else self.record.kind

    @property
    def tone(self) -> str:
        return TONES.get(self.record.outcome or "", "neutral")

    @property
    def late(self) -> str:
        return lateness(self.record)

    @property
    def state(self) -> str:
        if self.record.disposed_by is not None:
            return "disposed of"
        return "withdrawn" if self.record.withdrawn_by is not None else ""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What the kind declares as searchable, short enough for a line."""
        hidden = {"manifest_digest"}
        rows = [(name.replace("_", " "), str(value)) for name, value in self.record.facts.items() if name not in hidden]
        return [(name, _short(value)) for name, value in rows]


def _short(value: str) -> str:
    """A commit or another digest by its first digits; a long text by its beginning."""
    if re.fullmatch(r"[0-9a-f]{40,64}", value):
        return value[:12]
    return value if len(value) < 60 else value[:57] + "…"


def shown(records: Iterable[Record]) -> list[Shown]:
    """Rows with names instead of opaque ids. Two queries for all of them."""
    rows = list(records)
    names = display_names(record.principal for record in rows)
    return [Shown(record, names[record.principal]) for record in rows]


def lateness(record: Record) -> str:
    """``recorded 2 h 5 min later``, ``backfilled after 3 d 4 h``, or nothing for what came on time."""
    late = record.at - record.occurred
    if late > BACKFILLED:
        return f"backfilled after {in_words(late)}"
    return f"recorded {in_words(late)} later" if late > LATER else ""
