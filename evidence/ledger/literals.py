"""PostgreSQL's spellings of arrays: a batch travels as one array for each column.

The driver can spell lists too, but asks each element for its type; that took longer than everything else of a batch.
As text where the columns are few and small, or other types are read from them; in the binary format
(``array_recv`` in PostgreSQL's source) where they are many: that takes a twelfth of the time to read.
"""

import struct
from collections.abc import Iterable

_BYTEA, _TEXT = 17, 25
_NULL = struct.pack("!i", -1)


# -- binary ------------------------------------------------------------------------------------------------------------


def bytes_element(value: bytes | None) -> bytes:
    """An element of ``bytea[]``."""
    return _NULL if value is None else len(value).to_bytes(4, "big") + value


def text_element(text: str | None) -> bytes:
    """An element of ``text[]``."""
    return _NULL if text is None else bytes_element(text.encode())


def bytes_array(elements: Iterable[bytes]) -> bytes:
    """``bytea[]`` of elements that are spelled already."""
    return _binary(_BYTEA, elements)


def text_array(elements: Iterable[bytes]) -> bytes:
    """``text[]`` of elements that are spelled already."""
    return _binary(_TEXT, elements)


def _binary(oid: int, elements: Iterable[bytes]) -> bytes:
    several = list(elements)
    if not several:
        return struct.pack("!iii", 0, 0, oid)
    # dimensions, whether any may be NULL, type, length, lower bound
    return struct.pack("!iiiii", 1, 1, oid, len(several), 1) + b"".join(several)


# -- text --------------------------------------------------------------------------------------------------------------


def array(elements: Iterable[str]) -> str:
    """An array of elements that need no quotes: numbers, times."""
    return "{" + ",".join(elements) + "}"


def quoted_array(values: Iterable[str | None]) -> str:
    """``text[]`` (or whatever its elements can be read as)."""
    return array(map(_quoted, values))


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
