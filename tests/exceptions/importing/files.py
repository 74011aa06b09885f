"""Spreadsheets for tests: CSV by its text, XLSX by its XML, and the messy register beside this package."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

from exceptions.importing.sheets import column_name

REGISTER = Path(__file__).parent.parent / "register.xlsx"
HEADINGS = ["Ref", "Title", "Severity", "System", "Owner", "Requested by", "Approved by", "Status", "Expires"]
ROW = [
    "SEC-1",
    "Old TLS",
    "high",
    "netlify-trading",
    "Charlie",
    "Cora",
    "Bob",
    "approved",
    f"{datetime.now(UTC).date() + timedelta(days=60)}",
]
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
#: Style 1 shows dates.
_STYLES = f'<styleSheet xmlns="{_MAIN}"><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>'


def row(**changes: object) -> list[object]:
    """ROW with some cells changed, by heading in lower case."""
    named = dict(zip([heading.lower().replace(" ", "_") for heading in HEADINGS], ROW, strict=True)) | changes
    return list(named.values())


def csv_of(*rows: Sequence[object], headings: Sequence[str] = HEADINGS, separator: str = ",") -> bytes:
    def line(cells: Sequence[object]) -> str:
        return separator.join(f'"{cell}"' if separator in str(cell) else str(cell) for cell in cells)

    return "\r\n".join(map(line, [headings, *rows])).encode()


def xlsx_of(sheets: Mapping[str, str], *, extra: Mapping[str, str] | None = None) -> bytes:
    """A workbook of sheets given as the XML inside ``<worksheet>``."""
    names = list(sheets)
    listed = "".join(f'<sheet name="{n}" sheetId="{i}" r:id="r{i}"/>' for i, n in enumerate(names, 1))
    links = "".join(
        f'<Relationship Id="r{i}" Type="{_LINKS}/worksheet" Target="worksheets/s{i}.xml"/>'
        for i in range(1, len(names) + 1)
    )
    links += f'<Relationship Id="st" Type="{_LINKS}/styles" Target="styles.xml"/>'
    parts = {
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{links}</Relationships>',
        "xl/styles.xml": _STYLES,
        **{f"xl/worksheets/s{i}.xml": sheet(sheets[name]) for i, name in enumerate(names, 1)},
        **(extra or {}),
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in parts.items():
            archive.writestr(path, content)
    return target.getvalue()


def sheet(inside: str) -> str:
    return f'<worksheet xmlns="{_MAIN}">{inside}</worksheet>'


def rows_xml(rows: Sequence[Sequence[object]], *, dated: Sequence[int] = ()) -> str:
    """``<sheetData>`` of texts and numbers; columns in `dated` have the style of dates."""
    found = []
    for number, cells in enumerate(rows, 1):
        drawn = "".join(_cell(f"{column_name(i)}{number}", cell, i in dated) for i, cell in enumerate(cells))
        found.append(f'<row r="{number}">{drawn}</row>')
    return f"<sheetData>{''.join(found)}</sheetData>"


def _cell(reference: str, value: object, dated: bool) -> str:
    if isinstance(value, int | float):
        return f'<c r="{reference}"{" s=" + chr(34) + "1" + chr(34) if dated else ""}><v>{value}</v></c>'
    return f'<c r="{reference}" t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'
