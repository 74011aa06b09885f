"""Overload: what becomes of those who are admitted when three times the rated load is offered (R4.2).

1. The capacity: signed records by 64 connections that wait for each answer, without limits.
2. The rated load is 60 % of it; the token bucket of writes (`RATE_LIMIT_WRITES`) is set to just that.
3. One pipeline offers the rated load, then three times as much, in turn; both from the clock (`pacing.py`), so that
   two thirds of the latter are to be refused at once.
4. Two pipelines, each with a bucket of half the rated load: one keeps to it, while the other first does too and then
   floods, so that together they offer three times the rated load. Shown is the one that keeps to it.

3 and 4 are done in several blocks, each beginning with 1 and 2: a small machine's capacity moves by a fifth within
minutes, and what was measured ten minutes ago is another share of it.

Latencies are those of acknowledged writes from the moment each was due, without the first two seconds of a run, in
which what had been saved up in the bucket is let in at once and worked off. A percentile is that of each second, and of
these the median: what holds a commit for a third of a second, with or without an overload, is in the second where it
happened. Background work (anchors, PostgreSQL's vacuum) comes and goes within seconds, and costs as much as what is
refused. So runs are short; each under overload has one at the rated load right before and after it and is compared with
the mean of both, and the ratio is the median of these. After the runs of a block the ledger must have grown by exactly
the acknowledged writes: what was refused is not in it, what was admitted is.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, pairwise
from statistics import mean, median, median_low
from typing import Any

import httpx

from config.stack.progress import say
from tests.bench import pacing
from tests.bench.load import LoadError, percentile
from tests.bench.single import Writer, next_number, receipt_check, signed_request
from tests.bench.stage import UNLIMITED, Pipeline, Server, Stage
from tests.bench.table import Row

PART = "overload"
CONNECTIONS = 64
#: Of each pipeline whose requests come from the clock: as many as it may have under way.
_OPEN = 128
RATED, TIMES = 0.6, 3
WANTED = 1.2
#: Of a second: how much of its rate a bucket holds. Enough for what random arrivals bring together.
_BURST = 0.5
#: Seconds of a run; those of them in which the bucket is emptied and what it held is worked off, which do not count;
#: and between two runs, until the bucket is full again.
_SECONDS, _WARM_UP, _PAUSE = 5.0, 2, 0.6
_SAMPLE_EVERY = 100


@dataclass
class Load:
    """One way of offering load, and what its runs showed of the pipeline that is looked at."""

    name: str
    at: str
    #: By the rated load, what is offered: by the pipeline that is looked at, then by the other one.
    offered: Sequence[float]
    #: The runs of each block.
    blocks: list[list[pacing.Seen]] = field(default_factory=list)

    @property
    def runs(self) -> list[pacing.Seen]:
        return list(chain.from_iterable(self.blocks))

    def percentile_ms(self, percent: float) -> float:
        return median(one for second in self.each_second_ms(percent) for one in second)

    def each_second_ms(self, percent: float) -> list[list[float]]:
        """The percentile of each second that counts, by runs."""
        return [run.each_second_ms(percent, since=_WARM_UP) for run in self.runs]

    def ratios(self, other: "Load", percent: float) -> list[float]:
        """Of this load's runs to those of the other one before and after each of them."""

        def of(run: pacing.Seen) -> float:
            return median(run.each_second_ms(percent, since=_WARM_UP))

        return [
            of(run) / mean(map(of, beside))
            for mine, others in zip(self.blocks, other.blocks, strict=True)
            for run, beside in zip(mine, pairwise(others), strict=True)
        ]

    def count(self, *statuses: int) -> int:
        return sum(run.statuses[status] for run in self.runs for status in statuses)


def measure(stage: Stage) -> list[Row]:
    compared_rows: list[Row] = []
    capacities: list[float] = []
    with stage.serving(stage.env, name="capacity") as unlimited:
        pipelines = [stage.new_pipeline(unlimited), stage.new_pipeline(unlimited)]
        for loads in (one(), two()):
            for _ in range(1 if stage.quick else 5):
                capacities.append(capacity(stage, unlimited, pipelines[0]))
                rated = RATED * capacities[-1]
                with serving_limited(stage, rated * loads[0].offered[0]) as server:
                    alternate(stage, server, pipelines, loads, rated)
            compared_rows += compared(loads)
    return [_capacity(capacities), *compared_rows]


def one() -> list[Load]:
    """Step 3."""
    return [Load("one pipeline", f"{times} × rated", [times]) for times in (1, TIMES)]


def two() -> list[Load]:
    """Step 4."""
    keeps = Load("beside one that keeps to it", "1 × rated", [0.5, 0.5])
    floods = Load("beside one that floods", f"{TIMES} × rated", [0.5, TIMES - 0.5])
    return [keeps, floods]


def _capacity(each: Sequence[float]) -> Row:
    more = {"of each time": list(each)}
    return Row(PART, "capacity", f"{CONNECTIONS} connections", rate=median(each), unit="/s", more=more)


