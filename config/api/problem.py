"""RFC 9457 problem+json: one handler for every error that leaves the API."""

import logging
import re
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from config import errors
from config.api import strict
from config.database import leave_connection

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:prooftrail:problem:"

#: Category to status and title; `code` says more than either.
STATUS: list[tuple[type[errors.ProoftrailError], int, str]] = [
    (errors.TooLargeError, 413, "Too large"),
    (errors.InvalidError, 422, "Not acceptable as evidence"),
    (errors.ForbiddenError, 403, "Not allowed"),
    (errors.MissingError, 404, "Not found"),
    (errors.ConflictError, 409, "Not possible in this state"),
    (errors.GoneError, 410, "Disposed of"),
    (errors.UnavailableError, 503, "Try again later"),
]
#: Codes whose status differs from their category's.
STATUS_OF_CODE = {
    "bad_request": 400,
    "json_malformed": 400,
    "json_duplicate_key": 400,
    "transition_not_allowed": 400,
    "transition_unknown": 400,
    "token_invalid": 401,
    "not_authenticated": 401,
    **dict.fromkeys(
        (
            *("id_token_malformed", "id_token_algorithm_refused", "id_token_issuer_untrusted", "id_token_audience"),
            *("id_token_key_unknown", "id_token_signature_invalid", "id_token_expired", "id_token_not_yet_valid"),
            *("id_token_lifetime", "id_token_replayed"),
        ),
        401,
    ),
    "media_type_unsupported": 415,
    "rate_limited": 429,
}


def body(*, status: int, code: str, title: str, detail: str, where: str | None = None, **extra: Any) -> dict[str, Any]:
    """The members of a problem document."""
    found = {"type": TYPE_PREFIX + code, "title": title, "status": status, "code": code, "detail": detail}
    return found | ({"where": where} if where else {}) | extra


