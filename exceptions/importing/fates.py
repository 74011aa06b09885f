"""What became of each row, kept with the import: compressed, and read a page at a time."""

import csv
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from evidence.spreadsheets import defused
from evidence.workbooks import workbook
from exceptions.importing.mapping import FIELDS, Table
from exceptions.importing.rows import BAD, CLAIMED, CLOSED, REQUESTED, Fate

_NAMES = {CLAIMED: "claimed", REQUESTED: "requested", CLOSED: "left_out", BAD: "bad"}


def summary(fates: Sequence[Fate], tables: Sequence[Table], notes: Sequence[str]) -> dict[str, Any]:
    """Counts, and how each sheet was understood."""
    fate_counts = Counter(_NAMES[fate.fate] for fate in fates)
    return {
        "counts": {name: fate_counts[name] for name in _NAMES.values()},
        "flags": dict(Counter(flag for fate in fates if fate.fate != BAD for flag in fate.flags)),
        "problems": dict(Counter(problem.code for fate in fates for problem in fate.problems)),
        "sheets": [
            {"name": t.sheet.name, "heading_row": t.heading.number, "columns": t.headings, "unused": t.unused}
            for t in tables
        ],
        "notes": list(notes),
    }


def packed(fates: Sequence[Fate], tables: Sequence[Table]) -> bytes:
    """For `rows_of`."""
    columns = {table.sheet.name: table.columns for table in tables}
    return zlib.compress(json.dumps([_as_json(fate, columns[fate.sheet]) for fate in fates]).encode(), 6)


def _as_json(fate: Fate, columns: Any) -> dict[str, Any]:
    found = {
        "sheet": fate.sheet,
        "row": fate.row,
        "title": fate.title,
        "fate": _NAMES[fate.fate],
        "flags": fate.flags,
        "problems": [problem.as_json() for problem in fate.problems],
        "exception": fate.exception,
    }
    if fate.fate == BAD:
        found["cells"] = {name: fate.cells[column] for name, column in columns.items() if column in fate.cells}
    return found


def rows_of(kept: bytes | memoryview | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(zlib.decompress(kept)) if kept else []
    return found


def bad_rows_csv(kept: bytes | memoryview | None) -> Iterator[str]:
    """The bad rows as a sheet that can be put right and imported by itself; no cell runs in a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    headings, rows = _bad_rows(kept)
    writer.writerow(headings)
    for row in rows:
        writer.writerow(map(defused, row))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def bad_rows_xlsx(kept: bytes | memoryview | None) -> bytes:
    """The same as a workbook."""
    return workbook("Bad rows", *_bad_rows(kept))


def _bad_rows(kept: bytes | memoryview | None) -> tuple[list[str], Iterator[list[str]]]:
    bad = [row for row in rows_of(kept) if row["fate"] == "bad"]
    used = [name for name in FIELDS if any(name in row["cells"] for row in bad)]
    headings = [*(name.replace("_", " ").capitalize() for name in used), "Import row", "What is wrong"]

    def rows() -> Iterator[list[str]]:
        for row in bad:
            wrong = "; ".join(f"{problem['cell']}: {problem['reason']}" for problem in row["problems"])
            cells = [row["cells"].get(name, "") for name in used]
            yield [*cells, f"{row['sheet']}!{row['row']}", wrong]

    return headings, rows()
