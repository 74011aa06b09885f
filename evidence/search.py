"""Search over all records: what may be asked, in which order rows come, and the indexes that answer.

Rows come by index, the newest first; where the question names a time, by when they happened. Either way an index gives
them in order, so that a page reads its own rows and few others, whatever the ledger holds. What no index answers well
(a frequent kind with an outcome that it never has) ends after five seconds instead of keeping a connection.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from config.api.times import parse_time
from config.errors import InvalidError
from evidence.models.records import RecordQuerySet

LONGEST_MS = 5000
_WORDS = ("kind", "release", "subject", "principal", "outcome")
_LONGEST = 250


@dataclass(frozen=True)
class Question:
    """What is searched for; None means any. `start` is in the period, `end` is not."""

    kind: str | None = None
    release: str | None = None
    subject: str | None = None
    principal: str | None = None
    outcome: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def ordering(self) -> tuple[str, ...]:
        return ("-occurred", "-index") if self.start or self.end else ("-index",)

    def among(self, found: RecordQuerySet) -> RecordQuerySet:
        """The records that fit."""
        plain = {name: getattr(self, name) for name in ("kind", "release", "principal", "outcome")}
        found = found.filter(**{name: value for name, value in plain.items() if value is not None})
        if self.subject is not None:
            found = found.filter(subjects__contains=[self.subject])
        if self.start is not None:
            found = found.filter(occurred__gte=self.start)
        if self.end is not None:
            found = found.filter(occurred__lt=self.end)
        return found


def question(given: Mapping[str, str]) -> Question:
    """From query parameters. A filter that is empty or unknown is refused: either would answer another question.

    Raises InvalidError ``filter_invalid``, ``time_invalid``.
    """
    for name, value in given.items():
        if name not in (*_WORDS, "from", "to"):
            known = ", ".join((*_WORDS, "from", "to"))
            raise InvalidError(f"There is no filter {name!r}; there are {known}.", code="filter_invalid", where=name)
        if not 0 < len(value) <= _LONGEST or "\0" in value:
            raise InvalidError(
                f"{name} is empty, too long or holds a NUL: leave it out to search all.",
                code="filter_invalid",
                where=name,
            )
    return Question(
        **{name: given.get(name) for name in _WORDS},
        start=parse_time(given["from"], "from") if "from" in given else None,
        end=parse_time(given["to"], "to") if "to" in given else None,
    )


@contextmanager
def bounded(asked: Question) -> Iterator[None]:
    """Queries that end after five seconds. Raises InvalidError ``search_too_wide``."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {LONGEST_MS}")
            if asked.subject is not None:
                # Statistics take each digest for a frequent one and would look for it from the newest record on;
                # digests are nearly unique, and without ordered scans the index over them is what remains.
                cursor.execute("SET LOCAL enable_indexscan = off")
            yield
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise InvalidError(
            "The search reads too much of the ledger. Narrow it by release, subject, kind or time.",
            code="search_too_wide",
        ) from None
