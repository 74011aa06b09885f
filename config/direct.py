"""The short way for machines that write one record after the other."""

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
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
from evidence.ledger import Placed, loop

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: Is given an answer's status, and what follows the status line.
Reply = Callable[[int, bytes], None]
#: Status, headers, body.
Answer = tuple[int, dict[str, str], bytes]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PATH = "/api/v1/records"
_RAW_PATH = PATH.encode()
#: In the scope's state: the verdict of `ratelimit.take_unseen`, or None.
_VERDICT = "prooftrail.verdict"
#: Threads of one process for Django, and how many of them writes may hold: reading goes on meanwhile.
THREADS, WRITING = 32, 28
#: What the middleware for browsers would add to an answer.
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class SenderGoneError(OSError):
    """The connection ended before the request did. Django knows it as an OSError of reading."""

    def __init__(self) -> None:
        super().__init__("The sender is gone.")


class DirectWrites:
    """An ASGI application that takes ``POST records`` straight to the ledger's writer on the event loop, and leaves the
    rest to Django in threads. From our own web server it takes most of them without a task for each (`take`).

    A write looks at the bearer token and nothing else. Sessions, CSRF, messages, static files and redirects are for
    browsers; passing through them and Django's signals took a third of a write's time, and its thread another
    (docs/performance.md). The host name is checked here as it is there, and an error is answered as there.
    """

    def __init__(self, application: Application) -> None:
        self._django = WSGIMiddleware(application, workers=THREADS)  # type: ignore[arg-type]  # its own words for the same
        self._writing = asyncio.Semaphore(WRITING)
        self._long: set[asyncio.Task[None]] = set()

    def refuse(self, target: bytes, credential: bytes, state: dict[str, Any]) -> tuple[int, bytes] | None:
        """`config.web.protocol.Taker`: a write whose sender's bucket is empty. What was found of the bucket is left in
        the state: a token is spent."""
        if target.partition(b"?")[0] != _RAW_PATH:
            return None
        verdict = state[_VERDICT] = ratelimit.take_unseen(credential.decode("latin-1"))
        return _refused(verdict.policy, verdict.reset) if verdict is not None and not verdict.allowed else None

    def take(self, scope: Scope, reply: Reply) -> Callable[[bytes], None] | None:
        """The same: a write of common size, or one whose sender's bucket is empty: that one is refused before its body
        is read."""
        path, _, query = scope["raw_path"].partition(b"?")
        if path != _RAW_PATH or scope["method"] != "POST":
            return None
        sender = _credential(scope)
        if _VERDICT not in scope["state"]:
            scope["state"][_VERDICT] = ratelimit.take_unseen(sender)
        verdict = scope["state"][_VERDICT]
        if verdict is not None and not verdict.allowed:
            reply(*_refused(verdict.policy, verdict.reset))
            return None
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit() or int(length) > posting.LARGE:
            return None
        scope.update(path=PATH, query_string=query)
        return _Write(self, scope, sender, verdict, lambda answer: reply(answer[0], _spelled(answer))).take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == PATH:
            with suppress(SenderGoneError):
                await self._write(scope, receive, send)
        else:
            await self._django(scope, _complete(receive), send)  # type: ignore[arg-type]  # as above

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender, known = _credential(scope), scope.get("state", {})
        verdict = known[_VERDICT] if _VERDICT in known else ratelimit.take_unseen(sender)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def tell(answer: Answer) -> None:
            if not answered.done():  # who asked may be gone
                answered.set_result(answer)

        write = _Write(self, scope, sender, verdict, tell)
        if write.enter():
            try:
                body = await _body(receive)
            except BaseException:
                write.leave()
                raise
            write.go(body)
        status, headers, body = await answered
        await send({"type": "http.response.start", "status": status, "headers": _lines(headers, body)})
        await send({"type": "http.response.body", "body": body})

    def go_the_long_way(self, work: Callable[[], Answer], tell: Callable[[Answer], None]) -> None:
        """Let a thread do the work, and tell its answer on the loop."""

        async def do() -> None:
            async with self._writing:
                tell(await asyncio.get_running_loop().run_in_executor(self._django.executor, work))

        task = asyncio.get_running_loop().create_task(do())
        self._long.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._long.discard)


class _Write:
    """One write, from where its head is known to its answer."""

    def __init__(
        self,
        direct: DirectWrites,
        scope: Scope,
        sender: str,
        verdict: ratelimit.Verdict | None,
        reply: Callable[[Answer], None],
    ) -> None:
        self._direct, self._scope, self._sender, self._verdict, self._reply = direct, scope, sender, verdict, reply
        self._places = admission.writes

    def take(self, body: bytes) -> None:
        if self.enter():
            self.go(body)

    def enter(self) -> bool:
        """Take a place; where there is none, or no token, that is the answer."""
        try:
            if self._verdict is not None:
                self._verdict.check()
            self._places.enter(self._sender)
        except ProoftrailError as refused:
            self._reply(_problem(refused))
            return False
        return True

    def leave(self) -> None:
        self._places.leave(self._sender)

    def go(self, body: bytes) -> None:
        """On from where it has a place."""
        self._body, self._limits = body, self._verdict.headers() if self._verdict is not None else {}
        self._sent = _sent(self._scope, body, self._limits)
        if self._sent is not None:
            posting.write_from_memory(self._sent, self._told)
        else:
            self._told(loop.TheLongWay())

    def _told(self, outcome: Placed | Exception) -> None:
        if isinstance(outcome, loop.TheLongWay):
            work = functools.partial(_in_thread, self._scope, self._body, self._sent, self._limits)
            self._direct.go_the_long_way(work, self._answer)
            return
        try:
            answer = self._answer_to(outcome)
        except Exception:  # our fault: whoever waits must hear of it
            logger.exception("an answer could not be made")
            answer = 500, {"Content-Type": problem.MEDIA_TYPE}, json.dumps(problem.unexpected()).encode()
        self._answer(answer)

    def _answer_to(self, outcome: Placed | Exception) -> Answer:
        if isinstance(outcome, Placed) and self._sent is not None:
            return posting.receipt(self._sent, outcome)
        if isinstance(outcome, ProoftrailError):
            return _problem(outcome)
        raise TypeError(outcome)

    def _answer(self, answer: Answer) -> None:
        self.leave()
        if answer[0] in {401, 403}:
            ratelimit.disbelieve(self._sender)
        self._reply(answer)


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


def _credential(scope: Scope) -> str:
    """What is sent as Authorization; empty where that is nothing, or comes twice."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return found[0].decode("latin-1") if len(found) == 1 else ""


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


def _complete(receive: Receive) -> Receive:
    """A request that ends before its end is an error where it is read, not a shorter one."""

    async def received() -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise SenderGoneError
        return message

    return received


async def _body(receive: Receive) -> bytes:
    """The request's body, or as much of it as shows that it is too large."""
    receive = _complete(receive)
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
def _refused(policy: ratelimit.Policy, reset: int) -> tuple[int, bytes]:
    """Made once: who is refused is answered thousands of times a second."""
    answer = _problem(ratelimit.RateLimitedError(ratelimit.Verdict(False, policy, 0, reset)))
    return answer[0], _spelled(answer)


def _spelled(answer: Answer) -> bytes:
    """As it follows the status line."""
    _, headers, body = answer
    return b"".join([*(b"%s: %s\r\n" % line for line in _lines(headers, body)), b"\r\n", body])


def _lines(headers: Mapping[str, str], body: bytes) -> list[tuple[bytes, bytes]]:
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return [*lines, *_HEADERS, (b"content-length", b"%d" % len(body))]
