"""Single writes: `POST records` beside a plain insert, by 1, 8 and 64 connections.

(a) the baseline (tests/bench/plain), (b) an envelope signed by the pipeline, (c) the same body as plain JSON which
the service signs. (a) and (c) are sent the same bytes; the predicate of (b) is their `body`. Each is measured alone,
in turn (a, b, c, a, b, c …), so that noise of the machine falls on all; the run with the median rate is reported.
Envelopes are signed before the clock starts: a pipeline does that on its own machine.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median_low

from config.stack.progress import say
from evidence.tlog.dsse import MEDIA_TYPE, sign_envelope
from evidence.tlog.note import Verifier
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.statement import build_statement, predicate_type_for
from tests.bench import bodies
from tests.bench.load import LoadError, Result, drive, post
from tests.bench.stage import Pipeline, Server, Stage
from tests.bench.table import Row

PART = "single writes"
KIND = "test.result"
CONNECTIONS = (1, 8, 64)
WANTED_RATIO, WANTED_P95_MS, WANTED_LATENCY = 3.0, 100.0, 1.5
#: Acknowledgements of which one is verified offline.
SAMPLE_EVERY = 100
#: More requests than any way of writing gets through in a second: they are made before the clock starts.
_MOST_PER_SECOND = {1: 700, 8: 2500, 64: 4000}
#: How the baseline is served.
PLAIN = ("granian", "--no-ws", "--interface", "wsgi", "--blocking-threads", "32", "config.wsgi:application")
_numbers = count()


def next_number() -> int:
    """No two records of a run are the same."""
    return next(_numbers)


@dataclass
class Writer:
    """One way of writing, and what its runs showed."""

    name: str
    port: int
    request: Callable[[int], bytes]
    verify: Callable[[bytes, bytes], None] | None = None
    runs: list[Result] = field(default_factory=list)

    def run(self, connections: int, seconds: float) -> Result:
        requests = [self.request(next_number()) for _ in range(int(_MOST_PER_SECOND[connections] * seconds))]
        every = SAMPLE_EVERY if self.verify else 0
        result = drive(self.port, requests, connections=connections, seconds=seconds, sample_every=every)
        if not result.latencies:
            raise LoadError(f"{self.name}: nothing was acknowledged")
        if self.verify:
            for number, answer in result.samples:
                self.verify(requests[number], answer)
        return result

    @property
    def median(self) -> Result:
        """The run with the median rate."""
        middle = median_low(run.rate for run in self.runs)
        return next(run for run in self.runs if run.rate == middle)


def measure(stage: Stage) -> list[Row]:
    with stage.serving(stage.env, name="product") as product, serving_baseline(stage) as plain:
        pipeline = stage.new_pipeline(product)
        return compare(stage, writers(stage, product, plain, pipeline))


def baseline(stage: Stage) -> dict[str, str]:
    """The environment of the baseline: a database of its own in the same PostgreSQL, with its one table."""
    env = stage.new_database("bench_plain") | {"DJANGO_SETTINGS_MODULE": "tests.bench.plain_settings"}
    stage.python("tests.bench.plain.create", env=env)
    return env


@contextmanager
def serving_baseline(stage: Stage) -> Iterator[Server]:
    """By Granian's own WSGI, whose threads Django runs in without more ado."""
    with stage.serving(baseline(stage), name="plain", served=PLAIN) as server:
        yield server


def writers(stage: Stage, product: Server, plain: Server, pipeline: Pipeline) -> list[Writer]:
    checked = receipt_check(stage.log_keys(product, pipeline))
    return [
        Writer("(a) plain DRF create", plain.port, lambda number: plain_request(number, pipeline)),
        Writer("(b) signed record", product.port, lambda number: signed_request(number, pipeline), checked),
        Writer("(c) JSON, service signs", product.port, lambda number: json_request(number, pipeline), checked),
    ]


