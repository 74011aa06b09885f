"""A spreadsheet as it was read: sheets of rows of cells, each with its place in the user's own words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    TEXT = "text"
    NUMBER = "number"
    #: A number that is shown as a date: days since the workbook's epoch.
    DATE = "date"
    BOOLEAN = "boolean"
    #: ``#REF!`` and the like.
    ERROR = "error"


class Cell(NamedTuple):
    value: str | float
    kind: Kind = Kind.TEXT
    #: It holds a formula; `value` is what was saved beside it, empty if nothing was.
    formula: bool = False
    #: Its value is that of the merged cell it belongs to.
    merged: bool = False

    @property
    def text(self) -> str:
        """As a person would read it."""
        if isinstance(self.value, str):
            return self.value.strip()
        if self.kind is Kind.BOOLEAN:
            return "TRUE" if self.value else "FALSE"
        return str(int(self.value)) if self.value == int(self.value) else repr(self.value)

    @property
    def is_empty(self) -> bool:
        return not self.formula and isinstance(self.value, str) and not self.text


class Row(NamedTuple):
    #: As the spreadsheet numbers it, from 1.
    number: int
    #: By column, from 0; empty ones are left out.
    cells: Mapping[int, Cell]


@dataclass(frozen=True)
class Sheet:
    name: str
    rows: list[Row]
    #: Whether days are counted from 1904, as old Macs do.
    from_1904: bool = False


@dataclass(frozen=True)
class Workbook:
    sheets: list[Sheet]
    #: What a person should know about how it was read.
    notes: list[str] = field(default_factory=list)


def column_name(column: int) -> str:
    """0 is A, 26 is AA."""
    name = ""
    while column >= 0:
        column, letter = divmod(column, 26)
        name, column = chr(65 + letter) + name, column - 1
    return name


def place(sheet: str, row: int, column: int | None = None) -> str:
    """``Sheet1!D7``, or ``Sheet1!7`` for a whole row."""
    return f"{sheet}!{'' if column is None else column_name(column)}{row}"
