"""One sheet of an XLSX, put together from XML events. Cells without a value cost nothing, wherever they lie."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from exceptions.importing import limits
from exceptions.importing.archive import malformed, too_much
from exceptions.importing.sheets import Cell, Kind, Row, place

#: How XLSX spells what XML cannot hold, such as a carriage return (ECMA-376, ST_Xstring).
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")


def parse_reference(text: str) -> tuple[int, int]:
    """``D7`` as row 7 and column 3. Raises ``sheet_malformed``."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise malformed(f"The XLSX names a cell {text[:20]!r}.")
    column = 0
    for letter in found.group(1):
        column = column * 26 + ord(letter) - 64
    return int(found.group(2)), column - 1


def unescaped(text: str) -> str:
    """``_x000D_`` as the character that it stands for."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


class SheetReader:
    """Handlers for the XML of a sheet; `finished` gives its rows in order."""

    def __init__(self, name: str, strings: Sequence[str], dated: Sequence[bool], rows_left: int) -> None:
        self._name = name
        self._strings = strings
        self._dated = dated
        self._rows_left = rows_left
        self._rows: dict[int, dict[int, Cell]] = {}
        self._merged: list[tuple[int, int, int]] = []
        self._row, self._column = 0, -1
        self._members: dict[str, str] = {}
        self._formula = False
        self._collects = False
        self._parts: list[str] = []
        self._length = 0
        self._reading = False

    def start(self, name: str, members: dict[str, str]) -> None:
        if name == "c":
            self._begin(members)
        elif name == "v" or (name == "t" and not self._reading):
            self._collects = True
        elif name == "f":
            self._formula = True
        elif name == "row":
            self._row, self._column = self._number(members.get("r"), self._row + 1), -1
        elif name == "rPh":
            self._reading = True
        elif name == "mergeCell":
            self._merge(members.get("ref", ""))

    def end(self, name: str) -> None:
        if name in {"v", "t"}:
            self._collects = False
        elif name == "c":
            self._keep()
        elif name == "rPh":
            self._reading = False

    def text(self, data: str) -> None:
        if self._collects:
            self._length += len(data)
            if self._length > limits.MAX_CELL:
                raise self._too_long()
            self._parts.append(data)

    def _too_long(self) -> Exception:
        where = place(self._name, self._row, self._column)
        return too_much(f"Cell {where} holds more than {limits.MAX_CELL} characters.")

    def _begin(self, members: dict[str, str]) -> None:
        self._members, self._formula, self._parts, self._length = members, False, [], 0
        if "r" in members:
            self._row, self._column = parse_reference(members["r"])
        else:
            self._column += 1

    def _number(self, text: str | None, otherwise: int) -> int:
        if text is None:
            return otherwise
        if not text.isascii() or not text.isdigit() or len(text) > 7:
            raise malformed(f"The XLSX numbers a row {text[:20]!r}.")
        return int(text)

    def _keep(self) -> None:
        cell = self._cell("".join(self._parts))
        if cell.is_empty:
            return
        if self._column >= limits.MAX_COLUMNS:
            raise too_much(f"Sheet {self._name} has values beyond its {limits.MAX_COLUMNS} first columns.")
        row = self._rows.get(self._row)
        if row is None:
            if len(self._rows) >= self._rows_left:
                raise too_much(f"The workbook has more than {limits.MAX_ROWS} rows: split it.")
            row = self._rows[self._row] = {}
        row[self._column] = cell

    def _cell(self, raw: str) -> Cell:
        kind = self._members.get("t", "n")
        if kind == "s" and raw:
            if not raw.isascii() or not raw.isdigit() or int(raw) >= len(self._strings):
                raise malformed(f"Cell {place(self._name, self._row, self._column)} names a text that is not there.")
            raw = self._strings[int(raw)]
            if len(raw) > limits.MAX_CELL:
                raise self._too_long()
        elif kind in {"str", "inlineStr"}:
            raw = unescaped(raw)
        if kind in {"s", "str", "inlineStr", "d"} or not raw:
            return Cell(raw, Kind.TEXT, self._formula)
        if kind == "e":
            return Cell(raw, Kind.ERROR, self._formula)
        return self._numeric(raw, Kind.BOOLEAN if kind == "b" else Kind.NUMBER)

    def _numeric(self, raw: str, kind: Kind) -> Cell:
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not abs(value) < 1e300:  # no NaN, no infinity
            raise malformed(f"Cell {place(self._name, self._row, self._column)} is no number.")
        style = self._members.get("s", "0")
        index = int(style) if style.isascii() and style.isdigit() else 0
        if kind is Kind.NUMBER and index < len(self._dated) and self._dated[index]:
            kind = Kind.DATE
        return Cell(value, kind, self._formula)

    def _merge(self, reference: str) -> None:
        first, _, last = reference.partition(":")
        top, column = parse_reference(first)
        bottom, _ = parse_reference(last or first)
        if bottom > top:
            self._merged.append((top, bottom, column))
        if len(self._merged) > limits.MAX_MERGED:
            raise too_much(f"Sheet {self._name} has more than {limits.MAX_MERGED} merged cells.")

    def finished(self) -> list[Row]:
        """Rows in order. What was merged over several rows holds for each of them that says something."""
        numbers = sorted(self._rows)
        filled = 0
        for top, bottom, column in self._merged:
            cell = self._rows.get(top, {}).get(column)
            if cell is None:
                continue
            below = numbers[bisect_right(numbers, top) : bisect_left(numbers, bottom + 1)]
            filled += len(below)
            if filled > limits.MAX_ROWS * 4:
                raise too_much(f"Sheet {self._name} has more merged cells than a register.")
            for number in below:
                self._rows[number].setdefault(column, cell._replace(merged=True))
        return [Row(number, self._rows[number]) for number in numbers]
