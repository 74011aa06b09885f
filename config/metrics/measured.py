"""Counts and times every request, in front of everything that answers one."""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from config.metrics.board import Board, route_of, status_of
from evidence.api import ratelimit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, bytes]
Reply = Callable[[int, bytes], None]


class Application(Protocol):
    """An ASGI application that takes requests as `config.web.protocol.Taker` does."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None: ...

    def refuse(self, target: bytes, credential: bytes, state: dict[str, Any]) -> Answer | None: ...

    def take(self, scope: Message, reply: Reply) -> Callable[[bytes], None] | None: ...


class Measured:
    """An ASGI application around another one. A request's time ends with the last byte of its answer."""

    def __init__(self, application: Application, folder: Path) -> None:
        self._application = application
        self._folder = folder
        self._board: Board | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        code = 0

        def noting(message: Message) -> Awaitable[None]:
            nonlocal code
            code = code or message.get("status", 0)
            return send(message)

        board, route, began = self._mine(), route_of(scope["method"], scope["path"]), perf_counter()
        board.begin(route)
        try:
            await self._application(scope, receive, noting)
        except Exception:
            code = code or 500  # as the server will say
            raise
        finally:
            self._end(board, route, code, began)

    def refuse(self, target: bytes, credential: bytes, state: dict[str, Any]) -> Answer | None:
        began = perf_counter()
        answer = self._application.refuse(target, credential, state)
        if answer is not None:
            board, route = self._mine(), _route_of("POST", target)
            board.begin(route)
            self._end(board, route, answer[0], began)
        return answer

    def take(self, scope: Message, reply: Reply) -> Callable[[bytes], None] | None:
        board, began, is_under_way = self._mine(), perf_counter(), False
        route = _route_of(scope["method"], scope["raw_path"])

        def begin() -> None:
            nonlocal is_under_way
            is_under_way = True
            board.begin(route)

        def end(status: int, rest: bytes) -> None:
            if not is_under_way:
                begin()
            self._end(board, route, status, began)
            reply(status, rest)

        taken = self._application.take(scope, end)
        if taken is None:
            return None

        def whole(body: bytes) -> None:
            begin()
            taken(body)

        return whole

    def _mine(self) -> Board:
        """Made by the first request: a process that is forked after loading has a file of its own."""
        self._board = self._board or Board.open(self._folder)
        return self._board

    def _end(self, board: Board, route: int, code: int, began: float) -> None:
        board.end(route, status_of(code), perf_counter() - began)
        counters = ratelimit.counters()
        board.note(counters.refused, counters.unanswered)


_RECORD = route_of("POST", "/api/v1/records")


def _route_of(method: str, target: bytes) -> int:
    path = target.partition(b"?")[0]
    if path == b"/api/v1/records" and method == "POST":  # most of what comes this way
        return _RECORD
    return route_of(method, path.decode("latin-1"))
