"""ZIP archives of stored entries, Zip64, in constant memory whatever their number: a writer and a strict reader.

The standard library keeps an object for every entry; a pack may hold millions. Here the central directory waits in
a temporary file while it is written, and in a temporary SQLite database (on disk) while it is read.

What the reader accepts has one reading only: entries are stored (nothing to inflate), lie back to back from the
first byte, are named once (also on a file system that folds case), and stay below one folder. APPNOTE 6.3.10.
"""

import re
import shutil
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from evidence.tlog.errors import TlogError

CHUNK = 1 << 20
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_UTF8 = 0x800
_DATE = 0x21  # 1 January 1980: the same pack has the same bytes
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_VERSION = 45
_UNIX_FILE = 0o100644 << 16
_ALLOWED = re.compile(r"[A-Za-z0-9._/-]{1,300}")


class ContainerError(TlogError):
    """The archive is damaged, or is written in a way that two programs could read differently."""

    code = "container_invalid"


def check_path(name: str) -> str:
    """A relative path of plain characters. Raises ContainerError for anything that could leave its folder."""
    parts = name.split("/")
    if not _ALLOWED.fullmatch(name) or any(part in {"", ".", ".."} for part in parts):
        raise ContainerError(f"{name[:100]!r} is not a safe path")
    return name


# -- writing -----------------------------------------------------------------------------------------------------------