def capacity(stage: Stage, server: Server, pipeline: Pipeline) -> float:
    """Acknowledged writes a second when nobody is refused."""
    writer = Writer("capacity", server.port, lambda number: signed_request(number, pipeline))
    rounds, seconds = (1, 2.0) if stage.quick else (3, 3.0)
    say(f"  capacity: {rounds} runs of {seconds:g} s")
    writer.run(CONNECTIONS, 1.0)
    return median_low(writer.run(CONNECTIONS, seconds).rate for _ in range(rounds))


@contextmanager
def serving_limited(stage: Stage, rate: float) -> Iterator[Server]:
    limits = {**UNLIMITED, "RATE_LIMIT_WRITES": f"{rate:.0f},{_BURST * rate:.0f}"}
    with stage.serving(stage.env, name="limited", limits=limits) as server:
        yield server


def alternate(stage: Stage, server: Server, pipelines: list[Pipeline], loads: list[Load], rated: float) -> None:
    """A block: the second load between runs of the first one. Raises LoadError where the ledger holds other records
    than were acknowledged."""
    check = receipt_check(stage.log_keys(server, pipelines[0]))
    first, second = loads
    rounds = 1 if stage.quick else 4
    say(f"  {second.name}, {second.at}: {rounds} runs of {_SECONDS:g} s, each between two at {first.at}")
    for load in loads:
        load.blocks.append([])
    _run(server, pipelines, first, rated, 1.0)  # connections, statements, caches
    size, acknowledged = _size(server, pipelines[0]), 0
    for load in [first, *[second, first] * rounds]:
        time.sleep(_PAUSE)
        streams = _run(server, pipelines, load, rated, _SECONDS)
        acknowledged += sum(len(stream.seen.admitted) for stream in streams)
        load.blocks[-1].append(streams[0].seen)
        for number, answer in streams[0].seen.samples:
            check(streams[0].requests[number], answer)
    grown = _size(server, pipelines[0]) - size
    if grown != acknowledged:
        raise LoadError(f"{acknowledged} writes were acknowledged, and the ledger grew by {grown}.")


def _run(server: Server, pipelines: list[Pipeline], load: Load, rated: float, seconds: float) -> list[pacing.Stream]:
    streams = [
        pacing.stream(_requests_of(pipeline), share * rated, seconds, connections=_OPEN, seed=seed)
        for seed, (pipeline, share) in enumerate(zip(pipelines, load.offered, strict=False))
    ]
    pacing.drive_paced(server.port, streams, sample_every=_SAMPLE_EVERY)
    return streams


def _requests_of(pipeline: Pipeline) -> Callable[[int], bytes]:
    return lambda _: signed_request(next_number(), pipeline)


def _size(server: Server, pipeline: Pipeline) -> int:
    """The ledger's size: the second line of its newest checkpoint."""
    headers = {"Authorization": f"Bearer {pipeline.token}"}
    answer = httpx.get(f"{server.url}/api/v1/log/checkpoint", headers=headers, timeout=30)
    answer.raise_for_status()
    return int(answer.text.splitlines()[1])


def compared(loads: Sequence[Load]) -> list[Row]:
    """The load that is to be borne beside the rated one."""
    rated, over = loads
    each = {percent: over.ratios(rated, percent) for percent in (50, 95)}
    ratios = {percent: median(found) for percent, found in each.items()}
    more = {"p50 ratio": ratios[50], **{f"p{percent} of each run": found for percent, found in each.items()}}
    met = max(ratios.values()) < WANTED
    return [_row(rated), _row(over, ratio=ratios[95], wanted=f"p50, p95 < {WANTED} × rated", met=met, more=more)]


def _row(
    load: Load,
    *,
    ratio: float | None = None,
    wanted: str = "",
    met: bool | None = None,
    more: Mapping[str, Any] | None = None,
) -> Row:
    admitted, limited = load.count(200, 201), load.count(429)
    return Row(
        part=PART,
        name=load.name,
        at=load.at,
        rate=admitted / sum(run.seconds for run in load.runs),
        unit="/s",
        p50_ms=load.percentile_ms(50),
        p95_ms=load.percentile_ms(95),
        p99_ms=load.percentile_ms(99),
        refused=load.count(503),
        errors=sum(run.lost for run in load.runs),
        ratio=ratio,
        wanted=wanted,
        met=met,
        more={
            "offered": admitted + limited + load.count(503),
            "acknowledged": admitted,
            "429": limited,
            **({"p95 of a 429": median(run.refusal_ms(95) for run in load.runs)} if limited else {}),
            **(more or {}),
            "sent late, p95 ms": median(percentile(run.late, 95) / 1e6 for run in load.runs),
            "receipts verified": sum(len(run.samples) for run in load.runs),
            "p95 of each second": load.each_second_ms(95),
        },
    )
