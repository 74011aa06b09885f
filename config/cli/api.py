"""HTTP to the service, with retries that cannot write twice."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from config.cli import output, profile, sessions
from config.cli.errors import CommandError, ExitCode
from config.cli.problems import refusal
from config.cli.profile import Server
from config.cli.transport import AGENT, TIMEOUT, send


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
        """A CI job's session is renewed before it ends, and once where the server says that it has."""
        if sessions.is_ending(self.server):
            self._renew()
        response = self._sent(method, path, **options)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._renew():
            response = self._sent(method, path, **options)
        if not response.is_success:
            raise refusal(response)
        return response

    def _sent(self, method: str, path: str, **options: Any) -> httpx.Response:
        base = f"{self.server.url}/api/v1/"
        headers = {"User-Agent": AGENT, "Accept": "application/json"}
        if self.server.token:
            headers["Authorization"] = f"Bearer {self.server.token}"
        with httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT) as client:
            return send(client, lambda: client.build_request(method, path, **options))

    def _renew(self) -> bool:
        """Whether there is a new access token to go on with."""
        if not sessions.is_renewable(self.server):
            return False
        try:
            self.server = sessions.renewed(Api(Server(self.server.url)), self.server)
        except CommandError as error:  # the old one may hold yet, or the server says that it does not
            output.note(f"The session was not renewed: {error}")
            return False
        return True


def _key(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}
