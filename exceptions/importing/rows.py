"""The verdict on each row: what it becomes in the register, or what is wrong with which cell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from evidence import secretscan
from evidence.tlog.leaf import format_time
from exceptions.importing import dates
from exceptions.importing.mapping import Table, Wishes, normal, words
from exceptions.importing.sheets import Cell, Kind, Row, place
from exceptions.models.terms import days_between

#: What becomes of a row.
CLAIMED, REQUESTED, CLOSED, BAD = "approved elsewhere (claim)", "requested", "closed: left out", "bad"
ENTERING = (CLAIMED, REQUESTED)
_LONGEST = {"title": 200, "justification": 8000, "reference": 120, "requester": 120, "approver": 120, "status": 120}
_REQUIREMENT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_SHOWN = 200
_HIDDEN = "(hidden)"


class Person(NamedTuple):
    uid: str
    name: str


class Place(NamedTuple):
    """A system that the importer may see."""

    id: str
    name: str


@dataclass(frozen=True)
class Known:
    """What the register's company knows, asked once for a whole file."""

    now: datetime
    #: By mail address and, where only one bears it, by name; normalised (`person_key`).
    people: Mapping[str, Person]
    systems: Mapping[str, Place]
    #: References of the register, casefolded, and the numbers that bear them.
    references: Mapping[str, str]
    risks: frozenset[str]
    longest_days: Mapping[str, int]
    approvals_needed: Mapping[str, int]


@dataclass(frozen=True)
class Problem:
    cell: str
    field: str
    value: str
    code: str
    reason: str

    def as_json(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("cell", "field", "value", "code", "reason")}


@dataclass
class Fate:
    """One row of a sheet. `body` and `scope` (opaque ids) are what a row that enters becomes, without its number."""

    sheet: str
    row: int
    title: str
    fate: str = BAD
    problems: list[Problem] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    body: dict[str, Any] | None = None
    scope: list[str] = field(default_factory=list)
    #: The texts of a bad row, by column.
    cells: dict[int, str] = field(default_factory=dict)
    exception: str | None = None


def person_key(text: str) -> str:
    return " ".join(text.casefold().split())


def judge(tables: Iterable[Table], wishes: Wishes, known: Known) -> Iterator[Fate]:
    """Every row of every table, in order."""
    seen: dict[str, str] = {}
    for table in tables:
        for row in table.rows:
            if any(not cell.merged for cell in row.cells.values()):
                yield _Judged(table, row, wishes, known, seen).fate


