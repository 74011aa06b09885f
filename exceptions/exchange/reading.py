"""A file of risks as rows of cells under the register's own fields."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.errors import InvalidError
from exceptions.exchange.fields import ALL, FIELDS, LISTS, as_cell
from exceptions.exchange.words import words
from exceptions.exchange.writing import FORMAT, VERSION
from exceptions.importing import workbook
from exceptions.importing.archive import malformed, too_large, too_much
from exceptions.importing.mapping import Wishes, normal
from exceptions.importing.sheets import Cell, Kind, Row, Sheet, Workbook, place

#: Risks of one file.
MOST = 5_000
#: Bytes of one file.
MAX_BYTES = 8 * 1024 * 1024
_HEADING_WITHIN = 30
#: One of these names a risk; without both a sheet is no register.
_NAMING = ("title", "number", "reference")


@dataclass(frozen=True)
class Line:
    """One risk as a file has it; only the fields that the file has."""

    where: str
    cells: Mapping[str, Cell]
    #: The place of each field: ``Risks!D7``, or ``risks[3].owner``.
    places: Mapping[str, str]
    from_1904: bool = False


@dataclass(frozen=True)
class Register:
    lines: Sequence[Line]
    #: Fields that the file has, and what it calls them.
    columns: Mapping[str, str]
    unused: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def read(data: bytes, filename: str, wishes: Wishes) -> Register:
    """Raises InvalidError ``file_empty``, ``sheet_malformed``, ``encoding_unknown``, ``columns_missing``,
    ``mapping_invalid``; TooLargeError ``sheet_too_large``."""
    if len(data) > MAX_BYTES:
        raise too_large(MAX_BYTES)
    if data.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in {b"{", b"["}:
        return _from_json(data)
    return _from_sheets(workbook.read(data, filename), wishes)


# -- JSON --------------------------------------------------------------------------------------------------------------


def _from_json(data: bytes) -> Register:
    risks = _risks(data)
    if len(risks) > MOST:
        raise too_much(f"The file has more than {MOST} risks: split it.")
    lines = [_line_of(number, said) for number, said in enumerate(risks)]
    return Register(lines, {name: name for name in FIELDS if any(name in line.cells for line in lines)})


def _risks(data: bytes) -> list[Any]:
    try:
        found = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise malformed(f"The file is no JSON: {str(error)[:200]}.") from None
    if isinstance(found, dict):
        version = found.get("version", VERSION)
        if found.get("format", FORMAT) != FORMAT or version != VERSION:
            raise malformed(f"The JSON is no {FORMAT}, version {VERSION}.")
        found = found.get("risks")
    if not isinstance(found, list) or not found:
        raise malformed("The JSON has no risks: it is a list of them, or an object with the member risks.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _line_of(number: int, said: Any) -> Line:
    where = f"risks[{number}]"
    if not isinstance(said, dict):
        raise malformed(f"{where} is no object.")
    if unknown := sorted(said.keys() - ALL.keys()):
        raise malformed(f"{where} has the member {unknown[0][:60]!r}; there are {', '.join(FIELDS)}.")
    cells = {name: _cell_of(f"{where}.{name}", name, value) for name, value in said.items() if name in FIELDS}
    return Line(where, cells, {name: f"{where}.{name}" for name in FIELDS})


def _cell_of(where: str, name: str, value: Any) -> Cell:
    """What would stand in a cell of the same meaning."""
    if value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return Cell(str(as_cell(value)))
    if name in LISTS and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return Cell(str(as_cell(value)))
    if name == "action_items" and isinstance(value, list) and all(map(_is_item, value)):
        return Cell(str(as_cell([{"state": "open"} | item for item in value])))
    raise malformed(f"{where} is neither a text nor what an export has there.")


def _is_item(value: Any) -> bool:
    if not isinstance(value, dict) or not {"title", "owner"} <= value.keys() <= {"title", "owner", "state", "due"}:
        return False
    return all(isinstance(part, str) and not set(part) & set("|\r\n") for part in value.values())


# -- sheets ------------------------------------------------------------------------------------------------------------


def _from_sheets(book: Workbook, wishes: Wishes) -> Register:
    names = [sheet.name for sheet in book.sheets]
    if missing := [name for name in wishes.sheets if name not in names]:
        raise InvalidError(
            f"There is no sheet {missing[0]!r}: {', '.join(names)}.", code="mapping_invalid", where="$.mapping.sheets"
        )
    wanted = [sheet for sheet in book.sheets if sheet.rows and (not wishes.sheets or sheet.name in wishes.sheets)]
    tables = {sheet.name: found for sheet in wanted if (found := _heading(sheet, wishes)) is not None}
    if not tables:
        raise _without_heading(wanted)
    left_out = [sheet.name for sheet in wanted if sheet.name not in tables]
    notes = [f"Sheet {name} has no heading with a title or a number; it was left out." for name in left_out]
    lines, columns, unused = list[Line](), dict[str, str](), list[str]()
    for sheet in wanted:
        if sheet.name not in tables:
            continue
        heading, own = tables[sheet.name]
        columns = {name: heading.cells[column].text for name, column in own.items()} | columns
        unused += [cell.text for column, cell in sorted(heading.cells.items()) if column not in own.values()]
        lines += _lines(sheet, heading, own)
        if len(lines) > MOST:
            raise too_much(f"The file has more than {MOST} risks: split it.")
    _check_named(columns, unused, wishes)
    return Register(lines, columns, unused, [*book.notes, *notes])


def _lines(sheet: Sheet, heading: Row, columns: Mapping[str, int]) -> Iterator[Line]:
    """The rows below the heading. A cell that is empty in the sheet is an empty one here."""
    for row in sheet.rows:
        if row.number <= heading.number or all(cell.merged for cell in row.cells.values()):
            continue
        cells = {name: row.cells.get(column, Cell("")) for name, column in columns.items()}
        places = {name: place(sheet.name, row.number, column) for name, column in columns.items()}
        yield Line(place(sheet.name, row.number), cells, places, sheet.from_1904)


def _heading(sheet: Sheet, wishes: Wishes) -> tuple[Row, dict[str, int]] | None:
    """The row that knows most fields, and which of its columns is which."""
    rows = [(row, _columns(row, wishes)) for row in sheet.rows[:_HEADING_WITHIN]]
    heading, columns = max(rows, key=lambda found: len(found[1]))
    if len(columns) < 2 or not set(_NAMING) & columns.keys():
        return None
    below = [row for row in sheet.rows if row.number > heading.number]
    for name in ("likelihood", "impact"):
        if name in columns and name not in wishes.columns:
            _tell_apart(name, columns, below)
    return heading, columns


def _tell_apart(name: str, columns: dict[str, int], rows: Sequence[Row]) -> None:
    """A column "Impact" that rates nothing tells of the impact in words; one "Likelihood" that does not is left out."""
    cells = [row.cells[columns[name]] for row in rows if columns[name] in row.cells]
    if not cells or any(words().step(name, cell.text) is not None for cell in cells):
        return
    column = columns.pop(name)
    if name == "impact" and "consequence" not in columns:
        columns["consequence"] = column


def _columns(row: Row, wishes: Wishes) -> dict[str, int]:
    """What a person said first; then guesses, the best-known word of each field before its lesser ones."""
    by_heading: dict[str, int] = {}
    for column, cell in sorted(row.cells.items()):
        if cell.kind is Kind.TEXT:
            by_heading.setdefault(normal(cell.text), column)
    said = {name: by_heading.get(normal(text)) for name, text in wishes.columns.items() if text is not None}
    found = {name: column for name, column in said.items() if column is not None}
    known = words().headings
    for rank in range(max(map(len, known.values()))):
        for name in ALL:
            if name in found or name in wishes.columns or rank >= len(known[name]):
                continue
            place_of = by_heading.get(known[name][rank])
            if place_of is not None and place_of not in found.values():
                found[name] = place_of
    return {name: column for name, column in found.items() if name in FIELDS}


def _check_named(columns: Mapping[str, str], unused: Sequence[str], wishes: Wishes) -> None:
    there = {normal(text) for text in (*columns.values(), *unused)}
    for name, heading in wishes.columns.items():
        if heading is not None and normal(heading) not in there:
            raise InvalidError(
                f"No sheet has a column {heading!r}.", code="mapping_invalid", where=f"$.mapping.columns.{name}"
            )


def _without_heading(sheets: Sequence[Sheet]) -> InvalidError:
    first = sheets[0].rows[0] if sheets else None
    seen = [cell.text[:60] for cell in first.cells.values()] if first else []
    return InvalidError(
        f"No sheet has a heading with a title or a number and one more column. It has: {', '.join(seen[:40])}.",
        code="columns_missing",
        where="$.mapping.columns",
        headings=seen[:100],
    )
