"""HTTP as uvicorn speaks it, with an end to what a client may send, and a short way for short requests.

uvicorn (0.54) bounds neither a request's head nor how long a client may take to send or to read: that is a proxy's
work, and not everybody has one. And for each request it makes a task, an event and messages to and fro. That is more
work than to refuse one whose sender's token bucket is empty, and an overload is many of those; and each of them waits
for a turn of the loop, which is what a record waits for when the loop has much to do (docs/performance.md).
"""

import functools
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from config.api import problem
from config.web import door

#: Bytes of a request's line and headers.
MAX_HEAD = 64 * 1024
#: Bytes of a body that may come after its request was answered: a client that sends first and reads then is to read it.
MAX_UNREAD = 8 * 1024 * 1024
#: Seconds a client has to send a request, and bytes of its body that earn another one; also to read more of an answer.
PATIENCE, EARNING = 30.0, 1024
#: Seconds a connection may be idle after an answer: longer than proxies keep theirs, so that they are who ends it.
KEEP_ALIVE = 75
#: Seconds for what is under way when the server is told to stop.
GRACE = 10
#: Seconds in which a client that was told what is wrong may read it, before it is hung up on.
_FAREWELL = 2.0


#: An answer's status, and what follows the status line.
Answer = tuple[int, bytes]
#: Is given the same.
Reply = Callable[[int, bytes], None]


class Taker(Protocol):
    """What an application may do besides answering by ASGI."""

    def refuse(self, target: bytes, credential: bytes, state: dict[str, Any]) -> Answer | None:
        """The answer to a POST that is refused by its target (path and query) and what it sends as Authorization; None
        where more is to be looked at. Then what was found out may be left in `state`, and is in the scope's."""

    def take(self, scope: dict[str, Any], reply: Reply) -> Callable[[bytes], None] | None:
        """Look at a request whose head was read. Either give its answer to `reply`, if it needs no more than its head
        to be refused; or answer with a function that is to be given its body, and that sees to it that `reply` is
        called, then or later, on the loop; or neither, and it goes the common way.

        `scope` has ``method``, ``raw_path`` (all of the target) and ``headers``; its ``state`` may be written to.
        """


def configuration(application: Taker, *, keep_alive: float = KEEP_ALIVE) -> uvicorn.Config:
    """uvicorn's, for the protocol of this module. What a proxy says of the client is Django's to judge."""
    return uvicorn.Config(
        cast(Any, application),
        http=HttpProtocol,
        ws="none",
        loop="uvloop",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=cast(int, keep_alive),  # seconds of `call_later`
        timeout_graceful_shutdown=GRACE,
    )


class _Exchange:
    """A request that was taken, where uvicorn has its own RequestResponseCycle."""

    def __init__(self, protocol: "HttpProtocol") -> None:
        self._protocol = protocol
        #: To be given the body; and then let go of, since it holds `reply`: of cycles the collector would have to take
        #: care, who stops everybody meanwhile.
        self.whole: Callable[[bytes], None] | None = None
        self.body, self.is_read = b"", False
        # What uvicorn looks at, and sets.
        self.response_started = self.response_complete = self.disconnected = False
        self.keep_alive = True
        self.message_event = _NOBODY

    def reply(self, status: int, rest: bytes) -> None:
        self.whole = None
        if self.response_complete or self.disconnected:
            return
        self.response_started = self.response_complete = True
        self._protocol.send_answer(status, rest, last=not self.keep_alive)
        if self.is_read:
            self._protocol.go_on()

    def read(self) -> None:
        """All of it was."""
        self.is_read = True
        whole, self.whole = self.whole, None
        if self.response_complete:
            self._protocol.go_on()
        elif whole is not None:
            whole(self.body)


