"""What a process of the check runs. It has a connection of its own, and its own look at the keys."""

import functools
from typing import Any

from django.db import connection

from evidence.ledger.check.entries import Examined, Examiner


def examine(database: dict[str, Any], start: int, end: int) -> Examined:
    """Examine [start, end) in the database that `database` names (members of Django's settings)."""
    return _examiner(tuple(database.items())).examine(start, end)


@functools.cache
def _examiner(database: tuple[tuple[str, Any], ...]) -> Examiner:
    connection.close()
    connection.settings_dict.update(database)
    return Examiner()
