"""The load generator: prepared requests over kept-alive connections, nothing made or parsed but what must be.

It shares the machine with the server and the database it measures, so it is one thread around one selector:
about 20 µs for a request. A write counts when the server acknowledged it; its latency runs from its first
sending to the acknowledgement, so one that was refused (503) and sent again after Retry-After bears its wait.
"""

import gc
import heapq
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

_OK, _CREATED, _BUSY = 200, 201, 503
_HEAD_END = b"\r\n\r\n"
_SECOND = 1_000_000_000
_PATIENCE = 60.0


class LoadError(Exception):
    """The server cannot be measured: it is away, or answers with something else."""


@dataclass
class Result:
    """What one run saw. `latencies` are nanoseconds, one for each acknowledged write."""

    connections: int
    #: How long new writes were started, and how many were acknowledged by then: what is refused at the end is waited
    #: for, and must not count against those that were not.
    seconds: float = 0.0
    in_time: int = 0
    latencies: list[int] = field(default_factory=list)
    #: Answers 503; each of these writes was sent again.
    refused: int = 0
    #: Connections that the server closed in the middle of a write; each of these was sent again.
    lost: int = 0
    #: Every n-th acknowledgement: the number of its request, and the body of the answer.
    samples: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Acknowledged writes a second."""
        return self.in_time / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Exact: the smallest latency that `percent` of the writes did not exceed."""
        return percentile(self.latencies, percent) / 1e6


def percentile(values: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile of `values`, 0 of none."""
    if not values:
        return 0
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(int(rank), 1) - 1]


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of one request."""
    lines = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def get(path: str, headers: Mapping[str, str]) -> bytes:
    """The bytes of one request without a body."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", **headers}.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def drive(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, sample_every: int = 0) -> Result:
    """Send `requests`, each once, over `connections` for about `seconds`; return when the last one is answered.

    A POST is acknowledged by 201, a GET by 200. Raises LoadError on any other answer but 503.
    """
    with undisturbed():
        return _Run(port, requests, connections, seconds, sample_every).finish()


@contextmanager
def undisturbed() -> Iterator[None]:
    """The garbage collector would walk over all requests again and again."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Connection:
    """One connection with at most one write under way."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.number = -1
        self.began = 0
        self.buffer = b""
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        try:
            opened = socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)
        except OSError as error:
            raise LoadError(f"Nothing answers at port {self.port}: {error}") from error
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def reconnect(self) -> None:
        self.socket.close()
        self.socket, self.buffer = self._connect(), b""

    #: What was found out of heads of refusals: those of one second have the same one.
    _heads: ClassVar[dict[bytes, tuple[int, bytes, int]]] = {}

    def receive(self) -> tuple[int, bytes, bytes] | None:
        """Status, head and body once the answer is whole, None before. Raises ConnectionError."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionResetError("closed by the server")
        self.buffer += data
        end = self.buffer.find(_HEAD_END)
        if end < 0:
            return None
        sent = self.buffer[:end]
        known = self._heads.get(sent)
        if known is None:
            head = sent.lower()
            known = int(head[9:12]), head, end + len(_HEAD_END) + int(header(head, b"content-length") or 0)
            if known[0] not in (_OK, _CREATED) and len(self._heads) < 10_000:
                self._heads[sent] = known
        status, head, whole = known
        if len(self.buffer) < whole:
            return None
        body, self.buffer = self.buffer[end + len(_HEAD_END) : whole], b""
        return status, head, body


def header(head: bytes, name: bytes) -> bytes | None:
    """A header's value in a lower-case head."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].strip()


class _Run:
    def __init__(
        self, port: int, requests: Sequence[bytes], connections: int, seconds: float, sample_every: int
    ) -> None:
        self.requests = requests
        self.waiting = deque(range(len(requests)))
        self.sample_every = sample_every
        self.result = Result(connections)
        self.selector = selectors.DefaultSelector()
        self.open = [Connection(port) for _ in range(connections)]
        #: Refused writes: when they may be sent again, and on which connection.
        self.later: list[tuple[int, int, Connection]] = []
        self.under_way = 0
        self.seconds = seconds

    def finish(self) -> Result:
        try:
            began = time.perf_counter_ns()
            self.end = began + int(self.seconds * _SECOND)
            for connection in self.open:
                self.selector.register(connection.socket, selectors.EVENT_READ, connection)
                self._next(connection)
            while self.under_way:
                self._turn()
            self.result.seconds = min((time.perf_counter_ns() - began) / _SECOND, self.seconds)
            return self.result
        finally:
            self.selector.close()
            for connection in self.open:
                connection.socket.close()

    def _turn(self) -> None:
        now = time.perf_counter_ns()
        while self.later and self.later[0][0] <= now:
            self._send(heapq.heappop(self.later)[2])
        pause = max(self.later[0][0] - now, 0) / _SECOND if self.later else _PATIENCE
        ready = self.selector.select(pause)
        if not ready and not self.later:
            raise LoadError(f"{self.under_way} writes got no answer within {_PATIENCE:.0f} s.")
        for key, _ in ready:
            self._read(key.data)

    def _next(self, connection: Connection) -> None:
        """Start the next write on a connection, unless time is up or nothing is left."""
        now = time.perf_counter_ns()
        if not self.waiting or now >= self.end:
            return
        connection.number, connection.began = self.waiting.popleft(), now
        self.under_way += 1
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        try:
            connection.socket.sendall(self.requests[connection.number])
        except ConnectionError:
            self._again(connection)

    def _read(self, connection: Connection) -> None:
        try:
            answer = connection.receive()
        except ConnectionError:
            self._again(connection)
            return
        if answer is not None:
            self._answered(connection, *answer)

    def _again(self, connection: Connection) -> None:
        """The server closed the connection: the same write with the same key on a new one."""
        self.result.lost += 1
        if self.result.lost > 1000:
            raise LoadError("The server keeps closing connections.")
        self.selector.unregister(connection.socket)
        connection.reconnect()
        self.selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._send(connection)

    def _answered(self, connection: Connection, status: int, head: bytes, body: bytes) -> None:
        now = time.perf_counter_ns()
        if status == _BUSY:
            self.result.refused += 1
            after = int(header(head, b"retry-after") or 1)
            heapq.heappush(self.later, (now + after * _SECOND, connection.number, connection))
            return
        if status != (_CREATED if self.requests[connection.number].startswith(b"POST") else _OK):
            raise LoadError(f"Answered {status}: {body[:400].decode(errors='replace')}")
        done = self.result.latencies
        done.append(now - connection.began)
        self.result.in_time += now < self.end
        if self.sample_every and len(done) % self.sample_every == 1 % self.sample_every:
            self.result.samples.append((connection.number, body))
        self.under_way -= 1
        self._next(connection)
