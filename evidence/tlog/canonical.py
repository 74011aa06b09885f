"""JSON in (strictly) and out (RFC 8785).

What `parse_strict` accepts, `canonical` can write, and two readers cannot understand it differently:
no duplicate keys, no numbers that a double cannot hold exactly, no lone surrogates, no deep nesting.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import rfc8785

from evidence.tlog.errors import MalformedError

MAX_DEPTH = 64
MAX_NUMBER = 2**53 - 1
_MAX_DIGITS = 17  # of the longest integer worth converting, sign included
_MAYBE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def canonical(value: Any) -> bytes:
    """The one spelling of ``value`` after RFC 8785."""
    try:
        return rfc8785.dumps(value)
    except RecursionError as error:
        raise MalformedError("nested too deeply for canonical JSON") from error
    except ValueError as error:
        raise MalformedError(f"cannot be written as canonical JSON: {error}") from error


def parse_strict(data: bytes) -> Any:
    """The value of a JSON document, or `MalformedError` with the JSON path of the first thing refused.

    Refused besides what is not JSON in UTF-8: duplicate keys, NaN and infinities, numbers of a
    magnitude over 2**53 - 1 (in any spelling), lone surrogates, more than 64 levels of nesting.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8: byte {error.start} cannot be decoded", path="$") from error
    try:
        value = _decode(_FAST, text)
    except _RefusedError:
        _explain(text)
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _too_deep(value):
        _walk(value, "$")
    if _MAYBE_SURROGATE.search(data):
        _walk(value, "$")
    return value


def _decode(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise MalformedError(f"not JSON: {error.msg}, {where}", path="$") from error
    except RecursionError as error:
        raise MalformedError(f"nested deeper than {MAX_DEPTH} levels", path="$") from error


# --- the fast pass: hooks that stop at the first trouble, without knowing where they are -----------


class _RefusedError(Exception):
    """Something is refused; the slow pass finds out what and where."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RefusedError
    return value


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or abs(value := int(digits)) > MAX_NUMBER:
        raise _RefusedError
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if abs(value) > MAX_NUMBER:
        raise _RefusedError
    return value


def _constant(_name: str) -> NoReturn:
    raise _RefusedError


_FAST = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, (dict, list))]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        if not containers:
            return False
    return True


# --- the slow pass: the same text again, with trouble kept as a value, then a walk with a path -----


@dataclass(frozen=True)
class _Refused:
    reason: str


@dataclass(frozen=True)
class _Pairs:
    """An object with its keys as written, duplicates included."""

    pairs: list[tuple[str, Any]]


def _keep_integer(digits: str) -> Any:
    try:
        return _integer(digits)
    except _RefusedError:
        return _Refused("an integer beyond 2^53 - 1")


def _keep_float(digits: str) -> Any:
    try:
        return _float(digits)
    except _RefusedError:
        return _Refused("infinite" if math.isinf(float(digits)) else "a number beyond 2^53 - 1")


_SLOW = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_int=_keep_integer,
    parse_float=_keep_float,
    parse_constant=lambda name: _Refused(f"{name} is not JSON"),
)


def _explain(text: str) -> NoReturn:
    _walk(_decode(_SLOW, text), "$")
    raise AssertionError("the slow pass accepted what the fast one refused")


def _walk(value: Any, path: str, depth: int = 0) -> None:
    """Raise at the first thing refused, in the order of the document."""
    if isinstance(value, _Refused):
        raise MalformedError(value.reason, path=path)
    if isinstance(value, str):
        _check_text(value, path)
        return
    if isinstance(value, (_Pairs, dict, list)) and depth == MAX_DEPTH:
        raise MalformedError(f"nested deeper than {MAX_DEPTH} levels", path=path)
    for child, child_path in _children(value, path):
        _walk(child, child_path, depth + 1)


def _children(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(value, list):
        yield from ((child, f"{path}[{index}]") for index, child in enumerate(value))
        return
    pairs = value.pairs if isinstance(value, _Pairs) else value.items() if isinstance(value, dict) else ()
    seen = set()
    for key, child in pairs:
        child_path = _member(path, key)
        _check_text(key, child_path)
        if key in seen:
            raise MalformedError("a duplicate key", path=child_path)
        seen.add(key)
        yield child, child_path


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{json.dumps(key[:64])}]"


def _check_text(text: str, path: str) -> None:
    if _SURROGATE.search(text):
        raise MalformedError("a lone surrogate", path=path)
