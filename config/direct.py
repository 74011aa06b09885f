"""The short way for machines that write one record after the other."""

from collections.abc import Callable, Iterable
from typing import Any

from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.http import HttpResponse

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PATH = "/api/v1/records"
#: What the middleware for browsers would add to an answer.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class DirectWrites:
    """A WSGI application that takes ``POST records`` straight to its view and leaves the rest to Django's own.

    The view looks at the bearer token and nothing else. Sessions, CSRF, messages, static files and redirects are for
    browsers; passing through them and Django's signals took a third of a write's time (docs/performance.md). The host
    name is checked here as it is there, and an error is answered as there.
    """

    def __init__(self, application: Application) -> None:
        from evidence.api.records import collection  # when the applications are loaded

        self._application = application
        self._view = collection

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" or environ["PATH_INFO"] != PATH:
            return self._application(environ, start_response)
        response = self._respond(WSGIRequest(environ))
        headers = {**response.headers, **HEADERS, "Content-Length": str(len(response.content))}
        start_response(f"{response.status_code} {response.reason_phrase}", list(headers.items()))
        return [response.content]

    def _respond(self, request: WSGIRequest) -> HttpResponse:
        try:
            request.get_host()
            return self._view(request)
        except Exception as error:
            response: HttpResponse = response_for_exception(request, error)
            return response
        finally:
            if connection.connection is not None:
                connection.close()
