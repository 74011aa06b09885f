"""Which column is what: said by a person, remembered from last time, or guessed from the headings."""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from config.errors import InvalidError
from evidence.kinds import yaml_files
from exceptions.importing.dates import DAY_FIRST, MONTH_FIRST
from exceptions.importing.sheets import Row, Sheet, Workbook

FIELDS = (
    *("reference", "title", "justification", "severity", "systems", "requirements", "owner", "requester"),
    *("approver", "approved_on", "status", "effective_from", "expires_at", "risk", "compensating_controls"),
)
#: Without a column or a value for all rows there is no register.
NEEDED = ("title", "owner", "severity", "systems", "expires_at")
#: The heading is among the first rows: titles and remarks may stand above it.
_HEADING_WITHIN = 30
_MOST_VALUES, _LONGEST = 500, 500


def normal(text: str) -> str:
    """Without case, spaces and punctuation."""
    return "".join(char for char in text.casefold() if char.isalnum())


@dataclass(frozen=True)
class Words:
    """What headings and words mean (``policies/import.yaml``), normalised."""

    headings: Mapping[str, Sequence[str]]
    severity: Mapping[str, str]
    status: Mapping[str, str]


@functools.cache
def words() -> Words:
    source: dict[str, dict[str, list[str]]] = {"headings": {}, "severity": {}, "status": {}}
    for path in yaml_files("policies"):
        if path.name == "import.yaml":
            for part, entries in yaml.safe_load(path.read_text()).items():
                source[part] |= entries

    def turned(part: str) -> dict[str, str]:
        return {normal(str(word)): meaning for meaning, known in source[part].items() for word in known}

    headings = {name: [normal(word) for word in known] for name, known in source["headings"].items()}
    return Words(headings, turned("severity"), turned("status"))


@dataclass(frozen=True)
class Wishes:
    """What a person says of a file; every member may be left out."""

    #: Field to heading; None leaves a column out that would be guessed.
    columns: Mapping[str, str | None] = field(default_factory=dict)
    #: Field to what its cells mean: ``{"owner": {"Engineering Lead": "lea@example.com"}}``.
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: Field to the value of empty cells, and of all where there is no such column.
    defaults: Mapping[str, str] = field(default_factory=dict)
    #: Names of sheets; none means all that have a heading.
    sheets: Sequence[str] = ()
    #: DAY_FIRST or MONTH_FIRST.
    dates: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "columns": dict(self.columns),
            "values": {name: dict(known) for name, known in self.values.items()},
            "defaults": dict(self.defaults),
            "sheets": list(self.sheets),
            "dates": self.dates,
        }


def _wrong(detail: str, where: str) -> InvalidError:
    return InvalidError(detail, code="mapping_invalid", where=f"$.mapping{where}")


def parse(data: Any, fields: Sequence[str] = FIELDS) -> Wishes:
    """A mapping from JSON, of these fields. Raises InvalidError ``mapping_invalid`` with the place."""
    if not isinstance(data, dict) or (unknown := data.keys() - {"columns", "values", "defaults", "sheets", "dates"}):
        extra = f" {sorted(map(str, unknown))[0]!r} is none." if isinstance(data, dict) else ""
        raise _wrong(f"A mapping has columns, values, defaults, sheets, dates.{extra}", "")
    columns = _texts(data.get("columns"), ".columns", allow_none=True)
    defaults = _texts(data.get("defaults"), ".defaults")
    given = data.get("values", {})
    if not isinstance(given, dict):
        raise _wrong("values is an object for each field.", ".values")
    values = {name: _texts(known, f".values.{name}") for name, known in given.items()}
    for part, names in (("columns", columns), ("defaults", defaults), ("values", values)):
        for name in names:
            if name not in fields:
                raise _wrong(f"There is no field {str(name)[:60]!r}: {', '.join(fields)}.", f".{part}")
    sheets = data.get("sheets", [])
    if not isinstance(sheets, list) or not all(isinstance(name, str) for name in sheets) or len(sheets) > _MOST_VALUES:
        raise _wrong("sheets is a list of names.", ".sheets")
    if data.get("dates") not in {None, DAY_FIRST, MONTH_FIRST}:
        raise _wrong(f"dates is {DAY_FIRST} or {MONTH_FIRST}.", ".dates")
    translated = {name: {normal(said): str(meant) for said, meant in known.items()} for name, known in values.items()}
    kept = {name: str(value) for name, value in defaults.items() if value}
    return Wishes(columns, translated, kept, tuple(sheets), data.get("dates"))


def _texts(data: Any, where: str, *, allow_none: bool = False) -> dict[str, str | None]:
    found = {} if data is None else data
    if not isinstance(found, dict) or len(found) > _MOST_VALUES:
        raise _wrong(f"An object of at most {_MOST_VALUES} texts is expected.", where)
    for name, value in found.items():
        fits = isinstance(value, str) and len(value) <= _LONGEST
        if not (fits or (allow_none and value is None)) or len(name) > _LONGEST:
            raise _wrong(f"{str(name)[:60]!r} has no text of at most {_LONGEST} characters.", where)
    return found


