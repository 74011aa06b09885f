"""JSON from outside: size first, then strict parsing (duplicate keys, NaN, big integers are refused)."""

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.parsers import BaseParser

from config.errors import InvalidError, TooLargeError

MAX_DEPTH = 64


def read_body(request: HttpRequest, limit: int | None = None) -> bytes:
    """The body, refused with ``too_large`` (413) before it is read when its length is over the limit."""
    limit = limit or settings.MAX_BODY_BYTES
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise InvalidError("Content-Length is not a number.", code="bad_request") from None
    if length <= limit:
        data: bytes = request.read(limit + 1)
        if len(data) <= limit:
            return data
    raise TooLargeError(
        f"The body is larger than {limit} bytes. Upload files as artifacts and name them by digest.",
        code="body_too_large",
        limit=limit,
    )


def parse_json(data: bytes) -> Any:
    """Strictly parsed JSON. Raises InvalidError ``json_malformed`` or ``json_duplicate_key`` with the place."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidError(f"The body is not UTF-8 (byte {error.start}).", code="json_malformed") from None
    except json.JSONDecodeError as error:
        raise InvalidError(
            f"The body is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.", code="json_malformed"
        ) from None
    except RecursionError:
        raise InvalidError("The JSON is nested too deeply.", code="json_malformed") from None
    _check(value, "$", 0)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidError(f"The member {twice!r} appears twice in one object.", code="json_duplicate_key")
    return found


def _no_constant(name: str) -> Any:
    raise InvalidError(f"{name} is not JSON.", code="json_malformed")


def _check(value: Any, where: str, depth: int) -> None:
    """What RFC 8785 cannot carry, named by its path."""
    if depth > MAX_DEPTH:
        raise InvalidError("The JSON is nested too deeply.", code="json_malformed", where=where)
    if isinstance(value, dict):
        for name, item in value.items():
            _check(name, where, depth)
            _check(item, f"{where}.{name}", depth + 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check(item, f"{where}[{place}]", depth + 1)
    elif isinstance(value, str):
        if not value.isascii() and any(0xD800 <= ord(char) < 0xE000 for char in value):
            raise InvalidError("A lone surrogate is not text.", code="json_malformed", where=where)
        if "\x00" in value:
            raise InvalidError("A NUL character is not text.", code="json_malformed", where=where)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        raise InvalidError(
            "An integer beyond 2^53 loses digits; send it as a string.", code="json_malformed", where=where
        )
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise InvalidError("A number beyond the range of JSON.", code="json_malformed", where=where)


class StrictJSONParser(BaseParser):
    """DRF's parser for ``application/json``."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        # The bytes were read once by the authentication step or the view (idempotency needs them).
        request = (parser_context or {})["request"]
        return parse_json(raw_body(request._request))


def raw_body(request: HttpRequest) -> bytes:
    """The body's bytes, read once and kept on the request."""
    if not hasattr(request, "_body"):
        request._body = read_body(request)  # where Django itself keeps it, so that `request.body` works too
    return request._body
