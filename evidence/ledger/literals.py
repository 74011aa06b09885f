"""PostgreSQL's text spelling of arrays: a batch travels as one array for each column.

The driver can spell lists too, but asks each element for its type; that took longer than everything else of a batch.
"""

from collections.abc import Iterable


def array(elements: Iterable[str]) -> str:
    """An array of elements that are spelled already."""
    return "{" + ",".join(elements) + "}"


def text_array(values: Iterable[str | None]) -> str:
    """``text[]`` (or whatever its elements can be read as)."""
    return array(map(text_element, values))


def bytes_array(values: Iterable[bytes | None]) -> str:
    """``bytea[]``."""
    return array(map(bytes_element, values))


def number_array(values: Iterable[int]) -> str:
    """``bigint[]`` or ``smallint[]``."""
    return array(map(str, values))


def text_element(text: str | None) -> str:
    if text is None:
        return "NULL"
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def bytes_element(value: bytes | None) -> str:
    return "NULL" if value is None else f'"\\\\x{value.hex()}"'
