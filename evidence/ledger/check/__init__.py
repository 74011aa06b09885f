"""``check_ledger``: recompute everything from the stored bytes and name what differs (docs/ledger.md, "The check")."""

from evidence.ledger.check.deviations import ADVICE, Deviation, Progress, Report
from evidence.ledger.check.run import Check

__all__ = ["ADVICE", "Check", "Deviation", "check"]


def _ignore(*_: object) -> None:
    pass


def check(report: Report = _ignore, progress: Progress = _ignore) -> list[Deviation]:
    """Every deviation of this database's ledger; empty when it is clean. `report` gets each one as it is found."""
    run = Check(report, progress)
    run.run()
    return run.found
