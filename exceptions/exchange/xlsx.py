"""A workbook of one sheet: the least that every spreadsheet opens, from the standard library alone.

Texts are inline and marked as such, so none is ever a formula; the heading stays in sight and filters.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from exceptions.importing.sheets import column_name

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
#: What XML 1.0 cannot say.
_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
#: The same bytes for the same register.
_DATE = (1980, 1, 1, 0, 0, 0)
_NARROW, _WIDE = 12, 40
# Styles: 0 plain, 1 the heading, 2 a text that wraps and stays a text when it is edited.
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}">'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    "</fills><borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs>"
    '<cellXfs><xf/><xf fontId="1" applyFont="1"/>'
    '<xf numFmtId="49" applyNumberFormat="1" quotePrefix="1" applyAlignment="1">'
    '<alignment vertical="top" wrapText="1"/></xf></cellXfs></styleSheet>'
)


def workbook(name: str, headings: Sequence[str], rows: Sequence[Sequence[str | int]]) -> bytes:
    """The bytes of an XLSX; integers are numbers in it, everything else is text."""
    parts = {
        "[Content_Types].xml": (
            f'<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
            f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPES}.worksheet+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{_TYPES}.styles+xml"/></Types>'
        ),
        "_rels/.rels": _relations(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}">'
            f'<sheets><sheet name={quoteattr(name)} sheetId="1" r:id="r1"/></sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": _relations(("worksheet", "worksheets/sheet1.xml"), ("styles", "styles.xml")),
        "xl/styles.xml": _STYLES,
        "xl/worksheets/sheet1.xml": "".join(_sheet(headings, rows)),
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in parts.items():
            archive.writestr(zipfile.ZipInfo(path, _DATE), _HEAD + content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def _relations(*targets: tuple[str, str]) -> str:
    links = "".join(
        f'<Relationship Id="r{number}" Type="{_LINKS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{links}</Relationships>'


def _sheet(headings: Sequence[str], rows: Sequence[Sequence[str | int]]) -> Iterator[str]:
    last = column_name(len(headings) - 1)
    yield f'<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
    yield '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><cols>'
    for number in range(len(headings)):
        long = any(isinstance(row[number], str) and len(str(row[number])) > 2 * _NARROW for row in rows)
        yield f'<col min="{number + 1}" max="{number + 1}" width="{_WIDE if long else _NARROW}" customWidth="1"/>'
    yield "</cols><sheetData>"
    yield _row(1, headings, style=1)
    for number, row in enumerate(rows, 2):
        yield _row(number, row, style=2)
    yield f'</sheetData><autoFilter ref="A1:{last}{len(rows) + 1}"/></worksheet>'


def _row(number: int, cells: Sequence[str | int], *, style: int) -> str:
    drawn = (_cell(f"{column_name(place)}{number}", cell, style) for place, cell in enumerate(cells) if cell != "")
    return f'<row r="{number}">{"".join(drawn)}</row>'


def _cell(place: str, value: str | int, style: int) -> str:
    if isinstance(value, int):
        return f'<c r="{place}"><v>{value}</v></c>'
    text = escape(_UNSAYABLE.sub("\ufffd", value), {"\r": "&#13;"})
    return f'<c r="{place}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
