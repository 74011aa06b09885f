"""Proofs and appends in a small and in a large ledger: neither may grow dear with the log."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from config.stack.progress import say
from tests.bench.ledgers import Ledger, serving
from tests.bench.load import drive, get, percentile
from tests.bench.stage import Stage
from tests.bench.table import Row

PROOFS, APPENDS = "proofs", "appending to a small and a large ledger"
MOST_TILES, MOST_SLOWER, LEAST_RATE = 7, 2.0, 0.9
_GROUP, _GROUPS = 64, 4
#: The first entries of a ledger are its set-up: not the pipeline's to see.
_SETUP = 32


def measure(stage: Stage, ledgers: Sequence[Ledger]) -> list[Row]:
    return [*prove(stage, ledgers), *over_http(stage, ledgers), *append(stage, ledgers)]


def prove(stage: Stage, ledgers: Sequence[Ledger]) -> list[Row]:
    """In the process, ledgers in turn: many short rounds, so that noise of the machine falls on all."""
    rounds, count = (10, 60) if stage.quick else (40, 100)
    say(f"  proofs: {rounds} rounds of {count} for each of {len(ledgers)} ledgers")
    answers = [[ledger.inside("proofs", count=count) for ledger in ledgers] for _ in range(rounds)]
    rows: list[Row] = []
    for kind in ("inclusion", "consistency"):
        found = [_joined([answer[place][kind] for answer in answers]) for place in range(len(ledgers))]
        rows += [_proof_row(kind, ledger, own, found[0]) for ledger, own in zip(ledgers, found, strict=True)]
    return rows


def _joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "latencies": [latency for answer in answers for latency in answer["latencies"]],
        "tiles": max(answer["tiles"] for answer in answers),
        "queries": max(answer["queries"] for answer in answers),
    }


def _proof_row(kind: str, ledger: Ledger, own: dict[str, Any], small: dict[str, Any]) -> Row:
    slower = percentile(own["latencies"], 99) / percentile(small["latencies"], 99)
    is_small = own is small
    met = own["tiles"] <= MOST_TILES and slower <= MOST_SLOWER
    return Row(
        part=PROOFS,
        name=f"{kind} proof",
        at=f"{ledger.size:,} entries",
        p50_ms=percentile(own["latencies"], 50) / 1e6,
        p95_ms=percentile(own["latencies"], 95) / 1e6,
        p99_ms=percentile(own["latencies"], 99) / 1e6,
        ratio=None if is_small else slower,
        wanted=f"tiles ≤ {MOST_TILES}" + ("" if is_small else f", p99 ≤ {MOST_SLOWER:g} × small"),
        met=met,
        more={"tile reads": own["tiles"], "queries": own["queries"]},
    )


def over_http(stage: Stage, ledgers: Sequence[Ledger]) -> list[Row]:
    """`GET records/{index}/proof`, one connection."""
    count, rows = (200 if stage.quick else 500), []
    for ledger in ledgers:
        headers = {"Authorization": f"Bearer {ledger.pipeline.token}"}
        spread = [_SETUP + number * (ledger.size - _SETUP) // count for number in range(count)]
        requests = [get(f"/api/v1/records/{index}/proof", headers) for index in spread]
        with serving(stage, ledger) as server:
            drive(server.port, requests[:50], connections=1, seconds=60)
            result = drive(server.port, requests, connections=1, seconds=60)
        rows.append(
            Row(
                part=PROOFS,
                name="GET records/{index}/proof",
                at=f"{ledger.size:,} entries",
                rate=result.rate,
                unit="/s",
                p50_ms=result.percentile_ms(50),
                p95_ms=result.percentile_ms(95),
                p99_ms=result.percentile_ms(99),
            )
        )
    return rows


def append(stage: Stage, ledgers: Sequence[Ledger]) -> list[Row]:
    """Groups of 64, small and large in turn; the median of many short bursts, so that the small one stays small."""
    small, large = ledgers[0], ledgers[-1]
    bursts = 10 if stage.quick else 30
    say(f"  appending: {bursts} bursts of {_GROUP * _GROUPS} to each of 2 ledgers")
    found: dict[int, list[dict[str, Any]]] = {small.size: [], large.size: []}
    for burst in range(bursts + 2):
        for ledger in (small, large):
            answer = ledger.inside("append_groups", groups=_GROUPS, of=_GROUP)
            if burst >= 2:  # the first ones warm up
                found[ledger.size].append(answer)
    rates = {size: median(answer["rate"] for answer in answers) for size, answers in found.items()}
    return [
        Row(
            part=APPENDS,
            name=f"groups of {_GROUP}",
            at=f"{size:,} entries",
            rate=rates[size],
            unit="/s",
            ratio=None if size == small.size else rates[size] / rates[small.size],
            wanted="" if size == small.size else f"≥ {LEAST_RATE:g} × small",
            met=None if size == small.size else rates[size] >= LEAST_RATE * rates[small.size],
            more={
                "entries at the end": answers[-1]["size"],
                "rates": [round(answer["rate"]) for answer in answers],
            },
        )
        for size, answers in found.items()
    ]