# -- headings ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A sheet whose heading was found, and which of its columns is which field."""

    sheet: Sheet
    heading: Row
    columns: Mapping[str, int]

    @property
    def rows(self) -> list[Row]:
        return [row for row in self.sheet.rows if row.number > self.heading.number]

    @property
    def headings(self) -> dict[str, str]:
        """Field to its heading, in the sheet's own words."""
        return {name: self.heading.cells[column].text for name, column in self.columns.items()}

    @property
    def unused(self) -> list[str]:
        used = set(self.columns.values())
        return [cell.text for column, cell in sorted(self.heading.cells.items()) if column not in used]


def tables(book: Workbook, mapping: Wishes) -> tuple[list[Table], list[str]]:
    """Sheets that hold a register, and what a person should know of the others.

    Raises InvalidError ``mapping_invalid`` for sheets and columns that are not there, ``columns_missing``.
    """
    names = {sheet.name for sheet in book.sheets}
    if missing := [name for name in mapping.sheets if name not in names]:
        raise _wrong(f"There is no sheet {missing[0]!r}: {', '.join(sorted(names))}.", ".sheets")
    wanted = [sheet for sheet in book.sheets if sheet.rows and (not mapping.sheets or sheet.name in mapping.sheets)]
    found, notes = [], []
    for sheet in wanted:
        table = _table(sheet, mapping)
        if table is None:
            notes.append(f"Sheet {sheet.name} has no heading with a title and an expiry; it was left out.")
        else:
            found.append(table)
    _check_named(found, mapping)
    lacking = {name for name in NEEDED if name not in mapping.defaults}
    incomplete = next((table for table in found if lacking - table.columns.keys()), None)
    if not found or incomplete is not None:
        raise _incomplete(incomplete, wanted, lacking)
    return found, notes


def _check_named(found: Sequence[Table], mapping: Wishes) -> None:
    known = {normal(cell.text) for table in found for cell in table.heading.cells.values()}
    for name, heading in mapping.columns.items():
        if found and heading is not None and normal(heading) not in known:
            raise _wrong(f"No sheet has a column {heading!r}.", f".columns.{name}")


def _incomplete(table: Table | None, sheets: Sequence[Sheet], lacking: Iterable[str]) -> InvalidError:
    if table is None:
        first = sheets[0].rows[0] if sheets else None
        seen = [cell.text for cell in first.cells.values()] if first else []
        missing, name = sorted(lacking), sheets[0].name if sheets else ""
    else:
        seen = [cell.text for cell in table.heading.cells.values()]
        missing, name = sorted(set(lacking) - table.columns.keys()), table.sheet.name
    return InvalidError(
        f"Sheet {name} has no column for {', '.join(missing)}. Name it in the mapping, or give a default. "
        f"It has: {', '.join(text[:60] for text in seen[:40])}.",
        code="columns_missing",
        where="$.mapping.columns",
        missing=missing,
        columns=table.headings if table is not None else {},
        headings=[text[:200] for text in seen[:100]],
    )


def _table(sheet: Sheet, mapping: Wishes) -> Table | None:
    """The row that knows most fields is the heading."""
    candidates = [Table(sheet, row, _columns(row, mapping)) for row in sheet.rows[:_HEADING_WITHIN]]
    best = max(candidates, key=lambda table: len(table.columns), default=None)
    if best is None or len(best.columns) < 2 or not {"title", "expires_at"} & best.columns.keys():
        return None
    return best


def _columns(row: Row, mapping: Wishes) -> dict[str, int]:
    """What a person said first; then guesses, the best-known word of each field before its lesser ones."""
    by_heading: dict[str, int] = {}
    for column, cell in sorted(row.cells.items()):
        by_heading.setdefault(normal(cell.text), column)
    said = {name: by_heading.get(normal(text)) for name, text in mapping.columns.items() if text is not None}
    found = {name: column for name, column in said.items() if column is not None}
    taken = set(found.values())
    longest = max(map(len, words().headings.values()))
    for rank in range(longest):
        for name in FIELDS:
            known = words().headings.get(name, ())
            if name in found or name in mapping.columns or rank >= len(known):
                continue
            place = by_heading.get(known[rank])
            if place is not None and place not in taken:
                found[name] = place
                taken.add(place)
    return found


def signature(book: Workbook) -> str:
    """Stands for the headings of a file: the next export of the same register has the same."""
    rows = []
    for sheet in book.sheets:
        table = _table(sheet, Wishes())
        row = table.heading if table else sheet.rows[0] if sheet.rows else None
        if row is not None:
            rows.append("\x1f".join(normal(cell.text) for _, cell in sorted(row.cells.items())))
    return hashlib.sha256("\x1e".join(rows).encode()).hexdigest()
