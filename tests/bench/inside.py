"""``python -m tests.bench.inside``: work beside one database, in a process of its own with the product's code loaded.

The bench talks to it by lines of JSON, so that a small and a large ledger are measured in turn while both stay warm:
``{"do": "append", …}`` in, the answer out. What may be asked for is in `WORK`.
"""

import json
import random
import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import django
from django.db import connection

django.setup()

from evidence.ledger import Actor, append, append_all, reader, service_draft  # noqa: E402 -- Django comes first
from evidence.models import SigningKey, System  # noqa: E402 -- as above
from evidence.models.people import SERVICE  # noqa: E402 -- as above
from evidence.tlog.tiles import TILE, encode_bundle  # noqa: E402 -- as above
from tests.bench.bodies import scan_result  # noqa: E402 -- as above
from tests.bench.load import percentile  # noqa: E402 -- as above
from tests.bench.stage import SYSTEM  # noqa: E402 -- as above
from tests.evidence.bulk import fill as bulk_fill  # noqa: E402 -- as above

_random = random.Random(6962)  # noqa: S311 -- indexes to look up, the same in every run


def fill(count: int) -> dict[str, Any]:
    """Entries until the log has `count` of them."""
    began = time.monotonic()
    bulk_fill(max(count - reader.size(), 0), system=_system())
    return {"size": reader.size(), "seconds": time.monotonic() - began}


def append_groups(groups: int, of: int) -> dict[str, Any]:
    """Groups of records as the appender writes them; drafts are made before the clock starts."""
    waiting = [[_draft(group * of + place) for place in range(of)] for group in range(groups)]
    began = time.perf_counter_ns()
    outcomes = [outcome for group in waiting for outcome in append_all(group)]
    seconds = (time.perf_counter_ns() - began) / 1e9
    refused = next((outcome for outcome in outcomes if isinstance(outcome, Exception)), None)
    if refused is not None:
        raise refused
    return {"rate": groups * of / seconds, "size": reader.size()}


def trickle(per_second: float) -> dict[str, Any]:
    """A slow writer, until the next line comes in."""
    latencies: list[int] = []
    while not select.select([sys.stdin], [], [], 1 / per_second)[0]:
        began = time.perf_counter_ns()
        append(_draft(len(latencies)))
        latencies.append(time.perf_counter_ns() - began)
    return {"written": len(latencies), "p95_ms": percentile(latencies, 95) / 1e6}


def proofs(count: int) -> dict[str, Any]:
    """Inclusion proofs of random entries, and consistency proofs from random sizes, to the whole log."""
    size = reader.size()
    kinds: dict[str, Callable[[int], object]] = {
        "inclusion": lambda at: reader.inclusion(at, size),
        "consistency": lambda at: reader.consistency(at + 1, size),
    }
    return {name: _proofs(prove, [_random.randrange(size) for _ in range(count)]) for name, prove in kinds.items()}


def _proofs(prove: Callable[[int], object], indexes: list[int]) -> dict[str, Any]:
    for index in indexes[: len(indexes) // 10]:
        prove(index)
    latencies = []
    for index in indexes:
        began = time.perf_counter_ns()
        prove(index)
        latencies.append(time.perf_counter_ns() - began)
    return {"latencies": latencies} | _counted(prove, indexes)


def _counted(prove: Callable[[int], object], indexes: Iterable[int]) -> dict[str, int]:
    """The most tiles and queries that one proof took."""
    most, now = Counter[str](), Counter[str]()
    fetch = reader.tiles

    def counting_tiles(addresses: Iterable[Any]) -> dict[Any, bytes]:
        wanted = list(addresses)
        now["tiles"] += len(wanted)
        return fetch(wanted)

    def counting_queries(execute: Callable[..., Any], *arguments: Any) -> Any:
        now["queries"] += 1
        return execute(*arguments)

    reader.tiles = counting_tiles
    try:
        with connection.execute_wrapper(counting_queries):
            for index in indexes:
                now.clear()
                prove(index)
                most |= now
    finally:
        reader.tiles = fetch
    return dict(most)


def receipts(count: int, into: str) -> dict[str, Any]:
    """Receipts of random records, a line each."""
    size = reader.size()
    chosen = [_random.randrange(size) for _ in range(count)]
    Path(into).write_bytes(b"".join(reader.replay(index).receipt() + b"\n" for index in chosen))
    return {"log": _keys("log"), "record": _keys("record")}


def bundles(into: str) -> dict[str, Any]:
    """All leaves as entry bundles, one after the other, as a monitor would fetch them."""
    size, note = reader.size(), reader.latest_note()
    with Path(into).open("wb") as file:
        for number in range(-(-size // TILE)):
            file.write(encode_bundle(reader.bundle(number, min(TILE, size - number * TILE))))
    return {"size": size, "checkpoint": note.text if note else "", "log": _keys("log")}


def export(into: str) -> dict[str, Any]:
    """Every stored byte that the check reads of an entry: leaf, salt, context, envelope."""
    query = 'COPY (SELECT leaf, salt, context, envelope FROM evidence_entry JOIN evidence_payload USING ("index"))'
    connection.ensure_connection()
    cursor = connection.connection.cursor()
    with Path(into).open("wb") as file, cursor.copy(f"{query} TO STDOUT (FORMAT binary)") as copy:
        for data in copy:
            file.write(data)
    return {"bytes": Path(into).stat().st_size}


def _keys(purpose: str) -> dict[str, str]:
    """Public keys by id, in hex: of the log (the id is its vkey), or those that sign what arrived unsigned."""
    return {key.key_id: bytes(key.public_key).hex() for key in SigningKey.objects.filter(purpose=purpose)}


def _draft(number: int) -> Any:
    return service_draft("scan.result", scan_result(number), actor=Actor(SERVICE), systems=[_system()])


def _system() -> str:
    return System.objects.values_list("pk", flat=True).get(name=SYSTEM)


WORK: dict[str, Callable[..., dict[str, Any]]] = {
    work.__name__: work for work in (fill, append_groups, trickle, proofs, receipts, bundles, export)
}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "do" in asked:
            print(json.dumps(WORK[asked.pop("do")](**asked)), flush=True)


if __name__ == "__main__":
    main()
