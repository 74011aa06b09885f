"""``python -m tests.e2e.scenario [--step N]``: plays all steps, or one again on what an earlier play left.

Before all of them the history of four systems is loaded.
"""

import argparse
import sys
import time

import httpx

from tests.e2e.history import HistoryError
from tests.e2e.scenario import exceptions, packs, past, release, report, retention, tampering
from tests.e2e.scenario.closing import five_things
from tests.e2e.scenario.stage import NotHeldError, Stage

STEPS = [
    release.step_1_open,
    release.step_2_evidence,
    release.step_3_approvals,
    release.step_4_production,
    exceptions.step_5_exceptions,
    packs.step_6_pack,
    retention.step_7_retention,
    report.step_8_report,
    tampering.step_9_tampering,
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, choices=range(len(STEPS) + 1))
    only = parser.parse_args().step
    stage, began = Stage.enter(), time.monotonic()
    for number, step in enumerate([past.history, *STEPS]):
        if only not in (None, number):
            continue
        print(f"\n{number}. {step.__doc__}", flush=True)
        try:
            step(stage)
        except (NotHeldError, HistoryError, httpx.HTTPError, OSError) as error:
            print(f"  ✗ step {number} does not hold: {error}", flush=True)
            return 1
    print(f"\nEvery step held, in {time.monotonic() - began:.0f} s.", flush=True)
    if only is None:
        five_things(stage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
