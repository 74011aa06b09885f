"""The load generator with a clock: requests go out when they are due, whatever became of the last ones.

One that waits for an answer before it sends the next request slows down together with the server, and so leaves out
the very waits that it is to measure (coordinated omission). Here each request has a moment at which it is due, and its
latency runs from that moment, wherever it waited: in a server's queue, or for a free connection of its sender.

Requests are due at random (Poisson) and go over any idle connection, as those of many jobs that know nothing of each
other. Taken in the order in which they became idle, the connections of a batch that was just acknowledged would be used
one after the other: its worker's next batch would come within the moments in which it gathers it, and wait for less
than those who come at any time (measured: 14 ms for 18). What is refused (429, 503) is counted and not sent again: so
what is offered stays what it is, however much of it is refused.

The clock ticks: what came in is read, and what is due is sent, twice in a millisecond. Looking at each answer by itself
took the generator as long as the server takes to give one, on the same cores.
"""

import random
import select
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count, takewhile

from tests.bench.load import Connection, LoadError, header, percentile, undisturbed

_SECOND = 1_000_000_000
_PATIENCE = 60 * _SECOND
_TICK = 500_000
_ACKNOWLEDGED, _REFUSED = (200, 201), (429, 503)


def arrivals(rate: float, seconds: float, *, seed: int) -> list[int]:
    """Nanoseconds from the start at which requests are due: `rate` a second, the same ones for the same seed."""
    draw = random.Random(seed)  # noqa: S311 -- no secret, a schedule that can be repeated
    moments = accumulate(draw.expovariate(rate) for _ in count())
    return [int(at * _SECOND) for at in takewhile(lambda at: at < seconds, moments)]


@dataclass
class Stream:
    """One sender: its requests, each with the moment at which it is due, over connections of its own."""

    requests: Sequence[bytes]
    due: Sequence[int]
    connections: int
    seen: "Seen" = field(default_factory=lambda: Seen())


