"""Talks to one process of the service as the web server does, without a network."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from config.direct import DirectWrites
from evidence.ledger import loop, wire
from tests.cast import Cast

DECISION = {"title": "t", "decision": "d", "rationale": "r"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        code: str | None = json.loads(self.body).get("code")
        return code

    @property
    def index(self) -> int:
        index: int = json.loads(self.body)["index"]
        return index


@dataclass(frozen=True)
class Ask:
    """One request; `headers` may name one twice."""

    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    path: str = "/api/v1/records"
    host: str = "testserver"
    query: str = ""
    #: Whether its head is read at the web server's door.
    is_plain: bool = True

    @property
    def target(self) -> bytes:
        return (f"{self.path}?{self.query}" if self.query else self.path).encode()

    @property
    def scope(self) -> dict[str, Any]:
        lines = [("host", self.host), ("content-length", str(len(self.body))), *self.headers]
        return {
            "type": "http",
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.target,
            "state": {},
            "query_string": self.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in lines],
        }


def django(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"Django's answer to ", environ["wsgi.input"].read()]


async def answered(
    application: DirectWrites, ask: Ask, receive: Callable[[], Awaitable[dict[str, Any]]] | None = None
) -> Answer:
    """As our server asks: whether the application refuses it at the door, or takes it, else by ASGI."""
    scope, told = ask.scope, asyncio.get_running_loop().create_future()
    credentials = [value for name, value in ask.headers if name == "authorization"]
    if ask.is_plain and ask.method == "POST" and len(credentials) == 1:
        refused = application.refuse(ask.target, credentials[0].encode(), scope["state"])
        if refused is not None:
            return _heard(*refused)
    whole = application.take(scope, lambda *answer: told.set_result(answer))
    if whole is not None:
        whole(ask.body)
    elif not told.done():
        return await answered_by_asgi(application, ask, receive, scope=scope)
    return _heard(*await told)


def _heard(status: int, rest: bytes) -> Answer:
    head, _, body = rest.partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode().split("\r\n"))
    return Answer(status, {name: value for name, _, value in lines}, body)


async def answered_by_asgi(
    application: DirectWrites,
    ask: Ask,
    receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    *,
    scope: dict[str, Any] | None = None,
) -> Answer:
    sent: list[Any] = []
    pieces = [ask.body[: len(ask.body) // 2], ask.body[len(ask.body) // 2 :]]

    async def in_pieces() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope or ask.scope, receive or in_pieces, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


Talk = Callable[[DirectWrites], Awaitable[list[Answer]]]


def serving(talk: Talk) -> list[Answer]:
    """What a client hears that talks to one process."""

    async def run() -> list[Answer]:
        return await talk(DirectWrites(django))

    try:
        return asyncio.run(run())
    finally:
        loop.stop()


async def warm(application: DirectWrites, cast: Cast) -> None:
    """Until the process remembers what it needs: its first look at the log may change what it is to remember."""
    for _ in range(2):
        assert (await answered(application, decide(cast))).status == 201


def one_by_one(*asks: Ask) -> list[Answer]:
    async def talk(application: DirectWrites) -> list[Answer]:
        return [await answered(application, ask) for ask in asks]

    return serving(talk)


def all_at_once(cast: Cast, *asks: Ask) -> list[Answer]:
    """Answers to requests that come at once."""

    async def talk(application: DirectWrites) -> list[Answer]:
        await warm(application, cast)
        return list(await asyncio.gather(*(answered(application, ask) for ask in asks)))

    return serving(talk)


def decide(cast: Cast, title: str = "t", *, key: str | None = None, token: str | None = None, **more: Any) -> Ask:
    body = {"kind": "decision", "body": DECISION | {"title": title}} | more
    headers = [("authorization", f"Bearer {token or cast.ci_token}"), ("content-type", "application/json")]
    return Ask(json.dumps(body).encode(), (*headers, *([("idempotency-key", key)] if key else [])))


def says(message: list[wire.Statement], word: bytes) -> bool:
    return any(word in (value or b"") for statement in message for value in statement.values)
