"""``GET /metrics``, for whoever holds METRICS_TOKEN."""

import hashlib
import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.api import problem
from config.errors import InvalidError, ProoftrailError
from config.metrics.exposition import CONTENT_TYPE, exposed
from config.metrics.families import families
from evidence.api import ratelimit
from evidence.api.authentication import bearer


def metrics(request: HttpRequest) -> HttpResponse:
    """Closed by default: without the setting METRICS_TOKEN to nobody, and to no address for its own sake (R4.6).

    A token of the database would do as well, but not while the database is away, when these numbers are wanted most.
    """
    if request.method not in ("GET", "HEAD"):
        return problem.method_not_allowed(request, ["GET", "HEAD"])
    try:
        _authenticate(request)
    except ProoftrailError as error:
        return problem.respond(error)
    return HttpResponse(
        exposed(families(settings.METRICS_DIR)), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"}
    )


def _authenticate(request: HttpRequest) -> None:
    """Raises InvalidError (401), or ``rate_limited`` (429) for who guesses on."""
    text = bearer(request) or ""
    if settings.METRICS_TOKEN and hmac.compare_digest(_digest(text), _digest(settings.METRICS_TOKEN)):
        return
    ratelimit.take(f"address:{request.META.get('REMOTE_ADDR', '')}", name="anonymous").check()
    if not text:
        raise InvalidError("Send 'Authorization: Bearer' with the service's METRICS_TOKEN.", code="not_authenticated")
    raise InvalidError("This is not the service's METRICS_TOKEN.", code="token_invalid")


def _digest(text: str) -> bytes:
    """Of equal length, whatever was sent."""
    return hashlib.sha256(text.encode()).digest()