@functools.lru_cache(maxsize=8)
def _spelled(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join(b"%s: %s\r\n" % line for line in headers)


class _Nobody:
    """Waits for a body's pieces."""

    def set(self) -> None:
        pass


_NOBODY = _Nobody()


class HttpProtocol(HttpToolsProtocol):
    """For an application that is a `Taker`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taker = cast(Taker, self.app)
        #: Since when (the loop's time) the client is expected to send; None while it is our turn.
        self._since: float | None = None
        #: Bytes of a head: as they came, since the piece in which it began, and of what is known of it; of a body.
        self._raw = self._head = self._body = 0
        self._in_head, self._has_begun = True, False
        #: Bytes to come of a body that was refused at the door; and what was found out there of a request that was not.
        self._unread, self._found = 0, dict[str, Any]()
        #: That it was told what is wrong with what it sends, and only what it reads is waited for.
        self._refused = False
        #: Since when nothing has come after an answer to what was taken.
        self._idle_since: float | None = None
        #: Since when it reads nothing of what it was sent.
        self._unread_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()

    # -- what is received ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._idle_since = None
        self._unset_keepalive_if_required()
        data = self._behind_the_door(data)
        if not data:
            return
        self._raw += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._in_head and self._raw > MAX_HEAD:
            self._refuse_head()

    def _behind_the_door(self, data: bytes) -> bytes:
        """What is left of it for the parser, which has never heard of requests that are refused at the door."""
        while data:
            if not self._unread:
                request = door.plain(data) if self._may_begin() else None
                if request is None or not self._is_refused(request):
                    return data
                data, self._unread, self._body = data[request.head :], request.length, 0
            passed = min(len(data), self._unread)
            data, self._unread, self._body = data[passed:], self._unread - passed, self._body + passed
            if self._unread:
                self._since = self._since or self.loop.time()
            else:
                self._since, self._idle_since = None, self.loop.time()
        return data

    def _may_begin(self) -> bool:
        """Whether what comes begins a request, and it may be answered now."""
        return not self._has_begun and self._is_next()

    def _is_refused(self, request: door.Plain) -> bool:
        """At the door; and then it is answered."""
        self._found = {}
        if request.head > MAX_HEAD or request.length > MAX_UNREAD:
            return False
        try:
            answer = self._taker.refuse(request.target, request.credential, self._found)
        except Exception:
            self.logger.exception("a request could not be looked at")
            return False
        if answer is not None:
            self.send_answer(*answer, last=False)
        return answer is not None

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser leaves all that follows to another protocol. We have none, and answer as if nothing had been
            # said of it (RFC 9110, 7.8): read once more without that, body included.
            head = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url), b"connection: close"]
            head += [b"%s: %s" % line for line in self.headers if line[0] not in (b"connection", b"upgrade")]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"\r\n".join([*head, b"", data[upgrade.args[0] :]]))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"].update(self._found)
        self._found = {}
        self._since, self._in_head, self._has_begun = self.loop.time(), True, True
        self._raw = self._head = self._body = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head += len(url)
        if self._head > MAX_HEAD:
            raise ValueError("The head is too large.")  # ends the parser, and is answered by `send_400_response`

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > MAX_HEAD:
            raise ValueError("The head is too large.")  # as above
        if b"_" not in name:  # WSGI would take X_Forwarded_Proto for X-Forwarded-Proto
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("This is no proxy.")  # as in `on_url`
        if self.parser.should_upgrade():
            return  # for `_feed`
        self._in_head = False
        if not (self._may_be_taken() and self._was_taken()):
            super().on_headers_complete()

    def _may_be_taken(self) -> bool:
        """Whether it may be answered now, and the connection go on after it."""
        goes_on = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        return self._is_next() and goes_on and not self.expect_100_continue

    def _is_next(self) -> bool:
        """Whether nothing is under way that would have to be answered, or read, before."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _was_taken(self) -> bool:
        exchange, scope = _Exchange(self), cast(dict[str, Any], self.scope)
        scope |= {"method": self.parser.get_method().decode("ascii"), "raw_path": self.url}
        try:
            exchange.whole = self._taker.take(scope, exchange.reply)
        except Exception:  # not the sender's fault, as the parser would have it
            self.logger.exception("a request could not be taken")
        if exchange.whole is None and not exchange.response_complete:
            return False
        self.cycle = cast(Any, exchange)
        return True

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self.cycle.response_complete and self._body > MAX_UNREAD:
            self.transport.close()  # it was answered, and sends on
        elif not isinstance(self.cycle, _Exchange):
            super().on_body(body)
        elif not self.cycle.response_complete:
            self.cycle.body += body

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # as above
        self._since, self._has_begun = None, False
        if not isinstance(self.cycle, _Exchange):
            super().on_message_complete()
            return
        try:
            self.cycle.read()
        except Exception:  # as above
            self.logger.exception("a request that was taken could not be answered")
            self.transport.abort()

    def send_answer(self, status: int, rest: bytes, *, last: bool) -> None:
        """`rest`: headers, but the server's own, and body. With the `last` one the connection ends."""
        closing = (b"connection: close\r\n",) if last else ()
        self.transport.write(b"".join((STATUS_LINE[status], self._own_headers(), *closing, rest)))
        if last:
            self.transport.close()

    def go_on(self) -> None:
        """What `on_response_complete` does, without a timer for each request that is answered at once."""
        if self.pipeline:
            self.on_response_complete()
        else:
            self._idle_since = self.loop.time()

    # -- what is refused -----------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        if self._head > MAX_HEAD:
            self._refuse_head()
        else:
            self._refuse(400, "bad_request", msg)

    def _refuse_head(self) -> None:
        self._refuse(431, "head_too_large", f"A request's line and headers take {MAX_HEAD // 1024} KiB at most.")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Say what is wrong, unless an answer is under way or due before this one, and hang up."""
        if self._refused or self.transport.is_closing():
            return
        self._refused, awaited = True, self.cycle is not None and not self.cycle.response_complete
        if awaited and (self._in_head or self.cycle.response_started):
            self.transport.close()
            return
        document = problem.body(status=status, code=code, title=HTTPStatus(status).phrase, detail=detail)
        body = json.dumps(document).encode()
        head = f"content-type: {problem.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.send_answer(status, head.encode() + body, last=False)
        # Closed at once, with something unread, the client might be told of that in place of what is wrong.
        self.transport.write_eof()
        self.loop.call_later(_FAREWELL, self.transport.close)

    def _own_headers(self) -> bytes:
        """The server's: the date."""
        return _spelled(tuple(self.server_state.default_headers))

    # -- who takes too long --------------------------------------------------------------------------------------------

    def end_if_stuck(self, now: float) -> None:
        """Hang up on a client that takes too long to send, or to read. To be called every second or so."""
        if not self.flow.write_paused and not self.transport.is_closing():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > PATIENCE:
            self.transport.abort()
        if self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()
        if self._since is None or self._refused:
            return
        if self.flow.read_paused:  # it is us who do not read
            self._since = now
        elif now - self._since > PATIENCE + self._body / EARNING:
            if self._has_begun:
                self._refuse(408, "request_timeout", f"The request was not complete after {PATIENCE:.0f} s and more.")
            else:
                self.transport.close()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()