def compare(stage: Stage, compared: Sequence[Writer]) -> list[Row]:
    """All writers in turn, at each number of connections."""
    rounds, seconds = (3, 1.5) if stage.quick else (5, 4.0)
    rows: list[Row] = []
    for connections in CONNECTIONS:
        say(f"  {connections} connections: {rounds} rounds of {seconds:g} s for each of {len(compared)}")
        for writer in compared:
            writer.run(connections, 1.0)  # connections of the pool, statements, caches
            writer.runs.clear()
        for _ in range(rounds):
            for writer in compared:
                writer.runs.append(writer.run(connections, seconds))
        rows += [row(writer, connections, compared[0].median) for writer in compared]
    return rows


def row(writer: Writer, connections: int, plain: Result) -> Row:
    best = writer.median
    ratio, wanted, met = judged(best, connections, plain) if writer.verify else (None, "", None)
    if not writer.name.startswith("(b)"):
        wanted, met = "", None  # the others are shown beside it
    return Row(
        part=PART,
        name=writer.name,
        at=f"{connections} connection{'s' * (connections > 1)}",
        rate=best.rate,
        unit="/s",
        p50_ms=best.percentile_ms(50),
        p95_ms=best.percentile_ms(95),
        p99_ms=best.percentile_ms(99),
        refused=sum(run.refused for run in writer.runs),
        errors=sum(run.lost for run in writer.runs),
        ratio=ratio,
        wanted=wanted,
        met=met,
        more={
            "receipts verified": sum(len(run.samples) for run in writer.runs),
            "rates": [round(run.rate, 1) for run in writer.runs],
        },
    )


def judged(result: Result, connections: int, plain: Result) -> tuple[float, str, bool | None]:
    """By one connection latency decides, by many the rate."""
    if connections == 1:
        slower = result.percentile_ms(50) / plain.percentile_ms(50)
        return slower, f"p50 ≤ {WANTED_LATENCY} × (a)", slower <= WANTED_LATENCY
    quicker = result.rate / plain.rate
    if connections < max(CONNECTIONS):
        return quicker, "", None
    met = quicker >= WANTED_RATIO and result.percentile_ms(95) < WANTED_P95_MS
    return quicker, f"≥ {WANTED_RATIO:g} × (a), p95 < {WANTED_P95_MS:g}", met


# -- requests ----------------------------------------------------------------------------------------------------------


def as_sent(number: int, pipeline: Pipeline) -> bytes:
    """The JSON of (a) and (c)."""
    record = {"kind": KIND, "release": pipeline.release, "body": bodies.test_result(number)}
    return json.dumps(record, separators=(",", ":")).encode()


def plain_request(number: int, pipeline: Pipeline) -> bytes:
    return post("/evidence", as_sent(number, pipeline), {"Content-Type": "application/json"})


def json_request(number: int, pipeline: Pipeline) -> bytes:
    return post("/api/v1/records", as_sent(number, pipeline), _headers(pipeline, "application/json"))


def signed_request(number: int, pipeline: Pipeline) -> bytes:
    path = f"/api/v1/records?release={pipeline.release}"
    return post(path, envelope(number, pipeline), _headers(pipeline, MEDIA_TYPE))


def envelope(number: int, pipeline: Pipeline) -> bytes:
    """A statement about a build, signed by the pipeline."""
    payload = build_statement(
        subjects=[{"name": "app.tar.gz", "digest": {"sha256": bodies.digest_of(number)}}],
        predicate_type=predicate_type_for(KIND),
        predicate=bodies.test_result(number),
    )
    return sign_envelope(payload, pipeline.key)


def _headers(pipeline: Pipeline, media_type: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {pipeline.token}",
        "Content-Type": media_type,
        "Idempotency-Key": secrets.token_hex(12),
    }


def receipt_check(keys: Sequence[Verifier]) -> Callable[[bytes, bytes], None]:
    """Verifies a receipt offline against what was sent. Raises VerificationError."""

    def verify(request: bytes, answer: bytes) -> None:
        sent = request.partition(b"\r\n\r\n")[2]
        unsure = [
            step.title for step in verify_receipt(parse_receipt(answer), verifiers=keys, sent=sent) if not step.ok
        ]
        if unsure:
            raise LoadError(f"A receipt does not say for sure: {unsure}")

    return verify
