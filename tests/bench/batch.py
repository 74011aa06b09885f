"""Batches: envelopes signed by a pipeline as NDJSON, two requests at once, beside plain inserts one by one.

The body streams from a file while the answer streams back, as a client with much to hand over does it. Memory is
that of the web server with its workers.
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPResponse
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import BinaryIO

from config.stack.progress import say
from evidence.tlog.note import Verifier
from evidence.tlog.receipt import parse_receipt, verify_receipt
from tests.bench import single
from tests.bench.load import LoadError
from tests.bench.memory import Watch
from tests.bench.stage import Pipeline, Server, Stage
from tests.bench.table import Row
from tests.bench.workers import apart

PART = "batches of signed envelopes (NDJSON)"
PATH = "/api/v1/records/batch"
PARALLEL = 2
WANTED_RATIO, HOPED_RATIO, MOST_MEMORY = 8.0, 12.0, 1.25
_SAMPLE_EVERY = 1000
_DATABASE = "bench_batch"


@dataclass(frozen=True)
class Answered:
    """What the answer to one batch said: lines acknowledged, and some of them to look at."""

    acknowledged: int
    samples: Sequence[tuple[int, bytes]]


@dataclass(frozen=True)
class Posted:
    """Parallel requests: lines a second, the different processes that took them, the server's memory meanwhile."""

    rate: float
    workers: int
    watch: Watch


def measure(stage: Stage) -> list[Row]:
    env = stage.empty_ledger(_DATABASE)
    try:
        return _measure(stage, env)
    finally:
        stage.drop_database(_DATABASE)
        for path in stage.files.glob("batch-*"):
            path.unlink()


def _measure(stage: Stage, env: Mapping[str, str]) -> list[Row]:
    with stage.serving(env, name="batch") as server, single.serving_baseline(stage) as plain:
        pipeline = stage.new_pipeline(server)
        keys = stage.log_keys(server, pipeline)
        return [*_rates(stage, server, plain, pipeline, keys), *_memory(stage, server, pipeline, keys)]


