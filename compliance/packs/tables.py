"""CSV files of a pack: streamed to disk, UTF-8, RFC 4180, safe to open in a spreadsheet."""

import csv
import io
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from compliance.packs.container import CHUNK
from evidence.spreadsheets import defused
from evidence.tlog.leaf import format_time

if TYPE_CHECKING:
    from compliance.packs.bag import BagWriter


def cell(value: object) -> str:
    """A value as text that no spreadsheet runs: what looks like a formula gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, int):
        return str(value)
    text = "; ".join(map(str, value)) if isinstance(value, (list, tuple, set, frozenset)) else str(value)
    return defused(text)


class Table:
    """Rows wait in a temporary file until `write_to` puts them into the bag; `close` lets go of them in any case."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.count = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        self._text = io.TextIOWrapper(self._file, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text)
        self._writer.writerow(self.columns)

    def add(self, *values: object) -> None:
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} values for {len(self.columns)} columns")
        self._writer.writerow([cell(value) for value in values])
        self.count += 1

    def write_to(self, bag: "BagWriter", name: str) -> int:
        """Put the file into the bag and return how many rows it has."""
        size = self._file.tell()
        self._file.seek(0)
        bag.add_chunks(name, iter(lambda: self._file.read(CHUNK), b""), size)
        self.close()
        return self.count

    def close(self) -> None:
        self._text.close()


def rows(lines: Iterable[str]) -> Iterable[dict[str, str]]:
    """Rows of a CSV file by column name. Raises csv.Error where the file is none."""
    return csv.DictReader(lines, strict=True)
