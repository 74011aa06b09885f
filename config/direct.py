"""The short way for machines that write one record after the other."""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from io import BytesIO
from typing import Any

from a2wsgi import WSGIMiddleware
from a2wsgi.wsgi import build_environ
from django.conf import settings
from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.http.request import split_domain_port, validate_host

from config.api import problem
from config.errors import ProoftrailError
from evidence.api import admission, posting, ratelimit
from evidence.ledger import loop

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: Status, headers, body.
Answer = tuple[int, dict[str, str], bytes]
#: The same, as it is sent.
Messages = tuple[MutableMapping[str, Any], MutableMapping[str, Any]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PATH = "/api/v1/records"
#: Threads of one process for Django, and how many of them writes may hold: reading goes on meanwhile.
THREADS, WRITING = 32, 28
#: What the middleware for browsers would add to an answer.
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class DirectWrites:
    """An ASGI application that takes ``POST records`` straight to the ledger's writer on the event loop, and leaves the
    rest to Django in threads.

    A write looks at the bearer token and nothing else. Sessions, CSRF, messages, static files and redirects are for
    browsers; passing through them and Django's signals took a third of a write's time, and its thread another
    (docs/performance.md). The host name is checked here as it is there, and an error is answered as there.
    """

    def __init__(self, application: Application) -> None:
        self._django = WSGIMiddleware(application, workers=THREADS)  # type: ignore[arg-type]  # its own words for the same
        self._writing = asyncio.Semaphore(WRITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == PATH:
            await self._write(scope, receive, send)
            return

        async def received() -> MutableMapping[str, Any]:
            return await receive()  # a coroutine, as a2wsgi wants it; Granian's own is another awaitable

        await self._django(scope, received, send)  # type: ignore[arg-type]  # as above

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = _credential(scope).decode("latin-1")
        verdict = ratelimit.take_unseen(sender)
        if verdict is not None and not verdict.allowed:
            messages = _refused(verdict.policy, verdict.reset)
        else:
            try:
                with admission.writes.one(sender):
                    limits = verdict.headers() if verdict is not None else {}
                    answer = await self._answer(scope, await _body(receive), limits)
            except ProoftrailError as refused:
                answer = _problem(refused)
            if answer[0] in {401, 403}:
                ratelimit.disbelieve(sender)
            messages = _messages(*answer)
        for message in messages:
            await send(message)

    async def _answer(self, scope: Scope, body: bytes, limits: dict[str, str]) -> Answer:
        sent = _sent(scope, body, limits)
        try:
            if sent is not None:
                return posting.receipt(sent, await posting.write_from_memory(sent))
        except loop.TheLongWay:
            pass
        async with self._writing:
            running = asyncio.get_running_loop()
            return await running.run_in_executor(self._django.executor, _in_thread, scope, body, sent, limits)


def _in_thread(scope: Scope, body: bytes, sent: posting.Sent | None, limits: dict[str, str]) -> Answer:
    """As Django's own handler would call the view."""
    environ = build_environ(scope, BytesIO(body))  # type: ignore[arg-type]  # all that Django reads of it is read()
    request = WSGIRequest({**environ, "CONTENT_LENGTH": str(len(body))})
    try:
        request.get_host()
        response = posting.answer(request, sent, limits)
    except Exception as error:
        response = response_for_exception(request, error)
    finally:
        if connection.connection is not None:
            connection.close()
    return response.status_code, dict(response.headers), response.content


def _credential(scope: Scope) -> bytes:
    """What is sent as Authorization; empty where that is nothing, or comes twice."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return found[0] if len(found) == 1 else b""


def _sent(scope: Scope, body: bytes, limits: dict[str, str]) -> posting.Sent | None:
    """None for what Django is to look at: an unknown host, a header that comes twice, too large a body."""
    headers = dict(scope["headers"])
    repeated, too_large = len(headers) != len(scope["headers"]), len(body) > settings.MAX_BODY_BYTES
    if repeated or too_large or not _is_ours(headers.get(b"host", b"")):
        return None
    key = headers.get(b"idempotency-key")
    return posting.Sent(
        authorization=headers.get(b"authorization", b"").decode("latin-1"),
        media_type=headers.get(b"content-type", b"").decode("latin-1"),
        key=key.decode("latin-1") if key is not None else None,
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        body=body,
        limits=limits,
    )


@functools.lru_cache(maxsize=64)
def _is_ours(host: bytes) -> bool:
    domain, _ = split_domain_port(host.decode("latin-1"))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


async def _body(receive: Receive) -> bytes:
    """The request's body, or as much of it as shows that it is too large."""
    body, more = b"", True
    while more and len(body) <= settings.MAX_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _problem(refused: ProoftrailError) -> Answer:
    status, document, headers = problem.describe(refused)
    return status, {"Content-Type": problem.MEDIA_TYPE, **headers}, json.dumps(document).encode()


@functools.lru_cache(maxsize=1024)
def _refused(policy: ratelimit.Policy, reset: int) -> Messages:
    """Made once: who is refused is answered thousands of times a second."""
    return _messages(*_problem(ratelimit.RateLimitedError(ratelimit.Verdict(False, policy, 0, reset))))


def _messages(status: int, headers: Mapping[str, str], body: bytes) -> Messages:
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    lines += [*_HEADERS, (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": status, "headers": lines}
    return start, {"type": "http.response.body", "body": body}
