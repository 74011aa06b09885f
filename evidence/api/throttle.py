"""The rate limits of all calls but `POST records`, as DRF and Django ask for them (R4.2; `ratelimit.py`)."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from evidence.api import ratelimit


class Throttle(BaseThrottle):
    """DRF's side of it: all calls but `POST records` and its batch, which take their tokens themselves."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Raises UnavailableError ``rate_limited``: its answer says what DRF's would not."""
        uid = getattr(request.user, "uid", None)
        # Who has no identity (a public log) shares a bucket with all who come from there.
        who = uid or f"address:{request.META.get('REMOTE_ADDR', '')}"
        verdict = ratelimit.take(who, name="calls" if uid else "anonymous")
        request._request.rate_limit = verdict  # type: ignore[attr-defined]  # read by `RateLimitHeaders`
        verdict.check()
        return True


class RateLimitHeaders:
    """Middleware: tells each caller of the API what is left."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        verdict: ratelimit.Verdict | None = getattr(request, "rate_limit", None)
        if verdict is not None:
            for name, value in verdict.headers().items():
                response[name] = value
        return response
