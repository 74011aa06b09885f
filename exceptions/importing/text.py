"""CSV as spreadsheets write it: any of their encodings and separators."""

import codecs
import csv
import io
from collections import Counter

from config.errors import InvalidError
from evidence.spreadsheets import undefused
from exceptions.importing import limits
from exceptions.importing.archive import malformed, too_much
from exceptions.importing.sheets import Cell, Row, Sheet, Workbook, column_name

_SEPARATORS = ",;\t|"
_BOMS = [(codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")]


def read_csv(data: bytes, name: str) -> Workbook:
    """One sheet. Raises InvalidError ``encoding_unknown``, ``sheet_malformed``, TooLargeError ``sheet_too_large``."""
    text, notes = _decoded(data)
    separator, text = _separator(text)
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for number, values in enumerate(reader, start=1):
            cells = {column: _cell(value, number, column) for column, value in enumerate(values) if value.strip()}
            if cells:
                rows.append(_bounded(Row(number, cells), len(rows)))
    except csv.Error as error:
        raise malformed(f"Line {reader.line_num} of the CSV cannot be read: {error}.") from None
    return Workbook([Sheet(name, rows)], notes)


def _decoded(data: bytes) -> tuple[str, list[str]]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(encoding), []
            except UnicodeDecodeError as error:
                raise _unknown(f"it begins as {encoding}, but byte {error.start} is none of it") from None
    if b"\0" in data:
        raise _unknown("it holds NUL bytes, as binary files and UTF-16 without its mark do")
    try:
        return data.decode(), []
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252"), ["The file is no UTF-8; it was read as Windows-1252. Look at the accents."]
    except UnicodeDecodeError as error:
        raise _unknown(f"byte {error.start} belongs to neither UTF-8 nor Windows-1252") from None


def _unknown(why: str) -> InvalidError:
    return malformed(f"The file's encoding cannot be told: {why}. Save it as CSV UTF-8.", code="encoding_unknown")


def _separator(text: str) -> tuple[str, str]:
    """The separator, and the text without the line in which Excel names it."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.strip()) == 5 and first[4] in _SEPARATORS:
        return first[4], "\n" + rest  # rows keep their numbers
    sample = next((line for line in text.splitlines()[:50] if any(char in line for char in _SEPARATORS)), "")
    counted = Counter(char for char in _outside_quotes(sample) if char in _SEPARATORS)
    return (counted.most_common(1)[0][0] if counted else ","), text


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _cell(value: str, row: int, column: int) -> Cell:
    if len(value) > limits.MAX_CELL:
        raise too_much(f"Cell {column_name(column)}{row} holds more than {limits.MAX_CELL} characters.")
    if (meant := undefused(value)) != value:
        return Cell(meant)  # as our own sheets write it, and as spreadsheets mean it
    # What a spreadsheet would compute is a formula here too, though nothing is saved beside it.
    return Cell("", formula=True) if value.lstrip().startswith("=") else Cell(value)


def _bounded(row: Row, before: int) -> Row:
    if before >= limits.MAX_ROWS:
        raise too_much(f"The sheet has more than {limits.MAX_ROWS} rows: split it.")
    if max(row.cells) >= limits.MAX_COLUMNS:
        raise too_much(f"Row {row.number} has more than {limits.MAX_COLUMNS} columns.")
    return row
