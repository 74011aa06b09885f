"""Projections recomputed: the ledger replayed into temporary tables that stand in for the real ones.

pg_temp comes first in this connection's search path, so the projections' own code writes here; transactions are READ
ONLY, which lets temporary tables be written and nothing else.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any

from django.db import InterfaceError, OperationalError, connection, models, transaction

from config.errors import UnavailableError
from evidence import projections
from evidence.ledger.check.deviations import Deviates
from evidence.ledger.check.entries import Examined, Examiner
from evidence.ledger.draft import Recorded
from evidence.models import Hold, HoldItem, Record

#: Rows compared in one transaction.
RANGE = 20_000
#: Rows that differ at first and are looked at again in the last transaction.
SUSPECTS = 10_000

Key = tuple[Any, ...]


def _quote(*names: str) -> str:
    return ", ".join(f'"{name}"' for name in names)


class _Table:
    """A projected table and its stand-in."""

    def __init__(self, model: type[models.Model]) -> None:
        self.model = model
        self.name = model._meta.db_table
        self.columns = [str(field.column) for field in model._meta.concrete_fields]
        self.key = [str(field.column) for field in model._meta.pk_fields]
        self.suspects: set[Key] = set()

    def stand_in(self) -> str:
        """A statement that makes it. The one with a row for each entry has its key alone: other indexes cost more
        than the few questions that projections ask of it."""
        if self.model is not Record:
            return f'CREATE TEMPORARY TABLE "{self.name}" (LIKE public."{self.name}" INCLUDING ALL)'
        like = f'LIKE public."{self.name}" INCLUDING ALL EXCLUDING INDEXES'
        return f'CREATE TEMPORARY TABLE "{self.name}" ({like}, PRIMARY KEY ({_quote(*self.key)}))'

    def source(self, schema: str) -> str:
        """What is compared: all columns of all rows. A hold's hold over what is gone since says nothing any more."""
        rows = f'{schema}."{self.name}" t'
        if self.model is not HoldItem:
            return f"(SELECT {_quote(*self.columns)} FROM {rows})"  # noqa: S608 -- names of our own tables
        gone = 'SELECT 1 FROM pg_temp.evidence_record r WHERE r."index" = t."index" AND r.disposed_by IS NOT NULL'
        return f"(SELECT {_quote(*self.columns)} FROM {rows} WHERE NOT EXISTS ({gone}))"  # noqa: S608 -- names of our own tables

    def differing(self, condition: str, parameters: Sequence[Any]) -> Iterator[tuple[Key, dict[str, tuple[Any, Any]]]]:
        """Keys that differ within `condition`; for each, columns with the ledger's value and the table's."""
        ours, theirs = (f"SELECT * FROM {self.source(s)} x WHERE {condition}" for s in ("pg_temp", "public"))  # noqa: S608 -- names of our own tables
        sql = f"(({ours}) EXCEPT ({theirs}))"
        mirrored = f"(({theirs}) EXCEPT ({ours}))"
        found: dict[Key, list[Key | None]] = {}
        with connection.cursor() as cursor:
            for side, query in enumerate((sql, mirrored)):
                cursor.execute(query, [*parameters, *parameters])
                for row in cursor.fetchmany(SUSPECTS):
                    found.setdefault(self.key_of(row), [None, None])[side] = row
        for key, (expected, actual) in sorted(found.items(), key=lambda item: [str(part) for part in item[0]]):
            yield key, self._differences(expected, actual)

    def key_of(self, row: Sequence[Any]) -> Key:
        values = dict(zip(self.columns, row, strict=True))
        return tuple(values[column] for column in self.key)

    def _differences(self, expected: Key | None, actual: Key | None) -> dict[str, tuple[Any, Any]]:
        if expected is None or actual is None:
            return {"": (expected, actual)}
        rows = zip(self.columns, expected, actual, strict=True)
        return {column: (ours, theirs) for column, ours, theirs in rows if ours != theirs}

    def ranges(self) -> Iterator[tuple[str, list[Any]]]:
        """Conditions that split the table by key; each range is small in the stand-in."""
        key = f"({_quote(*self.key)})"
        after: Key = ()
        marks = "(" + ", ".join(["%s"] * len(self.key)) + ")"
        while True:
            lower: tuple[str, list[Any]] = (f"{key} > {marks}", list(after)) if after else ("TRUE", [])
            bound = self._nth_key(*lower)
            if bound is None:
                yield lower
                return
            yield f"{lower[0]} AND {key} <= {marks}", [*lower[1], *bound]
            after = bound

    def _nth_key(self, condition: str, parameters: list[Any]) -> Key | None:
        columns = _quote(*self.key)
        for schema in ("pg_temp", "public"):
            with connection.cursor() as cursor:
                cursor.execute(
                    f'SELECT {columns} FROM {schema}."{self.name}" WHERE {condition}'  # noqa: S608 -- names of our own tables
                    f" ORDER BY {columns} OFFSET {RANGE - 1} LIMIT 1",
                    parameters,
                )
                if row := cursor.fetchone():
                    return tuple(row)
        return None


