"""PostgreSQL's text spelling of arrays: a batch travels as one array for each column.

The driver can spell lists too, but asks each element for its type; that took longer than everything else of a batch.
"""

from collections.abc import Iterable


def text_array(values: Iterable[str | None]) -> str:
    """``text[]`` (or whatever its elements can be read as)."""
    return "{" + ",".join("NULL" if value is None else _quoted(value) for value in values) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def bytes_array(values: Iterable[bytes | None]) -> str:
    """``bytea[]``."""
    return "{" + ",".join("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values) + "}"


def number_array(values: Iterable[int]) -> str:
    """``bigint[]`` or ``smallint[]``."""
    return "{" + ",".join(map(str, values)) + "}"
