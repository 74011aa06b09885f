"""``?dry_run=1``: a call that is checked whole and writes nothing, where a call can do that; refused elsewhere.

It stands in the query, where `release` and `occurred_at` of an envelope stand too: a proxy that drops unknown headers
would turn a rehearsal into a record.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from config.api import problem
from config.errors import InvalidError

_NAME = "dry_run"
MEANINGS = {"1": True, "true": True, "0": False, "false": False}
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ABLE = frozenset({"/api/v1/records", "/api/v1/artifacts"})


def dry_run(request: HttpRequest) -> bool:
    """Whether the call asks for it. Raises InvalidError where it cannot be told."""
    if _NAME not in request.META.get("QUERY_STRING", ""):
        return False
    value = request.GET.get(_NAME)
    if value is None:
        return False
    if value not in MEANINGS:
        raise InvalidError("dry_run is 1 or 0.", where=_NAME)
    return MEANINGS[value]


def as_if_meant(request: HttpRequest) -> None:
    """Take ``dry_run`` out of the query, so that an Idempotency-Key means what it will mean."""
    parts = request.META.get("QUERY_STRING", "").split("&")
    request.META["QUERY_STRING"] = "&".join(part for part in parts if part.partition("=")[0] != _NAME)


class NoDryRun:
    """Middleware: a call that would write all the same refuses to be rehearsed."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method in _WRITING and request.path.startswith("/api/"):
            try:
                refused = dry_run(request) and request.path not in _ABLE
            except InvalidError as error:
                return problem.respond(error)
            if refused:
                text = "Only POST records and POST artifacts can be rehearsed. Nothing was done."
                return problem.respond(InvalidError(text, code="dry_run_unsupported", where=_NAME))
        return self._get_response(request)
