"""``manage.py check_ledger``: recompute the ledger; exit 0 clean, 1 deviation, 2 it could not be checked (wholly)."""

import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, InterfaceError

from config.errors import ProoftrailError
from evidence.ledger.check import ADVICE, Check, Deviation
from evidence.tlog import b64


class Command(BaseCommand):
    help = (
        "Recompute leaf hashes, tiles, root, checkpoints, signatures, projections and outside copies; name each "
        "deviation. Exits 0 when clean, 1 when something deviates, 2 when it could not be checked."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output, for machines")
        parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")

    def handle(self, *_: Any, **options: Any) -> None:
        self._json: bool = options["json"]
        self._started, self._shown = time.monotonic(), 0.0
        check = Check(self._report, self._progress if sys.stderr.isatty() else _silent, options["jobs"])
        try:
            check.run()
        except ProoftrailError as error:
            check.unchecked.append(error.detail)
        except (DatabaseError, InterfaceError) as error:  # a trace would end with 1, which means a deviation
            check.unchecked.append(f"the rest: the database went away or refused: {error}".strip())
        (self._answer if self._json else self._print)(check, time.monotonic() - self._started)
        if check.count:
            sys.exit(1)
        if check.unchecked:
            sys.exit(2)

    def _report(self, deviation: Deviation) -> None:
        if not self._json:
            self.stdout.write(self.style.ERROR(f"DEVIATION {deviation}"))

    # -- the result ------------------------------------------------------------------------------------------------

    def _answer(self, check: Check, seconds: float) -> None:
        answer = {
            "clean": not check.count and not check.unchecked,
            "size": check.tree.size,
            "root": b64.encode(check.tree.root),
            "count": check.count,
            "deviations": [asdict(deviation) for deviation in check.found],
            "unchecked": check.unchecked,
            "seconds": round(seconds, 3),
            "entries_per_second": _rate(check.tree.size, seconds),
        }
        self.stdout.write(json.dumps(answer))

    def _print(self, check: Check, seconds: float) -> None:
        size = check.tree.size
        self.stdout.write(f"size {size}, root {b64.encode(check.tree.root)}")
        self.stdout.write(f"checked in {seconds:.1f} s ({_rate(size, seconds)} entries/s)")
        for reason in check.unchecked:
            self.stdout.write(self.style.ERROR(f"NOT CHECKED {reason}"))
        if check.count:
            self.stdout.write(self.style.ERROR(f"{check.count} deviation{'s' if check.count > 1 else ''}"))
            self.stdout.write("What to do next (nothing was changed by this check):")
            for what in dict.fromkeys(deviation.what for deviation in check.found):
                self.stdout.write(f"  {what}: {ADVICE.get(what, 'keep this database as it is and ask for help')}")
        elif not check.unchecked:
            self.stdout.write(self.style.SUCCESS("clean"))

    # -- the way there ---------------------------------------------------------------------------------------------

    def _progress(self, done: int, size: int) -> None:
        """On one line of the terminal, a few times a second."""
        now = time.monotonic()
        if now - self._shown < 0.2 and done < size:
            return
        self._shown = now
        rate = done / max(now - self._started, 0.001)
        left = f"{(size - done) / rate:.0f} s left" if rate else ""
        line = f"\r{done:,} of {size:,} entries, {rate:,.0f}/s, {left}\x1b[K"
        self.stderr.write(line, ending="\n" if done == size else "")


def _rate(size: int, seconds: float) -> int:
    return round(size / max(seconds, 0.001))


def _silent(done: int, size: int) -> None:
    """Not a terminal: only the result is printed."""
