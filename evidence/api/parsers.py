"""JSON from outside: size first, then strict parsing (duplicate keys, NaN, big integers are refused)."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.parsers import BaseParser

from config.errors import InvalidError, TooLargeError
from evidence.tlog.canonical import parse_strict
from evidence.tlog.errors import MalformedError


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
        return parse_strict(data)
    except MalformedError as error:
        code = "json_duplicate_key" if "duplicate" in str(error) else "json_malformed"
        raise InvalidError(f"The body is not acceptable JSON: {error}", code=code, where=error.path) from None


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
