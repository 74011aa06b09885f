"""Checking: `check_ledger` in the service, receipts and entry bundles offline, beside `sha256sum` of the same bytes;
and the first anchor of a ledger that had none, which publishes all of its tiles and bundles."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from config.stack import services
from config.stack.progress import say
from evidence.tlog.checkpoint import open_checkpoint
from evidence.tlog.keys import load_raw
from evidence.tlog.merkle import Frontier, leaf_hash
from evidence.tlog.note import Verifier
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.tiles import TILE, decode_bundle
from tests.bench.ledgers import Ledger
from tests.bench.load import LoadError
from tests.bench.memory import Watch
from tests.bench.stage import Stage
from tests.bench.table import Row

CHECK, OFFLINE = "check_ledger, while a slow writer goes on", "offline verification"
ANCHOR = "first anchor of a ledger"
#: A check of a hundred times the entries may take this many times the memory, and no more.
MOST_MEMORY = 1.5
_PER_SECOND = 5


def measure(stage: Stage, ledgers: Sequence[Ledger]) -> list[Row]:
    return [*check(stage, ledgers[1:]), anchor(ledgers[1]), *offline(stage, ledgers[1])]


# -- in the service ----------------------------------------------------------------------------------------------------


def check(stage: Stage, ledgers: Sequence[Ledger]) -> list[Row]:
    rows: list[Row] = []
    first: Watch | None = None
    for ledger in ledgers:
        say(f"  check_ledger of {ledger.size:,} entries")
        ledger.inside.ask("trickle", per_second=_PER_SECOND)
        watch, seconds = _check_ledger(ledger)
        ledger.inside.nudge()
        writer = ledger.inside.answer()
        data = stage.files / "entries"
        size = ledger.inside("export", into=str(data))["bytes"]
        summed = _sha256sum(data)
        data.unlink()
        more_memory = watch.peak / first.peak if first else None
        rows += [
            Row(
                part=CHECK,
                name="check_ledger",
                at=f"{ledger.size:,} entries",
                rate=ledger.size / seconds,
                unit="entries/s",
                ratio=more_memory,
                wanted=f"memory ≤ {MOST_MEMORY:g} × {ledgers[0].size:,}" if first else "",
                met=more_memory <= MOST_MEMORY if more_memory else None,
                more={
                    "MB/s": size / seconds / 1e6,
                    "s": seconds,
                    "peak MiB": watch.peak / 1024**2,
                    "written meanwhile": writer["written"],
                    "their p95 ms": writer["p95_ms"],
                },
            ),
            _sum_row(CHECK, f"{ledger.size:,} entries", ledger.size, size, summed),
        ]
        first = first or watch
    return rows


def _check_ledger(ledger: Ledger) -> tuple[Watch, float]:
    """The command as an operator runs it, with all processes that it starts."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "check_ledger"],
        cwd=services.ROOT,
        env=services.without_owner(ledger.env),
        stdout=subprocess.PIPE,
        text=True,
    )
    with Watch(process.pid) as watch:
        printed, _ = process.communicate()
    if process.returncode:
        raise LoadError(f"check_ledger ended with {process.returncode}:\n{printed}")
    return watch, time.monotonic() - began


def anchor(ledger: Ledger) -> Row:
    """As an operator does it by hand; later rounds publish what is new."""
    say(f"  the first anchor of {ledger.size:,} entries")
    began = time.monotonic()
    done = services.manage("publish_anchor", env=services.without_owner(ledger.env)).strip()
    seconds = time.monotonic() - began
    more = {"s": seconds, "said": done}
    return Row(
        part=ANCHOR,
        name="publish_anchor",
        at=f"{ledger.size:,} entries",
        rate=ledger.size / seconds,
        unit="entries/s",
        more=more,
    )


# -- with nothing but what was handed out --------------------------------------------------------------------------


def offline(stage: Stage, ledger: Ledger) -> list[Row]:
    say(f"  offline: receipts and entry bundles of {ledger.size:,} entries")
    return [*_receipts(stage, ledger, 500 if stage.quick else 5000), *_bundles(stage, ledger)]


def _receipts(stage: Stage, ledger: Ledger, count: int) -> list[Row]:
    """Each on its own: leaf, digest, proof, the checkpoint's signature and the envelope's."""
    data, at = stage.files / "receipts", f"{count:,} receipts"
    told = ledger.inside("receipts", count=count, into=str(data))
    keys = [Verifier.parse(vkey) for vkey in told["log"]]
    signers = {key_id: load_raw(bytes.fromhex(public)) for key_id, public in told["record"].items()}
    lines = data.read_bytes().splitlines()
    began = time.monotonic()
    for line in lines:
        if not all(step.ok for step in verify_receipt(parse_receipt(line), verifiers=keys, record_keys=signers)):
            raise LoadError("a receipt does not hold")
    seconds = time.monotonic() - began
    size = data.stat().st_size
    more = {"MB/s": size / seconds / 1e6}
    rows = [
        Row(part=OFFLINE, name="receipts, one by one", at=at, rate=count / seconds, unit="/s", more=more),
        _sum_row(OFFLINE, at, count, size, _sha256sum(data)),
    ]
    data.unlink()
    return rows


def _bundles(stage: Stage, ledger: Ledger) -> list[Row]:
    """Every leaf hashed up to the root of the signed checkpoint, as a monitor of the log does."""
    data = stage.files / "bundles"
    told = ledger.inside("bundles", into=str(data))
    count, at = told["size"], f"{told['size']:,} leaves"
    began = time.monotonic()
    root = _root(data.read_bytes(), count)
    opened = open_checkpoint(told["checkpoint"], [Verifier.parse(vkey) for vkey in told["log"]])
    seconds = time.monotonic() - began
    if (opened.size, opened.root) != (count, root):
        raise LoadError("the entry bundles do not lead to the checkpoint's root")
    size = data.stat().st_size
    more = {"MB/s": size / seconds / 1e6}
    rows = [
        Row(part=OFFLINE, name="entry bundles to the root", at=at, rate=count / seconds, unit="/s", more=more),
        _sum_row(OFFLINE, at, count, size, _sha256sum(data)),
    ]
    data.unlink()
    return rows


def _root(data: bytes, count: int) -> bytes:
    frontier, start = Frontier(0, ()), 0
    for first in range(0, count, TILE):
        width = min(TILE, count - first)
        end = _bundle_end(data, start, width)
        leaves = decode_bundle(data[start:end], width)
        frontier, start = frontier.extend([leaf_hash(leaf) for leaf in leaves]).frontier, end
    return frontier.root()


def _bundle_end(data: bytes, start: int, width: int) -> int:
    """Bundles lie one after the other here; over HTTP each is an answer of its own."""
    for _ in range(width):
        start += 2 + int.from_bytes(data[start : start + 2], "big")
    return start


# -- the measure of what is possible ---------------------------------------------------------------------------------


def _sha256sum(path: Path) -> float:
    """Seconds for bytes that are in memory already: the first reading brings them there."""
    took = []
    for _ in range(2):
        began = time.monotonic()
        subprocess.run(["sha256sum", str(path)], check=True, stdout=subprocess.DEVNULL)
        took.append(time.monotonic() - began)
    return took[-1]


def _sum_row(part: str, at: str, count: int, size: int, seconds: float) -> Row:
    more = {"MB/s": size / seconds / 1e6, "bytes each": size / count}
    return Row(part=part, name="sha256sum of the same bytes", at=at, rate=count / seconds, unit="/s", more=more)
