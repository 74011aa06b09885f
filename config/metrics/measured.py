"""Counts and times every request, in front of everything that answers one."""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from time import perf_counter
from typing import Any

from config.metrics.board import Board, route_of, status_of
from evidence.api import ratelimit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


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

        # Made by the first request: a process that is forked after loading has a file of its own.
        board = self._board = self._board or Board.open(self._folder)
        route, began = route_of(scope["method"], scope["path"]), perf_counter()
        board.begin(route)
        try:
            await self._application(scope, receive, noting)
        except Exception:
            code = code or 500  # as the server will say
            raise
        finally:
            board.end(route, status_of(code), perf_counter() - began)
            counters = ratelimit.counters()
            board.note(counters.refused, counters.unanswered)