def describe(error: errors.ProoftrailError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, document and headers of a domain error."""
    status, title = next(((s, t) for category, s, t in STATUS if isinstance(error, category)), (422, "Refused"))
    if error.code in STATUS_OF_CODE:
        status = STATUS_OF_CODE[error.code]
        title = HTTPStatus(status).phrase
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, errors.UnavailableError) else {}
    headers |= error.headers
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="prooftrail"'
    document = body(status=status, code=error.code, title=title, detail=error.detail, where=error.where, **error.extra)
    return status, document, headers


def from_format(error: Exception) -> errors.InvalidError:
    """An error of the ledger's formats (`evidence.tlog`, which knows nothing of this) as one of the domain."""
    code = str(getattr(error, "code", "malformed"))
    code = "envelope_malformed" if code == "malformed" else code
    return errors.InvalidError(str(error), code=code, where=getattr(error, "path", None))


def respond(error: errors.ProoftrailError) -> JsonResponse:
    """A domain error as a plain Django response (for views outside DRF)."""
    status, document, headers = describe(error)
    return JsonResponse(document, status=status, headers=headers, content_type=MEDIA_TYPE)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. None lets Django answer 500, see `server_error`."""
    if isinstance(error, errors.ProoftrailError):
        status, document, headers = describe(error)
    elif isinstance(error, drf.APIException | Http404 | PermissionDenied):
        status, document, headers = _from_drf(error)
    elif hasattr(error, "code") and type(error).__module__.startswith("evidence.tlog"):
        document = body(
            status=422, code=str(error.code), title="Malformed", detail=str(error), where=getattr(error, "path", None)
        )
        status, headers = 422, {}
    elif isinstance(error, DataError):
        status, document, headers = describe(_unstorable())
    else:
        return None
    set_rollback()
    return Response(document, status=status, headers=headers, content_type=MEDIA_TYPE)


#: How the framework says it.
_PYTHON = re.compile(r"Expected a (?P<wanted>list|dictionary)\b.* got (?:type )?\"?(?P<given>\w+)\"?\.")
_JSON = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "NoneType": "null",
    "list": "an array",
    "dict": "an object",
}


def _from_drf(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    if isinstance(error, Http404):
        error = drf.NotFound()
    elif isinstance(error, PermissionDenied):
        error = drf.PermissionDenied()
    assert isinstance(error, drf.APIException)
    status, headers = error.status_code, {}
    if isinstance(error, drf.ValidationError):
        return 422, _invalid(_flatten(error.detail)), {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="prooftrail"'
    if wait := getattr(error, "wait", None):  # drf.Throttled
        headers["Retry-After"] = str(int(wait) + 1)
    code = str(getattr(error.detail, "code", None) or error.default_code)
    code = {"permission_denied": "forbidden", "unsupported_media_type": "media_type_unsupported"}.get(code, code)
    return status, body(status=status, code=code, title=str(error.default_detail), detail=str(error.detail)), headers


def _flatten(detail: Any, where: str = "$") -> list[dict[str, str]]:
    """Every message of a serializer with the path of its member."""
    if isinstance(detail, dict):
        return [
            row
            for name, value in detail.items()
            for row in _flatten(value, where if name == "non_field_errors" else where + _step(name))
        ]
    if isinstance(detail, list):
        if all(not isinstance(item, dict | list) for item in detail):
            return [_row(item, where) for item in detail]
        return [row for place, item in enumerate(detail) for row in _flatten(item, f"{where}[{place}]")]
    return [_row(detail, where)]


def _row(detail: Any, where: str) -> dict[str, str]:
    return {"where": where, "code": str(getattr(detail, "code", "invalid")), "detail": _in_json(str(detail))}


def _in_json(text: str) -> str:
    """Who sends JSON has no dictionaries and no str."""
    found = _PYTHON.search(text)
    if found is None:
        return text
    wanted, given = ("an object" if found["wanted"] == "dictionary" else "an array"), found["given"]
    return f"Send {wanted} here, not {_JSON.get(given, given)}."


def _step(name: str | int) -> str:
    return f"[{name}]" if isinstance(name, int) else f".{name}"


def _invalid(rows: list[dict[str, str]]) -> dict[str, Any]:
    """What a serializer refused; a member that there is not is the input's shape, as in the body of a record."""
    unknown = next((row for row in rows if row["code"] == strict.CODE), None)
    first = unknown or (rows[0] if rows else None)
    return body(
        status=422,
        code=strict.CODE if unknown else "invalid",
        title="Not acceptable",
        detail=f"{first['where']}: {first['detail']}" if first else "The input is not acceptable.",
        where=unknown["where"] if unknown else None,
        errors=rows,
    )


def method_not_allowed(request: HttpRequest, allowed: Sequence[str]) -> JsonResponse:
    """405, for plain views."""
    detail = f"Method {request.method} is not allowed here."
    document = body(status=405, code="method_not_allowed", title="Method not allowed", detail=detail)
    return JsonResponse(document, status=405, headers={"Allow": ", ".join(allowed)}, content_type=MEDIA_TYPE)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's handler400 for the API."""
    return respond(errors.InvalidError("The request is not acceptable.", code="bad_request"))


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's handler404 below /api/."""
    return respond(errors.MissingError(f"There is nothing at {request.path}. See /api/v1/docs.", code="not_found"))


def _unstorable() -> errors.InvalidError:
    return errors.InvalidError("The request holds what no text or number here can be, such as a NUL.", code="invalid")


def server_error(request: HttpRequest) -> JsonResponse:
    """Django's handler500: no detail leaves the server. A database that is away for a moment is no fault of ours, nor
    is what it says no value can be."""
    if isinstance(sys.exception(), DataError):
        return respond(_unstorable())
    if isinstance(sys.exception(), OperationalError | InterfaceError):
        leave_connection()
        return respond(
            errors.UnavailableError(
                "The database does not answer. Send the request again with the same Idempotency-Key.",
                code="database_unavailable",
                retry_after=2,
            )
        )
    return JsonResponse(unexpected(), status=500, content_type=MEDIA_TYPE)


def unexpected() -> dict[str, Any]:
    """What is said of a fault of ours."""
    return body(
        status=500,
        code="internal_error",
        title="Internal error",
        detail="The request failed on our side. Nothing of it is half-written; retry with the same Idempotency-Key.",
    )
