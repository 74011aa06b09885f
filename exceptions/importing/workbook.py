"""A file of either format, told apart by its content and not by its name."""

from exceptions.importing import limits
from exceptions.importing.archive import malformed, too_large
from exceptions.importing.sheets import Workbook
from exceptions.importing.text import read_csv
from exceptions.importing.xlsx import read_xlsx

_OLD_OFFICE = b"\xd0\xcf\x11\xe0"


def read(data: bytes, filename: str = "") -> Workbook:
    """Raises InvalidError ``file_empty``, ``sheet_malformed``, ``encoding_unknown``, and ``sheet_too_large``."""
    if len(data) > limits.MAX_BYTES:
        raise too_large(limits.MAX_BYTES)
    if data.startswith(_OLD_OFFICE):
        raise malformed("This is an old .xls, or protected by a password: save it as .xlsx without one, or as CSV.")
    if data.startswith(b"PK"):
        book = read_xlsx(data)
    else:
        stem = filename.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
        book = read_csv(data, (stem or "CSV")[:31])
    if not any(sheet.rows for sheet in book.sheets):
        raise malformed("There is nothing in the file.", code="file_empty")
    return book
