"""Overload: what becomes of those who are admitted when three times the rated load is offered (R4.2).

1. The capacity: signed records by 64 connections that wait for each answer, without limits. Measured before 3 and
   before 4, and once more in the end.
2. The rated load is 60 % of it; the token bucket of writes (`RATE_LIMIT_WRITES`) is set to just that.
3. One pipeline offers the rated load, then three times as much, in turn; both from the clock (`pacing.py`), so that
   two thirds of the latter are to be refused at once.
4. Two pipelines, each with a bucket of half the rated load: one keeps to it, while the other first does too and then
   floods, so that together they offer three times the rated load. Shown is the one that keeps to it.

Latencies are those of acknowledged writes from the moment each was due, without the first two seconds of a run, in
which what had been saved up in the bucket is let in at once and worked off. A percentile is that of each second, and of
these the median: what holds a commit for a third of a second, with or without an overload, is in the second where it
happened. Each run is compared with the one of the other load right beside it, and the ratio is the median of these: a
machine's speed moves by more within minutes, and background work (anchors, PostgreSQL's vacuum) comes and goes. After
the runs the ledger must have grown by exactly the acknowledged writes: what was refused is not in it, what was admitted
is.

Where the capacity has moved from before a comparison to after it (a neighbour's doing, or an anchor's), the load was
another share of it. Then only what holds all the more is said: met by a load that was heavier than it should be, or not
met by one that was lighter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median, median_low
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
#: Seconds of each run in which the bucket is emptied, and what it held is worked off: they do not count.
_WARM_UP = 2
_SAMPLE_EVERY = 100
#: How far the capacity may move from before a comparison to after it.
_DRIFT = 0.15


@dataclass
class Load:
    """One way of offering load, and what its runs showed of the pipeline that is looked at."""

    name: str
    at: str
    #: Requests a second: of the pipeline that is looked at, then of the other one.
    rates: Sequence[float]
    runs: list[pacing.Seen] = field(default_factory=list)

    def percentile_ms(self, percent: float) -> float:
        return median(one for second in self.each_second_ms(percent) for one in second)

    def each_second_ms(self, percent: float) -> list[list[float]]:
        """The percentile of each second that counts, by runs."""
        return [run.each_second_ms(percent, since=_WARM_UP) for run in self.runs]

    def ratios(self, other: "Load", percent: float) -> list[float]:
        """Of this load's runs to those of the other one beside them."""
        both = zip(self.each_second_ms(percent), other.each_second_ms(percent), strict=True)
        return [median(mine) / median(others) for mine, others in both]

    def count(self, *statuses: int) -> int:
        return sum(run.statuses[status] for run in self.runs for status in statuses)


def measure(stage: Stage) -> list[Row]:
    with stage.serving(stage.env, name="capacity") as server:
        pipelines = [stage.new_pipeline(server), stage.new_pipeline(server)]
        most = capacity(stage, server, pipelines[0])
    seconds = 4.0 if stage.quick else 6.0
    rows = [_capacity("capacity", most)]
    for loads_at in (one, two):
        rated = RATED * most
        loads, bucket = loads_at(rated)
        with serving_limited(stage, bucket) as server:
            alternate(stage, server, pipelines, loads, seconds)
        with stage.serving(stage.env, name="capacity") as server:
            after = capacity(stage, server, pipelines[0])
        rows += [*judged(compared(loads), after / most), _capacity("capacity, afterwards", after)]
        most = after
    return rows


def one(rated: float) -> tuple[list[Load], float]:
    """Step 3, and what the bucket of each pipeline gets a second."""
    return [Load("one pipeline", f"{times} × rated", [times * rated]) for times in (1, TIMES)], rated


def two(rated: float) -> tuple[list[Load], float]:
    """Step 4."""
    keeps = Load("beside one that keeps to it", "1 × rated", [rated / 2, rated / 2])
    floods = Load("beside one that floods", f"{TIMES} × rated", [rated / 2, (TIMES - 0.5) * rated])
    return [keeps, floods], rated / 2


def judged(rows: Sequence[Row], kept: float) -> list[Row]:
    """The rows as they are where `kept`, the capacity's last over its first, is near to 1; else without verdicts that a
    steady machine might have turned round."""
    if abs(kept - 1) <= _DRIFT:
        return list(rows)
    holds = kept < 1  # what is met by less capacity is met by more
    return [
        replace(row, met=row.met if row.met is holds else None, more={**row.more, "capacity ×": kept})
        if row.wanted
        else row
        for row in rows
    ]


def _capacity(name: str, rate: float) -> Row:
    return Row(part=PART, name=name, at=f"{CONNECTIONS} connections", rate=rate, unit="/s")


def capacity(stage: Stage, server: Server, pipeline: Pipeline) -> float:
    """Acknowledged writes a second when nobody is refused."""
    writer = Writer("capacity", server.port, lambda number: signed_request(number, pipeline))
    rounds, seconds = (1, 2.0) if stage.quick else (7, 3.0)
    say(f"  capacity: {rounds} runs of {seconds:g} s")
    writer.run(CONNECTIONS, 1.0)
    return median_low(writer.run(CONNECTIONS, seconds).rate for _ in range(rounds))


@contextmanager
def serving_limited(stage: Stage, rate: float) -> Iterator[Server]:
    limits = {**UNLIMITED, "RATE_LIMIT_WRITES": f"{rate:.0f},{_BURST * rate:.0f}"}
    with stage.serving(stage.env, name="limited", limits=limits) as server:
        yield server


def alternate(stage: Stage, server: Server, pipelines: list[Pipeline], loads: list[Load], seconds: float) -> None:
    """The loads in turn, so that noise of the machine falls on all. Raises LoadError where the ledger holds other
    records than were acknowledged."""
    check = receipt_check(stage.log_keys(server, pipelines[0]))
    rounds = 1 if stage.quick else 9
    say(f"  {loads[0].name}, {loads[1].name}: {rounds} rounds of {seconds:g} s for each")
    _run(server, pipelines, loads[0].rates, 1.0)  # connections, statements, caches
    size, acknowledged = _size(server, pipelines[0]), 0
    for number in range(rounds):
        for load in loads if number % 2 else loads[::-1]:
            streams = _run(server, pipelines, load.rates, seconds)
            acknowledged += sum(len(stream.seen.admitted) for stream in streams)
            load.runs.append(streams[0].seen)
            for number, answer in streams[0].seen.samples:
                check(streams[0].requests[number], answer)
    grown = _size(server, pipelines[0]) - size
    if grown != acknowledged:
        raise LoadError(f"{acknowledged} writes were acknowledged, and the ledger grew by {grown}.")


def _run(server: Server, pipelines: list[Pipeline], rates: Sequence[float], seconds: float) -> list[pacing.Stream]:
    streams = [
        pacing.stream(_requests_of(pipeline), rate, seconds, connections=_OPEN, seed=seed)
        for seed, (pipeline, rate) in enumerate(zip(pipelines, rates, strict=False))
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
    more = {"p50 ratio": ratios[50], **{f"p{percent} of each round": found for percent, found in each.items()}}
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
