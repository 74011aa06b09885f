"""XLSX, read as a stream of XML events.

Written here and not taken from a library for three reasons: the libraries lay out a sheet from its first to its last
cell (two cells in the far corners of a file of 5 KB end the process), copy a shared text into every cell that names it,
and do not say which cells are formulas.
"""

import posixpath
import re
from collections.abc import Callable
from typing import Any
from xml.parsers import expat

from exceptions.importing import limits
from exceptions.importing.archive import Archive, malformed, too_much
from exceptions.importing.sheets import Sheet, Workbook
from exceptions.importing.xlsx_sheet import SheetReader, unescaped

#: Number formats that every workbook has and that show dates or times.
_DATES = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_QUOTED = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')

Start = Callable[[str, dict[str, str]], None]


def read_xlsx(data: bytes) -> Workbook:
    """All visible and hidden sheets. Raises InvalidError ``sheet_malformed``, TooLargeError ``sheet_too_large``."""
    archive = Archive(data)
    book = _book(archive)
    strings, dated = _strings(archive, book.parts("sharedStrings")), _dated(archive, book.parts("styles"))
    sheets = []
    rows_left = limits.MAX_ROWS
    for name, path in book.sheets():
        reader = SheetReader(name, strings, dated, rows_left)
        parse(archive, path, reader.start, reader.end, reader.text)
        rows = reader.finished()
        rows_left -= len(rows)
        sheets.append(Sheet(name, rows, book.from_1904))
    return Workbook(sheets)


def parse(
    archive: Archive,
    path: str,
    start: Start,
    end: Callable[[str], None] = lambda name: None,
    text: Callable[[str], None] | None = None,
) -> None:
    """Feed one part of the workbook to handlers, element names without their namespaces."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def local(name: str) -> str:
        return name.rpartition(" ")[2]

    def refuse(*_: Any) -> None:
        raise malformed("The XLSX declares a document type, which none does.")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, members: start(local(name), members)
    parser.EndElementHandler = lambda name: end(local(name))
    if text is not None:
        parser.CharacterDataHandler = text
    try:
        for chunk in archive.chunks(path):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise malformed(f"The XLSX is damaged at {path}: {error}.") from None


class _Book:
    """Which sheets there are, and where their parts lie."""

    def __init__(self) -> None:
        self.root = "xl/workbook.xml"
        self.from_1904 = False
        self._named: list[tuple[str, str]] = []
        self._targets: dict[str, tuple[str, str]] = {}

    def start(self, name: str, members: dict[str, str]) -> None:
        if name == "workbookPr":
            self.from_1904 = members.get("date1904") in {"1", "true"}
        elif name == "sheet":
            link = next((value for key, value in members.items() if key.endswith(" id")), "")
            self._named.append((members.get("name", ""), link))
            if len(self._named) > limits.MAX_SHEETS:
                raise too_much(f"The workbook has more than {limits.MAX_SHEETS} sheets.")

    def relation(self, name: str, members: dict[str, str]) -> None:
        if name == "Relationship" and members.get("TargetMode") != "External":
            target = members.get("Target", "")
            path = target[1:] if target.startswith("/") else posixpath.join(posixpath.dirname(self.root), target)
            kind = members.get("Type", "").rpartition("/")[2]
            self._targets[members.get("Id", "")] = (kind, posixpath.normpath(path))

    def parts(self, kind: str) -> list[str]:
        return [path for own, path in self._targets.values() if own == kind]

    def sheets(self) -> list[tuple[str, str]]:
        """Names and paths; charts and the like are none."""
        targets = [(name, *self._targets.get(link, ("", ""))) for name, link in self._named]
        return [(name, path) for name, kind, path in targets if kind == "worksheet"]


def _book(archive: Archive) -> _Book:
    book = _Book()

    def entry(name: str, members: dict[str, str]) -> None:
        if name == "Relationship" and members.get("Type", "").endswith("/officeDocument"):
            book.root = members.get("Target", "").lstrip("/")

    if "_rels/.rels" in archive:
        parse(archive, "_rels/.rels", entry)
    if book.root not in archive:
        raise malformed("The file is a ZIP archive, but no XLSX: save the register as .xlsx or CSV.")
    parse(archive, book.root, book.start)
    folder, name = posixpath.split(book.root)
    parse(archive, f"{folder}/_rels/{name}.rels".lstrip("/"), book.relation)
    return book


def _strings(archive: Archive, paths: list[str]) -> list[str]:
    """Shared texts. Those of rich text are joined, readings in another script left out."""
    found: list[str] = []
    parts: list[str] = []
    inside = [False, False]  # a text, a reading

    def start(name: str, _: dict[str, str]) -> None:
        if name == "si":
            parts.clear()
        elif name in {"t", "rPh"}:
            inside[name == "rPh"] = True

    def end(name: str) -> None:
        if name == "si":
            found.append(unescaped("".join(parts)))
        elif name in {"t", "rPh"}:
            inside[name == "rPh"] = False

    def text(data: str) -> None:
        if inside == [True, False]:
            parts.append(data)

    for path in paths[:1]:
        parse(archive, path, start, end, text)
    return found


def _dated(archive: Archive, paths: list[str]) -> list[bool]:
    """For each cell style, whether it shows a number as a date."""
    formats: dict[str, str] = {}
    found: list[bool] = []
    inside = [False]

    def start(name: str, members: dict[str, str]) -> None:
        if name == "numFmt":
            formats[members.get("numFmtId", "")] = members.get("formatCode", "")
        elif name == "cellXfs":
            inside[0] = True
        elif name == "xf" and inside[0]:
            number = members.get("numFmtId", "0")
            found.append(_shows_date(formats[number]) if number in formats else number in map(str, _DATES))

    def end(name: str) -> None:
        if name == "cellXfs":
            inside[0] = False

    for path in paths[:1]:
        parse(archive, path, start, end)
    return found


def _shows_date(code: str) -> bool:
    """Whether a number format of the workbook's own shows days or hours."""
    return bool(set("ymdhs") & set(_QUOTED.sub("", code.partition(";")[0]).lower())) and code.lower() != "general"
