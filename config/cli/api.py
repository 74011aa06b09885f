"""HTTP to the service and to presigned URLs, with retries that cannot write twice."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from config.cli import environment, output, profile
from config.cli.errors import CommandError, ExitCode
from config.cli.problems import refusal
from config.cli.profile import Server

_RETRIED = {429, 502, 503, 504}
_AGENT = "prooftrail-cli"
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 30.0
_TIMEOUT = httpx.Timeout(60, connect=10)


@dataclass(frozen=True)
class Answer:
    """A successful answer: its bytes as sent, and what they mean."""

    status: int
    raw: bytes
    data: Any
    replayed: bool = False


def segment(value: str) -> str:
    """``value`` as one segment of a path."""
    return quote(value, safe=":")


class Api:
    """The service. Each write carries an idempotency key of its own, which its retries repeat."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._headers = {"User-Agent": _AGENT, "Accept": "application/json"}
        if server.token:
            self._headers["Authorization"] = f"Bearer {server.token}"

    @classmethod
    def current(cls) -> Self:
        server = profile.current()
        if server.token and server.sends_in_clear:
            output.warn(f"The token goes to {server.url} unencrypted; use https.")
        return cls(server)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._answer("GET", path, params=params).data

    def pages(self, path: str, params: Mapping[str, Any], *, follow: bool) -> Iterator[Any]:
        """The results of a cursor list; of all its pages if ``follow``."""
        page = self.get(path, params)
        while True:
            yield from page["results"]
            if not (follow and page.get("next")):
                return
            # The query alone: the token goes to the server it is meant for, whatever host the link names.
            page = self.get(f"{path}?{urlsplit(page['next']).query}")

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None) -> Answer:
        return self._answer("POST", path, json=dict(body or {}), headers=_key(key))

    def post_bytes(
        self, path: str, content: bytes, *, content_type: str, params: Mapping[str, str], key: str | None = None
    ) -> Answer:
        headers = {"Content-Type": content_type} | _key(key)
        return self._answer("POST", path, content=content, params=params, headers=headers)

    def post_form(self, path: str, form: Mapping[str, str], *, file: tuple[str, bytes]) -> Answer:
        """A multipart form with one file."""
        return self._answer("POST", path, data=dict(form), files={"file": file})

    def get_bytes(self, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        """What is no JSON, as it is."""
        return self._response("GET", path, params=params).content

    def _answer(self, method: str, path: str, **options: Any) -> Answer:
        response = self._response(method, path, **options)
        try:
            data = response.json()
        except ValueError as error:
            raise CommandError(
                f"{response.url} did not answer JSON",
                code=ExitCode.SERVER,
                advice="Check that PROOFTRAIL_URL names a Prooftrail server.",
            ) from error
        replayed = response.headers.get("Idempotency-Replayed") == "true"
        return Answer(response.status_code, response.content, data, replayed)

    def _response(self, method: str, path: str, **options: Any) -> httpx.Response:
        base = f"{self.server.url}/api/v1/"
        with httpx.Client(base_url=base, headers=self._headers, timeout=_TIMEOUT) as client:
            response = send(client, lambda: client.build_request(method, path, **options))
        if not response.is_success:
            raise refusal(response)
        return response


def _key(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def send(client: httpx.Client, build: Callable[[], httpx.Request]) -> httpx.Response:
    """Send a request, built anew for each try, until it is answered or the tries are used up."""
    left = environment.retries()
    wait = _FIRST_WAIT
    while True:
        try:
            response = client.send(build())
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise CommandError(f"The request cannot be sent: {error}", code=ExitCode.USAGE) from error
        except httpx.TransportError as error:
            if not left:
                raise _unreachable(error) from error
            trouble, pause = _reason(error), wait
        else:
            if response.status_code not in _RETRIED or not left:
                return response
            trouble, pause = f"the server answered {response.status_code}", _retry_after(response, wait)
        output.note(f"{trouble}; trying again in {pause:g} s")
        time.sleep(pause)
        left, wait = left - 1, min(wait * 2, _LONGEST_WAIT)


@contextmanager
def presigned() -> Iterator[httpx.Client]:
    """A client for presigned URLs, which must not see the token."""
    with httpx.Client(headers={"User-Agent": _AGENT}, timeout=_TIMEOUT) as client:
        yield client


def _retry_after(response: httpx.Response, default: float) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_WAIT) if value.isascii() and value.isdigit() else default


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _unreachable(error: httpx.TransportError) -> CommandError:
    # The request is known: every error here comes out of `send`. Its query may be a secret (presigned URLs).
    return CommandError(
        f"No answer from {error.request.url.copy_with(query=None)}: {_reason(error)}",
        code=ExitCode.SERVER,
        advice="Check PROOFTRAIL_URL and the network; running the command again is safe.",
    )