@dataclass
class Seen:
    """What one sender saw; times are nanoseconds."""

    #: When it was due, and how long until its acknowledgement.
    admitted: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, int]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    #: Connections that the server closed in the middle of a request; each of these was sent again.
    lost: int = 0
    #: How late requests went out: the generator's own share of the latency, and waiting for a free connection.
    late: list[int] = field(default_factory=list)
    #: Every n-th acknowledgement: the number of its request, and the body of the answer.
    samples: list[tuple[int, bytes]] = field(default_factory=list)

    def each_second_ms(self, percent: float, *, since: int = 0) -> list[float]:
        """The percentile of acknowledged requests that were due in each second, from second `since` on."""
        seconds: dict[int, list[int]] = {}
        for due, took in self.admitted:
            seconds.setdefault(due // _SECOND, []).append(took)
        return [percentile(took, percent) / 1e6 for second, took in sorted(seconds.items()) if second >= since]

    @property
    def seconds(self) -> float:
        """Until the last answer: longer than requests were due, where the server did not keep up."""
        return max((due + took for due, took in (*self.admitted, *self.refused)), default=0) / _SECOND

    def refusal_ms(self, percent: float) -> float:
        return percentile([took for _, took in self.refused], percent) / 1e6


def drive_paced(port: int, streams: Sequence[Stream], *, sample_every: int = 0) -> None:
    """Send every request of every stream when it is due; return when the last one is answered.

    Raises LoadError on an answer that neither acknowledges nor refuses, and on a refusal without Retry-After.
    """
    with undisturbed():
        _Clocked([_Sender(port, stream) for stream in streams], sample_every).finish()


class _Sender:
    """A stream under way. Moments are nanoseconds since the start."""

    def __init__(self, port: int, stream: Stream) -> None:
        self.stream = stream
        self.next = 0
        self.idle = [Connection(port) for _ in range(stream.connections)]
        self.all = list(self.idle)
        self._draw = random.Random(len(self.all)).random  # noqa: S311 -- as in `arrivals`

    @property
    def done(self) -> bool:
        return self.next == len(self.stream.due) and len(self.idle) == len(self.all)

    def due(self, now: int) -> Connection | None:
        """A connection for the next request if that is due, with its number and moment."""
        if not self.idle or self.next == len(self.stream.due) or self.stream.due[self.next] > now:
            return None
        drawn = int(self._draw() * len(self.idle))
        self.idle[drawn], self.idle[-1] = self.idle[-1], self.idle[drawn]
        connection = self.idle.pop()
        connection.number, connection.began = self.next, self.stream.due[self.next]
        self.next += 1
        return connection


class _Clocked:
    def __init__(self, senders: Sequence[_Sender], sample_every: int) -> None:
        self.senders = senders
        self.sample_every = sample_every
        self.ready = select.epoll()
        self.whose: dict[int, tuple[_Sender, Connection]] = {}
        self.began = self.heard = 0

    def finish(self) -> None:
        try:
            for sender in self.senders:
                for connection in sender.all:
                    self._listen(sender, connection)
            self.began = time.perf_counter_ns()
            while not all(sender.done for sender in self.senders):
                self._tick()
        finally:
            self.ready.close()
            for sender in self.senders:
                for connection in sender.all:
                    connection.socket.close()

    @property
    def now(self) -> int:
        return time.perf_counter_ns() - self.began

    def _tick(self) -> None:
        now = self.now
        time.sleep((_TICK - now % _TICK) / _SECOND)
        for number, _ in self.ready.poll(0):
            self._read(*self.whose[number])
            self.heard = now
        for sender in self.senders:
            while (connection := sender.due(self.now)) is not None:
                sender.stream.seen.late.append(self.now - connection.began)
                self._send(sender, connection)
                self.heard = now
        if now - self.heard > _PATIENCE:
            raise LoadError("No answer came within a minute.")

    def _listen(self, sender: _Sender, connection: Connection) -> None:
        connection.socket.settimeout(None)  # with one, the kernel is asked each time whether it may be sent or read
        self.ready.register(connection.socket, select.EPOLLIN)
        self.whose[connection.socket.fileno()] = sender, connection

    def _send(self, sender: _Sender, connection: Connection) -> None:
        try:
            connection.socket.sendall(sender.stream.requests[connection.number])
        except ConnectionError:
            self._again(sender, connection)

    def _read(self, sender: _Sender, connection: Connection) -> None:
        try:
            answer = connection.receive()
        except ConnectionError:
            self._again(sender, connection)
            return
        if answer is not None:
            self._answered(sender, connection, *answer)

    def _again(self, sender: _Sender, connection: Connection) -> None:
        """The server closed the connection: the same request with the same key on a new one."""
        sender.stream.seen.lost += 1
        if sender.stream.seen.lost > 1000:
            raise LoadError("The server keeps closing connections.")
        del self.whose[connection.socket.fileno()]
        connection.reconnect()
        self._listen(sender, connection)
        self._send(sender, connection)

    def _answered(self, sender: _Sender, connection: Connection, status: int, head: bytes, body: bytes) -> None:
        seen, due, now = sender.stream.seen, connection.began, self.now
        seen.statuses[status] += 1
        if status in _ACKNOWLEDGED:
            seen.admitted.append((due, now - due))
            if self.sample_every and len(seen.admitted) % self.sample_every == 1 % self.sample_every:
                seen.samples.append((connection.number, body))
        elif status in _REFUSED and header(head, b"retry-after"):
            seen.refused.append((due, now - due))
        else:
            raise LoadError(f"Answered {status}: {body[:400].decode(errors='replace')}")
        sender.idle.append(connection)


def stream(request: Callable[[int], bytes], rate: float, seconds: float, *, connections: int, seed: int) -> Stream:
    """A sender of `rate` requests a second, made before the clock starts."""
    due = arrivals(rate, seconds, seed=seed)
    return Stream([request(number) for number in range(len(due))], due, connections)