class Shadows:
    """The stand-ins of all projected tables, for as long as the context lasts."""

    def __init__(self, deviates: Deviates) -> None:
        self._deviates = deviates
        self._tables = [_Table(model) for model in projections.tables()]
        self._gone: set[int] = set()
        self._before_last = 0

    def __enter__(self) -> "Shadows":
        with connection.cursor() as cursor:
            cursor.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
            if not cursor.fetchone()[0]:
                raise UnavailableError(
                    "This role may not make temporary tables. As the database's owner: "
                    "GRANT TEMPORARY ON DATABASE … TO the role of DATABASE_URL.",
                    code="temporary_refused",
                )
            cursor.execute("DISCARD TEMP")
            for table in self._tables:
                cursor.execute(table.stand_in())
            cursor.execute("SET search_path = pg_temp, public")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if connection.connection is None or connection.connection.closed:
            return
        with connection.cursor() as cursor:
            cursor.execute("RESET search_path")
            cursor.execute("DISCARD TEMP")

    # -- replaying -------------------------------------------------------------------------------------------------

    def replay(self, examined: Examined) -> None:
        """Project the records of the next range; of bare entries only the leaf is left."""
        Record.objects.bulk_create(projections.bare_row(index, leaf) for index, leaf in examined.bare)
        if not examined.outlines or self._project(examined):
            return
        examiner = Examiner()
        for index, *_ in examined.outlines:
            self._project(examiner.examine(index, index + 1), alone=True)

    def _project(self, examined: Examined, *, alone: bool = False) -> bool:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(examined.statement, examined.parameters)
                if followers := self._followers(examined):
                    projections.follow(followers)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # a payload that was tampered with may say anything
            if alone:
                first = str(error).splitlines()[0] if str(error) else type(error).__name__
                self._deviates("projection", f"entry {examined.start}", f"cannot be replayed: {first}")
            return False
        return True

    def _followers(self, examined: Examined) -> Sequence[Recorded]:
        """Records that may change more than the searchable table: where a hold stands, it may keep any of them."""
        held = Hold.objects.exists() or any(record.leaf.kind == "hold.placed" for record in examined.own.values())
        return list(examined.recorded()) if held else list(examined.own.values())

    # -- comparing -------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Find rows that differ, a range of keys to a transaction; they are judged in the last one."""
        for table in self._tables:
            for condition, parameters in table.ranges():
                table.suspects.update(key for key, _ in table.differing(condition, parameters))
                if len(table.suspects) > SUSPECTS:
                    break
        index = _Table(Record)
        for condition, parameters in index.ranges():
            self._gone.update(self._unexplained(condition, parameters))

    def begin_last(self) -> None:
        """Mark where the last transaction starts, so that what it replays is compared too."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint & 4294967295")
            (self._before_last,) = cursor.fetchone()

    def compare_again(self) -> None:
        """In the last transaction: report rows that (still) differ, and payloads gone or left without cause."""
        for table in self._tables:
            for keys in _chunks(sorted(table.suspects | set(self._touched(table)), key=str)):
                marks = "(" + ", ".join(["%s"] * len(table.key)) + ")"
                condition = f"({_quote(*table.key)}) IN ({', '.join([marks] * len(keys))})"
                for key, columns in table.differing(condition, list(chain.from_iterable(keys))):
                    self._report(table, key, columns)
        for indexes in _chunks(sorted(self._gone)):
            for index in self._unexplained('"index" = ANY(%s)', [list(indexes)]):
                self._report_payload(index)

    def _touched(self, table: _Table) -> list[Key]:
        with connection.cursor() as cursor:
            cursor.execute(
                f'SELECT {_quote(*table.key)} FROM pg_temp."{table.name}"'  # noqa: S608 -- names of our own tables
                " WHERE age(xmin) <= age(%s::text::xid)",
                [str(self._before_last)],
            )
            return [tuple(row) for row in cursor.fetchmany(SUSPECTS)]

    def _report(self, table: _Table, key: Key, columns: dict[str, tuple[Any, Any]]) -> None:
        where = f"{table.name} " + ", ".join(f"{name}={value}" for name, value in zip(table.key, key, strict=True))
        for column, (expected, actual) in columns.items():
            if column:
                detail = f"the ledger gives {_short(expected)}, the table has {_short(actual)}"
                self._deviates("projection", f"{where}, column {column}", detail)
            elif expected is None:
                self._deviates("projection", where, "the table has a row that no record gives")
            else:
                self._deviates("projection", where, "the table lacks the row that the ledger gives")

    def _unexplained(self, condition: str, parameters: Sequence[Any]) -> list[int]:
        """Records whose payload is gone though nothing disposed of it, or is there though something did."""
        with connection.cursor() as cursor:
            cursor.execute(
                'SELECT "index" FROM pg_temp.evidence_record r WHERE (disposed_by IS NULL) <>'  # noqa: S608 -- names of our own tables
                ' EXISTS (SELECT 1 FROM public.evidence_payload p WHERE p."index" = r."index")'
                f" AND {condition} LIMIT {SUSPECTS}",
                parameters,
            )
            return [row[0] for row in cursor.fetchall()]

    def _report_payload(self, index: int) -> None:
        by = Record.objects.values_list("disposed_by", flat=True).get(index=index)
        detail = "missing, and no retention.disposed record names it" if by is None else f"record {by} disposed of it"
        self._deviates("payload", f"entry {index}", detail if by is None else f"still there, though {detail}")


def _chunks(items: Sequence[Any], size: int = 1000) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + "…"
