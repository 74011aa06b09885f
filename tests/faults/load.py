"""Writers that do not give up: each record has a key of its own and is sent until it is acknowledged."""

import http.client
import json
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from email.message import Message
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.stack.processes import wait_until
from evidence.tlog import dsse
from evidence.tlog.statement import build_statement, predicate_type_for

WRITERS = 8
KIND = "scan.result"
#: A record that is not acknowledged for so long counts as lost.
_PATIENCE_SECONDS = 90
_LONGEST_PAUSE = 1.0
_ANSWER_SECONDS = 40
#: What a client tries again, after the pause that comes with it: more than its share, a proxy's trouble, ours.
_TRY_AGAIN = (429, 502, 503)


@dataclass
class Answer:
    """One answer of the service."""

    status: int
    body: bytes
    headers: Message

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotency-Replayed") == "true"

    @property
    def code(self) -> str:
        """The problem's code; empty where the answer is none."""
        try:
            return str(json.loads(self.body)["code"])
        except (ValueError, KeyError, TypeError):
            return ""


@dataclass
class Sent:
    """A record on its way, and what came back: ``receipt`` is the acknowledgement, byte for byte."""

    marker: str
    path: str
    media_type: str
    body: bytes
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    receipt: bytes | None = None
    tries: int = 0


@dataclass(frozen=True)
class Pipeline:
    """Who sends: where to, with which token, and the key that signs."""

    port: int
    token: str
    key: Ed25519PrivateKey = field(repr=False)


class Sender:
    """One keep-alive connection of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._connection: http.client.HTTPConnection | None = None

    def plain(self, marker: str) -> Sent:
        body = json.dumps({"kind": KIND, "body": _body(marker)}).encode()
        return Sent(marker, "/api/v1/records", "application/json", body)

    def signed(self, marker: str) -> Sent:
        predicate = _body(marker)
        statement = build_statement(
            subjects=[{"name": "build", "digest": {"sha256": secrets.token_hex(32)}}],
            predicate_type=predicate_type_for(KIND),
            predicate=predicate,
        )
        envelope = dsse.sign_envelope(statement, self._pipeline.key)
        return Sent(marker, "/api/v1/records", dsse.MEDIA_TYPE, envelope)

    def post(self, sent: Sent) -> Answer:
        """One try. Raises OSError or HTTPException when there is no answer."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._pipeline.port, timeout=_ANSWER_SECONDS)
        sent.tries += 1
        headers = {
            "Authorization": f"Bearer {self._pipeline.token}",
            "Content-Type": sent.media_type,
            "Idempotency-Key": sent.key,
        }
        try:
            self._connection.request("POST", sent.path, sent.body, headers)
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.read(), answer.headers)
        except BaseException:
            self.close()
            raise

    def settle(self, sent: Sent) -> Answer:
        """Try until it is answered: a connection that died with the database costs a request a 503, and who asks as
        fast as it can may get a 429."""
        for _ in range(10):
            answer = self.post(sent)
            if answer.status not in _TRY_AGAIN:
                break
            time.sleep(_LONGEST_PAUSE)
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _body(marker: str) -> dict[str, object]:
    return {"type": "sast", "scanner": marker, "outcome": "passed", "findings": {"low": 3}}


@dataclass
class Load:
    """Writers in threads, half of them sending plain JSON, half signed envelopes, from `with` to its end.

    ``wrong`` collects every answer that a client could not deal with by trying again: a fault may cost time (503, 502,
    a broken connection), never an error; nor is it one that a quick machine's writers reach their limit (429).
    ``refusals`` counts the codes of what was tried again.
    """

    pipeline: Pipeline
    writers: int = WRITERS
    #: Seconds that a writer rests after each acknowledgement.
    pace: float = 0
    name: str = field(default_factory=lambda: f"load-{secrets.token_hex(4)}")
    sent: list[Sent] = field(default_factory=list, repr=False)
    wrong: list[str] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    broken: int = 0

    def __post_init__(self) -> None:
        self._enough = threading.Event()
        self._lock = threading.Lock()
        self._acknowledged = [0] * self.writers
        self._threads = [threading.Thread(target=self._write, args=[n], daemon=True) for n in range(self.writers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS + _ANSWER_SECONDS)
        if kind is None:
            assert not any(thread.is_alive() for thread in self._threads), "a writer hangs"

    @property
    def acknowledged(self) -> int:
        return sum(self._acknowledged)

    def wait_for_each(self, more: int, *, seconds: float = _PATIENCE_SECONDS) -> None:
        """Until every single writer got so many more acknowledgements."""
        wanted = [count + more for count in self._acknowledged]
        arrived = wait_until(
            lambda: all(now >= then for now, then in zip(self._acknowledged, wanted, strict=True)), timeout=seconds
        )
        assert arrived, f"writers stand still: {self._acknowledged}, wanted {wanted}; {self.trouble()}"

    def trouble(self) -> str:
        return f"refused {self.refusals}, broken connections {self.broken}, wrong {self.wrong[:5]}"

    def _write(self, number: int) -> None:
        sender = Sender(self.pipeline)
        make = sender.signed if number % 2 else sender.plain
        count = 0
        while not self._enough.is_set():
            sent = make(f"{self.name}-{number}-{count}")
            with self._lock:
                self.sent.append(sent)
            if not self._until_acknowledged(sender, sent):
                break
            count += 1
            self._acknowledged[number] = count
            time.sleep(self.pace)
        sender.close()

    def _until_acknowledged(self, sender: Sender, sent: Sent) -> bool:
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                answer = sender.post(sent)
            except (OSError, http.client.HTTPException) as error:
                self._note_broken(error)
                time.sleep(0.1)
                continue
            if answer.status in (200, 201):
                sent.receipt = answer.body
                return True
            time.sleep(self._pause(answer, sent))
        with self._lock:
            self.wrong.append(f"{sent.marker} was never acknowledged")
        return False

    def _note_broken(self, error: Exception) -> None:
        with self._lock:
            self.broken += 1
            if isinstance(error, TimeoutError | socket.timeout):
                self.wrong.append("no answer in time")

    def _pause(self, answer: Answer, sent: Sent) -> float:
        """How long the service asked us to wait, capped; what is no invitation to try again is noted as wrong."""
        with self._lock:
            self.refusals[answer.code] = self.refusals.get(answer.code, 0) + 1
            asked = answer.headers.get("Retry-After", "")
            if answer.status not in _TRY_AGAIN or not asked.isdecimal():
                self.wrong.append(f"{sent.marker}: {answer.status} Retry-After {asked!r} {answer.body[:300]!r}")
                return _LONGEST_PAUSE
        return min(float(asked), _LONGEST_PAUSE)