class ZipWriter:
    """Writes to a seekable file from its current start; `close` adds the directory.

    As a context manager it only lets go of its temporary file, also when the archive was never finished.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._central = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._central.close()

    def add(self, name: str, chunks: Iterable[bytes], size: int) -> None:
        """One entry of exactly `size` bytes."""
        offset, raw_name = self._out.tell(), check_path(name).encode()
        extra = struct.pack("<2H2Q", 1, 16, size, size) if size >= _MAX32 else b""
        self._out.write(_local_header(raw_name, 0, size, extra))
        crc = written = 0
        for chunk in chunks:
            crc, written = zlib.crc32(chunk, crc), written + len(chunk)
            self._out.write(chunk)
        if written != size:
            raise ContainerError(f"{name} has {written} bytes, not the {size} that were announced")
        self._out.seek(offset)
        self._out.write(_local_header(raw_name, crc, size, extra))
        self._out.seek(0, 2)
        self._central.write(_central_header(raw_name, crc, size, offset))
        self._count += 1

    def close(self) -> None:
        start = self._out.tell()
        length = self._central.tell()
        self._central.seek(0)
        shutil.copyfileobj(self._central, self._out, CHUNK)
        count = self._count
        self._out.write(_END64.pack(b"PK\x06\x06", 44, _VERSION, _VERSION, 0, 0, count, count, length, start))
        self._out.write(_LOCATOR.pack(b"PK\x06\x07", 0, start + length, 1))
        small = min(count, _MAX16)
        self._out.write(_END.pack(b"PK\x05\x06", 0, 0, small, small, min(length, _MAX32), min(start, _MAX32), 0))


def _local_header(name: bytes, crc: int, size: int, extra: bytes) -> bytes:
    shown = min(size, _MAX32)
    fixed = _LOCAL.pack(b"PK\x03\x04", _VERSION, _UTF8, 0, 0, _DATE, crc, shown, shown, len(name), len(extra))
    return fixed + name + extra


def _central_header(name: bytes, crc: int, size: int, offset: int) -> bytes:
    wide = struct.pack("<2Q", size, size) if size >= _MAX32 else b""
    wide += struct.pack("<Q", offset) if offset >= _MAX32 else b""
    extra = struct.pack("<2H", 1, len(wide)) + wide if wide else b""
    shown, at = min(size, _MAX32), min(offset, _MAX32)
    fixed = _CENTRAL.pack(
        *(b"PK\x01\x02", _VERSION, 3, _VERSION, 0, _UTF8, 0, 0, _DATE, crc, shown, shown),
        *(len(name), len(extra), 0, 0, 0, _UNIX_FILE, at),
    )
    return fixed + name + extra


# -- reading -----------------------------------------------------------------------------------------------------------


class ZipReader:
    """A strict view of an archive; opening it checks its whole structure.

    `index` is a temporary database with the table ``entry(name, folded, start, size, crc)``, names without the
    archive's one top folder (`folder`); callers may add tables of their own beside it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.index = sqlite3.connect("")  # an unnamed database lives in a temporary file, not in memory
        self.folder = ""
        try:
            self._read_directory()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.index.close()

    @property
    def count(self) -> int:
        (count,) = self.index.execute("SELECT count(*) FROM entry").fetchone()
        return int(count)

    def names(self, prefix: str = "") -> Iterator[str]:
        """Names that begin with `prefix` and are longer, in order, a page at a time."""
        last = prefix
        question = "SELECT name FROM entry WHERE name > ? AND name < ? ORDER BY name LIMIT 1000"
        while page := self.index.execute(question, (last, prefix + "\x7f")).fetchall():
            yield from (name for (name,) in page)
            last = page[-1][0]

    def has(self, name: str) -> bool:
        return self.index.execute("SELECT 1 FROM entry WHERE name = ?", (name,)).fetchone() is not None

    def chunks(self, name: str) -> Iterator[bytes]:
        """An entry's bytes, a piece at a time. Raises ContainerError when its CRC does not hold."""
        found = self.index.execute("SELECT start, size, crc FROM entry WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise ContainerError(f"{name} is missing")
        start, left, crc = found
        computed = 0
        while left:
            self._file.seek(start)
            chunk = self._file.read(min(left, CHUNK))
            if not chunk:
                raise ContainerError(f"the archive ends within {name}")
            computed = zlib.crc32(chunk, computed)
            start, left = start + len(chunk), left - len(chunk)
            yield chunk
        if computed != crc:
            raise ContainerError(f"{name} is damaged: its bytes do not have the CRC that the archive states")

    def read(self, name: str, limit: int) -> bytes:
        """A small entry whole. Raises ContainerError when it has more than `limit` bytes."""
        found = self.index.execute("SELECT size FROM entry WHERE name = ?", (name,)).fetchone()
        if found is not None and found[0] > limit:
            raise ContainerError(f"{name} has {found[0]} bytes, more than the {limit} that such a file may have")
        return b"".join(self.chunks(name))

    # -- the directory

    def _read_directory(self) -> None:
        start, length, count = self._read_end()
        self.index.execute(
            "CREATE TABLE entry (name TEXT PRIMARY KEY, folded TEXT UNIQUE, start INTEGER, size INTEGER, crc INTEGER)"
        )
        position = expected = 0
        for _ in range(count):
            name, crc, size, offset, position = self._read_central(start, position, length)
            if offset != expected:
                raise ContainerError(f"{name} does not begin where the entry before it ends")
            data = self._check_local(name, crc, size, offset, start)
            expected = data + size
            self._remember(name, data, size, crc)
        if position != length or expected != start:
            raise ContainerError("the archive holds bytes that belong to no entry")

    def _read_end(self) -> tuple[int, int, int]:
        size = self._file.seek(0, 2)
        tail = _END64.size + _LOCATOR.size + _END.size
        if size < tail:
            raise ContainerError("not a pack: too short for a Zip64 archive")
        self._file.seek(size - tail)
        data = self._file.read(tail)
        end64 = _END64.unpack_from(data)
        locator = _LOCATOR.unpack_from(data, _END64.size)
        end = _END.unpack_from(data, _END64.size + _LOCATOR.size)
        count, length, start = end64[7], end64[8], end64[9]
        small = min(count, _MAX16)
        regular = (
            end64[:7] == (b"PK\x06\x06", 44, _VERSION, _VERSION, 0, 0, count)
            and locator == (b"PK\x06\x07", 0, size - tail, 1)
            and end == (b"PK\x05\x06", 0, 0, small, small, min(length, _MAX32), min(start, _MAX32), 0)
        )
        if not regular or start + length != size - tail:
            raise ContainerError("not a pack: its end is not that of a Zip64 archive without a comment")
        return start, length, count

    def _read_central(self, start: int, position: int, length: int) -> tuple[str, int, int, int, int]:
        self._file.seek(start + position)
        fixed = self._file.read(_CENTRAL.size)
        if len(fixed) < _CENTRAL.size or position + _CENTRAL.size > length:
            raise ContainerError("the archive's directory is cut off")
        fields = _CENTRAL.unpack(fixed)
        crc, size, name_length, extra_length, offset = fields[9], fields[11], fields[12], fields[13], fields[18]
        name, extra = self._file.read(name_length), self._file.read(extra_length)
        wide = _wide(extra, (size == _MAX32) * 2 + (offset == _MAX32))
        if size == _MAX32:
            size = wide.pop(0)
            wide.pop(0)
        if offset == _MAX32:
            offset = wide.pop(0)
        if fixed + name + extra != _central_header(name, crc, size, offset):
            raise ContainerError(
                f"{name[:100]!r}: not a plain stored entry (compressed, encrypted or with extra fields)"
            )
        position += _CENTRAL.size + name_length + extra_length
        return check_path(name.decode("ascii", "replace")), crc, size, offset, position

    def _check_local(self, name: str, crc: int, size: int, offset: int, end: int) -> int:
        """The offset of the entry's data; its own header must say what the directory says."""
        extra = struct.pack("<2H2Q", 1, 16, size, size) if size >= _MAX32 else b""
        header = _local_header(name.encode(), crc, size, extra)
        self._file.seek(offset)
        if self._file.read(len(header)) != header or offset + len(header) + size > end:
            raise ContainerError(f"{name}: its own header differs from the directory's entry")
        return offset + len(header)

    def _remember(self, name: str, start: int, size: int, crc: int) -> None:
        folder, _, rest = name.partition("/")
        if not rest or (self.folder and folder != self.folder):
            raise ContainerError(f"{name} is not below the archive's one folder")
        self.folder = folder
        try:
            with closing(self.index.cursor()) as cursor:
                cursor.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", (rest, rest.casefold(), start, size, crc))
        except sqlite3.IntegrityError:
            raise ContainerError(f"{name} appears twice") from None


def _wide(extra: bytes, count: int) -> list[int]:
    if len(extra) != (4 + 8 * count if count else 0):
        raise ContainerError("an entry's Zip64 field does not have the expected length")
    return list(struct.unpack(f"<{count}Q", extra[4:])) if count else []
