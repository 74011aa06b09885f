"""``manage.py check_ledger``: recompute the ledger; exit 0 clean, 1 deviation, 2 it could not be checked."""

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand

from config.errors import ProoftrailError
from evidence.ledger.check import Check, Deviation
from evidence.tlog import b64


class Command(BaseCommand):
    help = "Recompute leaf hashes, tiles, root, checkpoints, signatures and projections; name each deviation."

    def handle(self, *_: Any, **__: Any) -> None:
        started = time.monotonic()
        check = Check(self._report, self._progress if sys.stderr.isatty() else _silent)
        try:
            check.run()
        except ProoftrailError as error:
            self.stderr.write(f"not checked: {error.detail}")
            sys.exit(2)
        seconds = time.monotonic() - started
        size = check.tree.size
        self.stdout.write(f"size {size}, root {b64.encode(check.tree.root)}")
        self.stdout.write(f"checked in {seconds:.1f} s ({size / max(seconds, 0.001):.0f} records/s)")
        if check.found:
            self.stdout.write(self.style.ERROR(f"{check.count} deviation(s)"))
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS("clean"))

    def _report(self, deviation: Deviation) -> None:
        self.stdout.write(self.style.ERROR(f"DEVIATION {deviation}"))

    def _progress(self, done: int, size: int) -> None:
        self.stderr.write(f"\r{done} of {size} entries", ending="\n" if done == size else "")


def _silent(done: int, size: int) -> None:
    """Not a terminal: only the result is printed."""
