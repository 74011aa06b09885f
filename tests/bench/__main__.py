"""``python -m tests.bench [--quick] [--only PART]``, in a running stack's environment, as `make bench` runs it."""

import argparse
import os
import sys
import time
from collections.abc import Callable

from config.stack.progress import say
from tests.bench import single
from tests.bench.load import LoadError
from tests.bench.stage import Stage
from tests.bench.table import Row, printed, write_json

PARTS: dict[str, Callable[[Stage], list[Row]]] = {
    "single": single.measure,
}


def main() -> int:
    arguments = _parser().parse_args()
    stage, began = Stage.enter(quick=arguments.quick), time.monotonic()
    rows: list[Row] = []
    for name in arguments.only or PARTS:
        try:
            say(f"\nmeasuring: {name}")
            rows += PARTS[name](stage)
        except LoadError as error:
            print(f"error: {name} could not be measured: {error}", file=sys.stderr)
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
