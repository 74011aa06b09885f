"""A forward proxy on loopback that changes one thing in the answers which pass through it.

Programs find it through ``HTTP_PROXY``: all their addresses stay what they were, so nothing but the change differs.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "accept-encoding"}


@dataclass
class Answer:
    """What came back for a request, to be changed in place."""

    method: str
    url: SplitResult
    status: int
    content: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.content)

    @data.setter
    def data(self, data: object) -> None:
        self.content = json.dumps(data).encode()


Change = Callable[[Answer], None]


class Meddler(ThreadingHTTPServer):
    """The proxy; counts the answers it ``passed`` on, and those that it ``changed``."""

    def __init__(self, change: Change) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.change = change
        self.passed = self.changed = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def meddling(change: Change) -> Iterator[Meddler]:
    """A proxy that serves until the block ends."""
    with Meddler(change) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Meddler

    def _pass_on(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, headers, content = self._ask(url, body)
        except OSError as error:
            self.send_error(502, str(error))
            return
        answer = Answer(self.command, url, status, content)
        self.server.change(answer)
        self.server.passed += 1
        self.server.changed += (answer.status, answer.content) != (status, content)
        self._answer(answer, headers)

    def _ask(self, url: SplitResult, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection = HTTPConnection(url.hostname or "", url.port or 80, timeout=60)
        try:
            target = urlunsplit(("", "", url.path or "/", url.query, ""))
            connection.request(self.command, target, body or None, headers | {"Accept-Encoding": "identity"})
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, answer: Answer, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(answer.status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP and (self.command == "HEAD" or name.lower() != "content-length"):
                self.send_header(name, value)
        if self.command != "HEAD" and answer.status != 204:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 -- the names http.server calls

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the play's own words tell what happened."""
