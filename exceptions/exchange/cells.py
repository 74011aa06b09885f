"""The cells of one row: which risk they are about and what each says, or what is wrong with it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from exceptions import risk_links, risks
from exceptions.exchange.fields import BAR, STEPS
from exceptions.exchange.known import Known, Person
from exceptions.exchange.reading import Line
from exceptions.exchange.words import words
from exceptions.importing import dates, limits
from exceptions.importing.mapping import Wishes, normal
from exceptions.importing.rows import Problem, person_key
from exceptions.importing.sheets import Cell, Kind
from exceptions.models import Risk

#: What becomes of a row.
ADDED, CHANGED, CLOSED, UNCHANGED, BAD = "added", "changed", "closed", "unchanged", "bad"
FATES = (ADDED, CHANGED, CLOSED, UNCHANGED, BAD)
LONG = ("description", "cause", "consequence", "mitigation", "contingency")
_LONGEST = dict.fromkeys(LONG, 8000) | {"title": 200, "reference": 120, "number": 16}
_NUMBER = re.compile(r"RISK-(\d{4,6})")
SHOWN = 200
Change = dict[str, str]


@dataclass
class Fate:
    """One row. `changes` say what differs, field by field; `body` and `scope` become records."""

    where: str
    title: str
    fate: str = BAD
    risk: str | None = None
    problems: list[Problem] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    changes: dict[str, Change] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    scope: list[str] = field(default_factory=list)
    closes: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "where": self.where,
            "title": self.title,
            "fate": self.fate,
            "risk": self.risk,
            "flags": self.flags,
            "changes": self.changes,
            "problems": [problem.as_json() for problem in self.problems],
        }


class Cells:
    """What the cells say, problems noted on the fate. `values` reads all fields that the file has."""

    def __init__(self, line: Line, wishes: Wishes, known: Known) -> None:
        self._line, self._wishes, self._known = line, wishes, known
        self.fate = Fate(line.where, self._shown("title"))
        self._found: Risk | None = None
        #: Fields that only a default says something of: it is for new risks.
        self.defaulted: set[str] = set()

    def values(self) -> dict[str, Any]:
        return {name: read(self, name) for name, read in _READ.items() if self._has(name)}

    # -- cells ---------------------------------------------------------------------------------------------------------

    def _has(self, name: str) -> bool:
        return name in self._line.cells or bool(self._wishes.defaults.get(name))

    def _cell(self, name: str) -> Cell:
        cell = self._line.cells.get(name, Cell(""))
        if cell.formula:
            if cell.is_empty or cell.value == "":
                self._bad(name, "formula", "It holds a formula, which is not evaluated: paste its value.")
                return Cell("")
            self._flag("formula")
        if cell.kind is Kind.ERROR:
            self._bad(name, "cell_error", f"The spreadsheet says {cell.text} here.")
            return Cell("")
        if not cell.text and (default := self._wishes.defaults.get(name)):
            self.defaulted.add(name)
            return Cell(default)
        meant = self._wishes.values.get(name, {}).get(normal(cell.text))
        return cell if meant is None else Cell(meant)

    def _text(self, name: str) -> str:
        text, longest = self._cell(name).text, _LONGEST.get(name, limits.MAX_CELL)
        if len(text) > longest:
            self._bad(name, "too_long", f"It has {len(text)} characters; {longest} are taken.")
            return ""
        if any(char < " " and char not in "\t\r\n" for char in text):
            self._bad(name, "characters", "It holds control characters.")
            return ""
        return text

    def _parts(self, name: str) -> list[str]:
        """One a line; commas and semicolons part what cannot hold them."""
        text = self._text(name)
        if name != "incidents":
            text = text.replace(",", "\n").replace(";", "\n")
        return list(dict.fromkeys(part.strip() for part in text.splitlines() if part.strip()))

    def _shown(self, name: str) -> str:
        cell = self._line.cells.get(name)
        return cell.text[:SHOWN] if cell is not None else ""

    def _bad(self, name: str, code: str, reason: str) -> None:
        problem = Problem(self._line.places.get(name, self._line.where), name, self._shown(name), code, reason)
        if problem not in self.fate.problems:
            self.fate.problems.append(problem)

    def _flag(self, name: str) -> None:
        if name not in self.fate.flags:
            self.fate.flags.append(name)

    # -- which risk ----------------------------------------------------------------------------------------------------

    def risk(self) -> Risk | None:
        """The risk that the row is about: by its number, by its reference, without either by its title; None for a
        new one."""
        number, reference = self._text("number").upper(), self._text("reference").casefold()
        for name, key in (("number", number), ("reference", reference)):
            if key and (before := self._known.first_at(f"{name} {key}", self._line.where)) is not None:
                self._bad(name, f"{name}_duplicate", f"{before} has the same {name}.")
        by_reference = self._known.references.get(reference) if reference else None
        found = self._by_number(number) if number else by_reference if reference else self._by_title()
        if by_reference is not None and (found is None or found.pk != by_reference.pk):
            self._bad("reference", "reference_taken", "Another risk of the register has this reference.")
            return None
        if found is not None and found.pk not in self._known.by_number:
            self._bad("reference", "reference_taken", "A risk that you may not see has this reference.")
            return None
        if found is not None:
            self._found, self.fate.risk = self._known.by_number[found.pk], found.pk
        return self._found

    def _by_number(self, number: str) -> Risk | None:
        """An unknown number that lies above all that were given is kept, so that a register moves as it is."""
        known = self._known.by_number.get(number)
        if known is not None:
            return known
        meant = _NUMBER.fullmatch(number)
        if meant is None:
            self._bad("number", "number_invalid", "A number is one such as RISK-0001; leave it empty for a new risk.")
        elif int(meant[1]) <= self._known.last:
            reason = "There is no such risk here, and the number may have been given before: leave it empty to add one."
            self._bad("number", "number_unknown", reason)
        else:
            self.fate.risk = f"RISK-{int(meant[1]):04d}"
        return None

    def _by_title(self) -> Risk | None:
        """Of the open ones, or of all where the row is of a closed one: else the same log would add it again."""
        title = self._text("title").casefold()
        if not title:
            return None
        if (before := self._known.first_at(f"title {title}", self._line.where)) is not None:
            self._bad("title", "title_duplicate", f"{before} has the same title: give them references.")
        closed = words().status.get(normal(self._text("status"))) == Risk.CLOSED
        same = [risk for risk in self._known.by_title.get(title, []) if risk.is_open or closed]
        if len(same) > 1:
            self._bad("title", "title_ambiguous", f"{same[0].pk} and {same[1].pk} have this title: give a number.")
        return same[0] if same else None

    # -- fields --------------------------------------------------------------------------------------------------------

    def _title(self, name: str) -> str:
        text = self._text(name)
        if not text and not any(problem.field == name for problem in self.fate.problems):
            self._bad(name, "title_missing", "There is no title.")
        return text

    def _step(self, name: str) -> int | None:
        text = self._text(name)
        if not text and name.startswith("residual"):
            return None
        found = words().step(name, text)
        if found is None:
            reason = "It is no step of the scale, 1 to 5, nor a word known for one." if text else "There is none."
            self._bad(name, "step_unknown" if text else "step_missing", reason)
        return found

    def _owner(self, name: str) -> Person | None:
        text = self._text(name)
        found = self._known.people.get(person_key(text))
        if not text:
            self._bad(name, "owner_missing", "There is no owner: somebody has to answer for it.")
        elif found is None:
            reason = "Nobody here has that mail address or, alone, that name: add the person, or map the name to one."
            self._bad(name, "owner_unknown", reason)
        return found

    def _status(self, name: str) -> str | None:
        """None where the cell is empty."""
        text = self._text(name)
        found = words().status.get(normal(text))
        if text and found is None:
            reason = "It is none of open, mitigating, accepted, closed, or words known for them."
            self._bad(name, "status_unknown", reason)
        return found

    def _systems(self, name: str) -> list[tuple[str, str]]:
        meant = self._wishes.values.get(name, {})
        named = [meant.get(normal(part), part) for part in self._parts(name)]
        names = self._known.names.systems
        own = {normal(names[pk]): (pk, names[pk]) for pk in self._found.systems if pk in names} if self._found else {}
        known = self._known.systems | own
        found = {part: known.get(normal(part)) for part in named}
        if unknown := [part for part, system in found.items() if system is None]:
            self._bad(name, "system_unknown", f"There is no system {unknown[0][:60]!r} that you may see.")
        return sorted({system for system in found.values() if system is not None}, key=lambda system: system[1])

    def _links(self, name: str) -> list[str]:
        """What the risk points to already stays, whatever became of it; an incident may come to this ledger later."""
        parts = self._parts(name)
        new = [part for part in parts if part not in risk_links.links_of(self._found)[name]]
        if name == "incidents":
            if set(new) - risk_links.incident_records(new, self._known.visible).keys():
                self._flag("incident_unknown")
            if any(len(part) > 80 for part in new):
                self._bad(
                    name, "too_long", "The name of an incident has at most 80 characters; one stands on each line."
                )
            return parts
        there = self._known.exceptions(new) if name == "exceptions" and new else set(self._known.controls)
        if unknown := [part for part in new if part not in there]:
            what = name.removesuffix("s")
            reason = (
                f"There is no {what} {unknown[0][:80]!r} that you may see: empty the cell, or leave the column out."
            )
            self._bad(name, f"{what}_unknown", reason)
        return parts

    def _items(self, name: str) -> list[dict[str, Any]]:
        """``title | owner | state | date``, one a line; state and date may be left out."""
        found: list[dict[str, Any]] = []
        for line in self._text(name).splitlines():
            if not line.strip():
                continue
            title, *rest = [part.strip() for part in line.split(BAR.strip())]
            owner = self._known.people.get(person_key(rest[0])) if rest else None
            state = normal(rest[1]) if len(rest) > 1 and rest[1] else "open"
            due = rest[2] if len(rest) > 2 else ""
            reason = self._wrong_item(title, owner, state, due, len(rest))
            if reason or owner is None or any(item["title"] == title for item in found):
                self._bad(name, "item_invalid", f"{line.strip()[:80]!r}: {reason or 'its title stands there twice.'}")
                return []
            item = {"title": title, "owner": owner.uid, "owner_name": owner.name, "state": state}
            found.append(item | ({"due": due} if due else {}))
        return found

    def _wrong_item(self, title: str, owner: Person | None, state: str, due: str, parts: int) -> str:
        if not title or len(title) > 200 or parts > 3:
            return "an action item is title | owner | state | date."
        if owner is None:
            return "nobody here has its owner's mail address."
        if state not in risks.STATES_OF_ITEMS:
            return f"its state is none of {', '.join(risks.STATES_OF_ITEMS)}."
        return "" if not due or _is_day(due) else "its date is not one such as 2026-03-31."

    def _review(self, name: str) -> date | None:
        cell = self._cell(name)
        if not cell.text:
            return None
        try:
            found = dates.parse(cell, order=self._wishes.dates, from_1904=self._line.from_1904)
        except dates.BadDateError as error:
            self._bad(name, "date_invalid", str(error))
            return None
        return found.at.date()


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_READ: dict[str, Callable[[Cells, str], Any]] = {
    "reference": Cells._text,
    "title": Cells._title,
    **dict.fromkeys(LONG, Cells._text),
    **dict.fromkeys(STEPS, Cells._step),
    "owner": Cells._owner,
    "status": Cells._status,
    "systems": Cells._systems,
    "review_by": Cells._review,
    **dict.fromkeys(risk_links.NAMES, Cells._links),
    "action_items": Cells._items,
}
