"""The ZIP archive that an XLSX is, opened with bounds: what is declared is checked, and so is what really comes out."""

import io
import zipfile
import zlib
from collections.abc import Iterator

from config.errors import InvalidError, TooLargeError
from exceptions.importing import limits

_CHUNK = 64 * 1024


def malformed(detail: str, *, code: str = "sheet_malformed") -> InvalidError:
    return InvalidError(detail, code=code, where="$.file")


def too_much(detail: str) -> TooLargeError:
    return TooLargeError(detail, code="sheet_too_large", where="$.file")


def too_large(most: int) -> TooLargeError:
    return too_much(f"The file is larger than {most} bytes: split it.")


class Archive:
    """Entries by name. Raises InvalidError ``sheet_malformed``, TooLargeError ``sheet_too_large``."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise malformed(f"The file is no XLSX: {error}.") from None
        self._left = limits.MAX_UNPACKED
        entries = self._zip.infolist()
        if len(entries) > limits.MAX_ENTRIES:
            raise too_much(f"The XLSX has {len(entries)} parts; {limits.MAX_ENTRIES} are taken.")
        self._sizes = {entry.filename: entry for entry in entries}
        if len(self._sizes) < len(entries):
            raise malformed("The XLSX has two parts of the same name.")
        if sum(entry.file_size for entry in entries) > limits.MAX_UNPACKED or any(map(_swells, entries)):
            raise too_much("The XLSX unpacks to far more than a register needs; it is not opened.")

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of one entry, counted as they come out: what it declares of itself may be a lie."""
        if name not in self._sizes:
            raise malformed(f"The XLSX lacks its part {name}.")
        try:
            with self._zip.open(self._sizes[name]) as entry:
                while chunk := entry.read(_CHUNK):
                    self._left -= len(chunk)
                    if self._left < 0:
                        raise too_much("The XLSX unpacks to far more than a register needs.")
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise malformed(f"The XLSX is damaged at {name}: {error}.") from None
        except RuntimeError:
            raise malformed("The XLSX is protected by a password: save it without one.") from None


def _swells(entry: zipfile.ZipInfo) -> bool:
    return entry.file_size > 1024 * 1024 and entry.file_size > limits.MAX_RATIO * max(entry.compress_size, 1)