class _Judged:
    """The cells of one row on their way into a record's body."""

    def __init__(self, table: Table, row: Row, wishes: Wishes, known: Known, seen: dict[str, str]) -> None:
        self._table, self._row, self._wishes, self._known, self._seen = table, row, wishes, known, seen
        self.fate = Fate(table.sheet.name, row.number, self._shown("title"))
        if found := secretscan.scan({str(column): cell.text for column, cell in row.cells.items()}):
            self._hide(found)
            return
        self.fate.fate = self._status()
        if self.fate.fate == CLOSED:
            return
        self.fate.body = self._body(self.fate.fate)
        if self.fate.problems:
            self.fate.fate, self.fate.body = BAD, None
            self.fate.cells = {column: self._readable(cell) for column, cell in row.cells.items()}

    # -- cells -------------------------------------------------------------------------------------------------------

    def _cell(self, name: str) -> Cell | None:
        """The cell of a field, or its default; None where neither says anything."""
        column = self._table.columns.get(name)
        cell = self._row.cells.get(column) if column is not None else None
        if cell is not None and cell.formula:
            if cell.is_empty or cell.value == "":
                self._bad(name, "formula", "It holds a formula, which is not evaluated: paste its value.")
                return None
            self._flag("formula")
        if cell is not None and cell.merged:
            self._flag("merged")
        if cell is not None and cell.kind is Kind.ERROR:
            self._bad(name, "cell_error", f"The spreadsheet says {cell.text} here.")
            return None
        if cell is None or not cell.text:
            default = self._wishes.defaults.get(name)
            return Cell(default) if default else None
        meant = self._wishes.values.get(name, {}).get(normal(cell.text))
        return cell if meant is None else Cell(meant)

    def _text(self, name: str) -> str:
        cell = self._cell(name)
        text = cell.text if cell is not None else ""
        longest = _LONGEST.get(name)
        if longest is not None and len(text) > longest:
            self._bad(name, "too_long", f"It has {len(text)} characters; {longest} are taken.")
            return ""
        if any(char < " " and char not in "\t\r\n" for char in text):
            self._bad(name, "characters", "It holds control characters.")
            return ""
        return text

    def _list(self, name: str, separators: str) -> list[str]:
        text = self._text(name)
        for separator in separators:
            text = text.replace(separator, "\n")
        return list(dict.fromkeys(part.strip() for part in text.splitlines() if part.strip()))

    def _shown(self, name: str) -> str:
        column = self._table.columns.get(name)
        cell = self._row.cells.get(column) if column is not None else None
        return self._readable(cell)[:_SHOWN] if cell is not None else ""

    def _readable(self, cell: Cell) -> str:
        """As the person sees it: dates as days, not as the numbers that they are."""
        if cell.kind is not Kind.DATE:
            return cell.text
        try:
            return f"{dates.parse(cell, order=None, from_1904=self._table.sheet.from_1904).at:%Y-%m-%d}"
        except dates.BadDateError:
            return cell.text

    def _where(self, name: str) -> str:
        return place(self._table.sheet.name, self._row.number, self._table.columns.get(name))

    def _bad(self, name: str, code: str, reason: str) -> None:
        self.fate.problems.append(Problem(self._where(name), name, self._shown(name), code, reason))

    def _lacks(self, name: str, code: str, reason: str) -> None:
        """Only where nothing else is said of the cell."""
        if not any(problem.field == name for problem in self.fate.problems):
            self._bad(name, code, reason)

    def _flag(self, name: str) -> None:
        if name not in self.fate.flags:
            self.fate.flags.append(name)

    def _hide(self, found: Sequence[secretscan.Finding]) -> None:
        """No cell of a row with a secret is stored or shown."""
        reason = f"It holds what looks like a secret: {found[0].title}. Remove it, and have it revoked."
        self.fate.title, self.fate.cells = _HIDDEN, dict.fromkeys(self._row.cells, _HIDDEN)
        where = place(self._table.sheet.name, self._row.number)
        self.fate.fate, self.fate.problems = BAD, [Problem(where, "", _HIDDEN, "secret_found", reason)]

    # -- fields ------------------------------------------------------------------------------------------------------

    def _status(self) -> str:
        text = self._text("status")
        if not text:
            return REQUESTED
        meaning = words().status.get(normal(text))
        if meaning is None:
            self._bad("status", "status_unknown", "It is none of approved, requested, closed, or words known for them.")
        return {"approved": CLAIMED, "closed": CLOSED}.get(meaning or "", REQUESTED)

    def _severity(self) -> str:
        text = self._text("severity")
        if not text:
            self._lacks("severity", "severity_missing", "There is no severity: critical, high, medium, low.")
            return ""
        meaning = words().severity.get(normal(text))
        if meaning is None:
            self._bad(
                "severity", "severity_unknown", "It is none of critical, high, medium, low, or words known for them."
            )
        return meaning or ""

    def _owner(self) -> Person | None:
        text = self._text("owner")
        if not text:
            self._lacks("owner", "owner_missing", "There is no owner: somebody has to answer for it.")
            return None
        found = self._known.people.get(person_key(text))
        if found is None:
            reason = "Nobody here has that mail address or, alone, that name: add the person, or map the name to one."
            self._bad("owner", "owner_unknown", reason)
        return found

    def _systems(self) -> list[Place]:
        names = self._list("systems", ",;|")
        if not names:
            self._lacks("systems", "systems_missing", "There is no system.")
        known = {name: self._known.systems.get(normal(self._meant("systems", name))) for name in names}
        if unknown := [name for name, found in known.items() if found is None]:
            reason = f"There is no system {unknown[0][:60]!r} that you may see: add it, or map the name to one."
            self._bad("systems", "system_unknown", reason)
        return list(dict.fromkeys(found for found in known.values() if found is not None))

    def _meant(self, name: str, part: str) -> str:
        return self._wishes.values.get(name, {}).get(normal(part), part)

    def _requirements(self) -> list[str]:
        named = [self._meant("requirements", part) for part in self._list("requirements", ",;|")]
        wrong = [name for name in named if not set(name) <= _REQUIREMENT or name[0] in "._-" or len(name) > 80]
        if wrong or len(named) > 100:
            reason = "Requirements are ids such as dependency-alerts, at most 100, with commas between."
            self._bad("requirements", "requirement_invalid", reason)
        return named

    def _controls(self) -> list[dict[str, str]]:
        controls = self._list("compensating_controls", ";")
        if len(controls) > 50 or any(len(title) > 500 for title in controls):
            self._bad("compensating_controls", "too_long", "At most 50 controls of at most 500 characters.")
        return [{"title": title} for title in controls]

    def _risk(self) -> str | None:
        text = self._text("risk").upper()
        if text and text not in self._known.risks:
            self._bad("risk", "risk_unknown", "There is no such risk in the register: name one such as RISK-0001.")
        return text or None

    def _reference(self) -> str:
        text = self._text("reference")
        if not text:
            return ""
        key, here = text.casefold(), self._where("reference")
        if key in self._seen:
            self._bad("reference", "reference_duplicate", f"{self._seen[key]} has the same reference.")
        elif key in self._known.references:
            number = self._known.references[key]
            self._bad("reference", "reference_taken", f"It is in the register already, as {number}.")
        self._seen.setdefault(key, here)
        return text

    def _date(self, name: str, *, end: bool = False) -> datetime | None:
        cell = self._cell(name)
        if cell is None:
            return None
        try:
            found = dates.parse(cell, order=self._wishes.dates, from_1904=self._table.sheet.from_1904, end=end)
        except dates.BadDateError as error:
            self._bad(name, "date_invalid", str(error))
            return None
        if found.serial:
            self._flag("serial_date")
        return found.at

    # -- all of it -----------------------------------------------------------------------------------------------------

    def _body(self, status: str) -> dict[str, Any] | None:
        """The predicate of ``exception.requested`` without its number and the import's."""
        fate, known = self.fate, self._known
        reference, title, owner = self._reference(), self._text("title"), self._owner()
        if not title:
            self._lacks("title", "title_missing", "There is no title.")
        severity, systems, expires = self._severity(), self._systems(), self._expiry()
        requirements, controls, risk = self._requirements(), self._controls(), self._risk()
        claim = self._claim(status)
        start = self._date("effective_from") or claim.approved_on
        justification = self._text("justification")
        if fate.problems or owner is None or expires is None:
            return None
        start = start or self._assumed_start(status, severity, expires)
        self._judge_dates(status, severity, start, expires)
        fate.scope = [system.id for system in systems]
        if not justification:
            self._flag("no_justification")
        status = self._settled(status, claim, owner)
        body: dict[str, Any] = {
            "title": title,
            "justification": justification or f"Imported from {fate.sheet}, row {fate.row}, which gives none.",
            "severity": severity,
            "systems": [system.name for system in systems],
            "requirements": requirements,
            "compensating_controls": controls,
            "owner": owner.uid,
            "owner_name": owner.name,
            "effective_from": format_time(start),
            "expires_at": format_time(expires),
            "approvals_needed": known.approvals_needed.get(severity, 1),
            "imported": claim.as_json(fate, status, reference),
        }
        return body | ({"risk": risk} if risk else {})

    def _expiry(self) -> datetime | None:
        found = self._date("expires_at", end=True)
        if found is None:
            self._lacks("expires_at", "expiry_missing", "There is no expiry: an exception without an end is none.")
        return found

    def _assumed_start(self, status: str, severity: str, expires: datetime) -> datetime:
        """A claim without a date began so long before its expiry as its severity allows: its reminders are due."""
        now = self._known.now
        if status != CLAIMED:
            return min(now, expires - timedelta(days=1))
        self._flag("start_unknown")
        return min(now, expires - timedelta(days=self._known.longest_days[severity]))

    def _judge_dates(self, status: str, severity: str, start: datetime, expires: datetime) -> None:
        if expires <= start:
            self._bad("expires_at", "date_invalid", f"It would expire before it begins, {start:%Y-%m-%d}.")
        elif days_between(start, expires) > self._known.longest_days[severity]:
            self._flag("over_long")
        if expires <= self._known.now:
            if status == CLAIMED:
                self._flag("expired")
            elif status == REQUESTED:
                self._bad("expires_at", "expiry_in_past", "It is asked for, and its expiry has passed already.")

    def _claim(self, status: str) -> "_Claim":
        approver, requester = self._text("approver"), self._text("requester")
        return _Claim(
            approver=approver,
            approver_known=self._known.people.get(person_key(approver)),
            requester=requester,
            requester_known=self._known.people.get(person_key(requester)),
            approved_on=self._date("approved_on") if status == CLAIMED else None,
        )

    def _settled(self, status: str, claim: "_Claim", owner: Person) -> str:
        """A claim of somebody who may not approve is none: it enters as a request."""
        if status == CLAIMED and claim.is_own(owner):
            self._flag("self_approved")
            if "expired" in self.fate.flags:
                self._bad("approver", "self_approval", "Its own requester or owner approved it, and it has expired.")
            status = REQUESTED
        self.fate.fate = status
        return status


class _Claim(NamedTuple):
    """What the sheet says of who asked and who approved."""

    approver: str
    approver_known: Person | None
    requester: str
    requester_known: Person | None
    approved_on: datetime | None

    def is_own(self, owner: Person) -> bool:
        if not self.approver:
            return False
        said = {person_key(self.requester), person_key(owner.name)} - {""}
        known = {person.uid for person in (self.requester_known, owner) if person is not None}
        same = self.approver_known is not None and self.approver_known.uid in known
        return same or person_key(self.approver) in said

    def as_json(self, fate: Fate, status: str, reference: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "sheet": fate.sheet,
            "row": fate.row,
            "status": "approved" if status == CLAIMED else "requested",
            "flags": list(fate.flags),
        }
        optional = {
            "reference": reference,
            "requester": self.requester_known.uid if self.requester_known else "",
            "requester_name": self.requester_known.name if self.requester_known else self.requester,
            "approver_name": self.approver_known.name if self.approver_known else self.approver,
            "approved_on": format_time(self.approved_on) if self.approved_on else "",
        }
        return found | {name: value for name, value in optional.items() if value}
