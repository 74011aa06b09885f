"""XLSX for people, by XlsxWriter (BSD-2-Clause, nothing below it)."""

from collections.abc import Iterable, Sequence
from io import BytesIO

import xlsxwriter  # type: ignore[import-untyped]  # it has no types

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_NARROW, _WIDE = 12, 40


def workbook(name: str, headings: Sequence[str], rows: Iterable[Sequence[str | int]]) -> bytes:
    """An XLSX of one sheet, by XlsxWriter: integers are numbers in it, everything else is text and never a formula.

    The heading stays in sight and filters; texts wrap, and stay texts when they are edited.
    """
    target, count = BytesIO(), 0
    with xlsxwriter.Workbook(target, {"in_memory": True}) as book:
        heading = book.add_format({"bold": True})
        plain = book.add_format({"num_format": "@", "quote_prefix": True, "text_wrap": True, "valign": "top"})
        sheet = book.add_worksheet(name)
        widths = [_NARROW] * len(headings)
        for place, text in enumerate(headings):
            sheet.write_string(0, place, text, heading)
        for count, row in enumerate(rows, 1):
            for place, cell in enumerate(row):
                if isinstance(cell, int):
                    sheet.write_number(count, place, cell)
                elif cell:
                    sheet.write_string(count, place, cell, plain)
                    widths[place] = _WIDE if len(cell) > 2 * _NARROW else widths[place]
        for place, width in enumerate(widths):
            sheet.set_column(place, place, width)
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, count, len(headings) - 1)
    return target.getvalue()
