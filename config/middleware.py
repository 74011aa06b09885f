"""The short way for machines that write."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase

Answer = Callable[[HttpRequest], HttpResponseBase]

#: What the browser-facing middleware would add to an answer.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class DirectWrites:
    """POSTs of records go straight to their view, which looks at the bearer token and nothing else.

    Sessions, CSRF, messages, static files and redirects are for browsers; passing through them took a third of a
    write's time (docs/performance.md). The host name is checked here as it is there.
    """

    def __init__(self, get_response: Answer) -> None:
        from evidence.api import batch, records  # when the applications are loaded

        self._get_response = get_response
        self._views: dict[str, Callable[[Any], HttpResponseBase]] = {
            "/api/v1/records": records.collection,
            "/api/v1/records/batch": batch.records_batch,
        }

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        view = self._views.get(request.path_info) if request.method == "POST" else None
        if view is None:
            return self._get_response(request)
        request.get_host()
        response = view(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if isinstance(response, HttpResponse):  # one that streams has no length beforehand
            response.headers["Content-Length"] = str(len(response.content))
        return response