def _rates(stage: Stage, server: Server, plain: Server, pipeline: Pipeline, keys: Sequence[Verifier]) -> list[Row]:
    """In turn with the baseline at 64 connections."""
    rounds, lines, seconds = (3, 2_000, 1.5) if stage.quick else (5, 20_000, 4.0)
    most = max(single.CONNECTIONS)
    say(f"  batches: {rounds} rounds of {lines:,} lines")
    baseline = single.Writer("(a)", plain.port, lambda number: single.plain_request(number, pipeline))
    baseline.run(most, 1.0)
    post_batches(stage, server, pipeline, keys, lines=lines // 10)
    posted: list[Posted] = []
    for _ in range(rounds):
        baseline.runs.append(baseline.run(most, seconds))
        posted.append(post_batches(stage, server, pipeline, keys, lines=lines))
    rates = [done.rate for done in posted]
    rate, plainly = median(rates), baseline.median.rate
    return [
        Row(
            part=PART,
            name="(a) plain DRF create",
            at=f"{most} connections",
            rate=plainly,
            unit="/s",
            more={"rates": [round(run.rate, 1) for run in baseline.runs]},
        ),
        Row(
            part=PART,
            name="signed batch",
            at=f"{PARALLEL} × {lines // PARALLEL:,} lines",
            rate=rate,
            unit="/s",
            ratio=rate / plainly,
            wanted=f"≥ {WANTED_RATIO:g} × (a), {HOPED_RATIO:g} hoped",
            met=rate >= WANTED_RATIO * plainly,
            more={"workers": min(done.workers for done in posted), "rates": [round(rate, 1) for rate in rates]},
        ),
    ]


def _memory(stage: Stage, server: Server, pipeline: Pipeline, keys: Sequence[Verifier]) -> list[Row]:
    """The peak while few lines come in, and while many do, of the same server."""
    rows: list[Row] = []
    first: Watch | None = None
    for lines in (2_000, 20_000) if stage.quick else (10_000, 200_000):
        say(f"  memory of the web server at {lines:,} lines")
        posted = post_batches(stage, server, pipeline, keys, lines=lines)
        watch = posted.watch
        growth = watch.peak / first.peak if first else None
        rows.append(
            Row(
                part=PART,
                name="web server's memory",
                at=f"{PARALLEL} × {lines // PARALLEL:,} lines",
                rate=posted.rate,
                unit="/s",
                ratio=growth,
                wanted=f"memory ≤ {MOST_MEMORY:g} × before" if first else "",
                met=growth <= MOST_MEMORY if growth else None,
                more={"before MiB": watch.first / 1024**2, "peak MiB": watch.peak / 1024**2},
            )
        )
        first = first or watch
    return rows


# -- one batch ---------------------------------------------------------------------------------------------------------


def prepare(stage: Stage, pipeline: Pipeline, lines: int) -> list[Path]:
    """Signed envelopes in files, one for each request: a pipeline signs on its own machine."""
    paths = [stage.files / f"batch-{number}" for number in range(PARALLEL)]
    for path in paths:
        with path.open("wb") as file:
            for _ in range(lines // PARALLEL):
                file.write(line(single.next_number(), pipeline) + b"\n")
    return paths


def line(number: int, pipeline: Pipeline) -> bytes:
    """An envelope with the release beside it, which is not signed."""
    beside = {"release": pipeline.release}
    return single.envelope(number, pipeline)[:-1] + b"," + json.dumps(beside, separators=(",", ":")).encode()[1:]


def post_batches(stage: Stage, server: Server, pipeline: Pipeline, keys: Sequence[Verifier], *, lines: int) -> Posted:
    """Post `lines` in parallel requests, one for each worker; some receipts are verified afterwards."""
    assert server.child is not None
    paths, pid = prepare(stage, pipeline, lines), server.child.process.pid
    with apart(server.port, pid, PARALLEL) as (connections, workers), Watch(pid) as watch:
        began = perf_counter()
        with ThreadPoolExecutor(PARALLEL) as pool:
            answers = list(pool.map(send, connections, paths, repeat(pipeline.token)))
        seconds = perf_counter() - began
    acknowledged = sum(answer.acknowledged for answer in answers)
    if acknowledged != lines:
        raise LoadError(f"{acknowledged} of {lines} lines were acknowledged")
    for path, answer in zip(paths, answers, strict=True):
        _verify(path, answer, keys)
    return Posted(lines / seconds, workers, watch)


def send(connection: socket.socket, path: Path, token: str) -> Answered:
    """Stream a file as one request and read its answer at the same time. Raises LoadError."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {path.stat().st_size}\r\n\r\n"
    )
    with path.open("rb") as body:
        sender = threading.Thread(target=_stream, args=(connection, head.encode(), body), daemon=True)
        sender.start()
        with HTTPResponse(connection, method="POST") as response:
            response.begin()
            if response.status != 200:
                text = response.read(400).decode(errors="replace")
                raise LoadError(f"A batch was answered {response.status}: {text}")
            answered = _read(response)
        sender.join()
        return answered


def _stream(connection: socket.socket, head: bytes, body: BinaryIO) -> None:
    try:
        connection.sendall(head)
        connection.sendfile(body)
    except OSError:
        return  # the server answered before it read all: what it said is read by the other thread


def _read(response: HTTPResponse) -> Answered:
    samples: list[tuple[int, bytes]] = []
    count = 0
    for found in response:
        if b'"status":201' not in found[:64].replace(b" ", b""):
            raise LoadError(f"Line {count + 1} was answered {found[:400].decode(errors='replace')}")
        if count % _SAMPLE_EVERY == 0:
            samples.append((count, found))
        count += 1
    return Answered(count, samples)


def _verify(path: Path, answer: Answered, keys: Sequence[Verifier]) -> None:
    """Sampled receipts against the lines that were sent: a line with an envelope is what the service keeps."""
    wanted = dict(answer.samples)
    for number, sent in _lines(path, set(wanted)):
        found = json.loads(wanted[number])
        if found["line"] != number + 1:
            raise LoadError(f"Line {number + 1} was answered as line {found['line']}")
        receipt = parse_receipt(json.dumps(found["receipt"], ensure_ascii=False).encode())
        if not all(step.ok for step in verify_receipt(receipt, verifiers=keys, sent=sent.rstrip(b"\n"))):
            raise LoadError(f"The receipt of line {number + 1} does not say for sure")


def _lines(path: Path, numbers: set[int]) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from ((number, found) for number, found in enumerate(file) if number in numbers)
