"""``python -m tests.bench [--quick] [--only PART]``, in a running stack's environment, as `make bench` runs it."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence

from config.stack.errors import StackError
from config.stack.progress import say
from tests.bench import batch, checking, compression, overload, proofs, register, search, single
from tests.bench.ledgers import ledgers
from tests.bench.load import LoadError
from tests.bench.stage import Stage
from tests.bench.table import Row, printed, write_json

PARTS = ("single", "overload", "batch", "proofs", "checking", "compression", "search", "register")


def measure(stage: Stage, wanted: Sequence[str]) -> Iterator[list[Row]]:
    """The rows of each wanted part. Large ledgers are made once, for the parts that need them."""
    if "single" in wanted:
        yield single.measure(stage)
    if "overload" in wanted:
        yield overload.measure(stage)
    if "batch" in wanted:
        yield batch.measure(stage)
    if "compression" in wanted:
        yield compression.measure(stage)
    if "search" in wanted:
        yield search.measure(stage)
    if "register" in wanted:
        yield register.measure(stage)
    if {"proofs", "checking"} & set(wanted):
        with ledgers(stage) as made:
            if "proofs" in wanted:
                yield proofs.measure(stage, made)
            if "checking" in wanted:
                yield checking.measure(stage, made)


def main() -> int:
    arguments = _parser().parse_args()
    stage, began = Stage.enter(quick=arguments.quick), time.monotonic()
    rows: list[Row] = []
    say("\nmeasuring")
    try:
        for part in measure(stage, arguments.only or PARTS):
            rows += part
    except (LoadError, StackError) as error:
        print(f"error: it could not be measured: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    say(f"\n{printed(rows)}\n")
    write_json(stage.data_dir / "bench.json", rows, quick=stage.quick, seconds=seconds)
    say(f"{'the quick form' if stage.quick else 'measured'} in {seconds:.0f} s; all of it: {stage.data_dir}/bench.json")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK", "") not in ("", "0"))
    only = [part for part in os.environ.get("ONLY", "").split(",") if part]
    parser.add_argument("--only", action="append", choices=PARTS, default=only or None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
