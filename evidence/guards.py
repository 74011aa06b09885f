"""What the migrations put into the database to guard the ledger, and whether it is still so.

Bodies of functions are kept by PostgreSQL as they were written, so both are read the same way: the migrations' SQL
and the catalogue. A function replaced by one that refuses nothing, or a trigger narrowed to nothing, is found.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db import migrations
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.models import CheckConstraint

_FUNCTION = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?FUNCTION\s+public\.(\w+)\s*\((.*?)\bAS\s+\$(\w*)\$(.*?)\$\3\$", re.DOTALL
)
_DROPPED = re.compile(r"^DROP\s+FUNCTION\s+public\.(\w+)", re.MULTILINE)
_SEARCH_PATH = re.compile(r"SET\s+search_path\s*=\s*([\w, ]+?)\s*(?:SET\s.*)?$", re.MULTILINE)
_CONSTRAINT = re.compile(r"\bCONSTRAINT\s+(\w+)\s+CHECK\b")
_TRIGGER = re.compile(
    r"TRIGGER\s+(\w+)\s+(BEFORE|AFTER|INSTEAD OF)\s+(.+?)\s+ON\s.+?FOR\s+EACH\s+(ROW|STATEMENT)\s+(.*?)"
    r"EXECUTE\s+FUNCTION\s+(?:public\.)?(\w+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Function:
    body: str
    definer: bool
    search_path: str | None


@dataclass(frozen=True)
class Trigger:
    """When a trigger fires and what it calls; `events` are empty where a migration fills them in later."""

    when: str
    events: frozenset[str]
    level: str
    condition: str
    function: str

    def matches(self, declared: "Trigger") -> bool:
        fired = self.events == declared.events or not declared.events
        same = (self.when, self.level, self.condition, self.function)
        return fired and same == (declared.when, declared.level, declared.condition, declared.function)


# -- as the migrations say -------------------------------------------------------------------------------------------


@functools.cache
def functions() -> dict[str, Function]:
    """By name; of one that a later migration replaces, the last; none that one has dropped."""
    found: dict[str, Function] = {}
    for text in _sql():
        for name, head, _, body in _FUNCTION.findall(text):
            path = _SEARCH_PATH.search(head.replace(" AS", "").rstrip())
            found[name] = Function(body, "SECURITY DEFINER" in head, path.group(1) if path else None)
        for name in _DROPPED.findall(text):
            found.pop(name, None)
    return found


@functools.cache
def triggers() -> dict[str, Trigger]:
    """By name: one name stands for the same trigger on whatever table."""
    return {name: trigger for text in _sql() for name, trigger in _triggers(text)}


def _triggers(text: str) -> Iterator[tuple[str, Trigger]]:
    for name, when, events, level, condition, function in _TRIGGER.findall(text):
        listed = frozenset(" ".join(event.split()) for event in events.split(" OR "))
        yield name, Trigger(when, frozenset() if "%s" in events else listed, level, condition.strip(), function)


@functools.cache
def constraints() -> frozenset[str]:
    """Names of what rows must be: those of the migrations' SQL, and those of the models."""
    models = apps.get_app_config("evidence").get_models()
    ours = (each.name for model in models for each in model._meta.constraints if isinstance(each, CheckConstraint))
    return frozenset({name for text in _sql() for name in _CONSTRAINT.findall(text)} | set(ours))


def _sql() -> list[str]:
    nodes = MigrationLoader(None).disk_migrations
    found = []
    for key in sorted(key for key in nodes if key[0] == "evidence"):
        operations = list(nodes[key].operations)
        for operation in operations:
            if isinstance(operation, migrations.SeparateDatabaseAndState):
                operations += operation.database_operations
            if isinstance(operation, migrations.RunSQL) and isinstance(operation.sql, str):
                found.append(operation.sql)
    return found


# -- as the database has it ------------------------------------------------------------------------------------------


def changed_functions(connection: BaseDatabaseWrapper) -> list[str]:
    """Names of functions that are missing or not those of the migrations."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, prosrc, prosecdef, (SELECT substr(c, 13) FROM unnest(proconfig) c"
            " WHERE starts_with(c, 'search_path=')) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        present = {(name, Function(body, definer, path)) for name, body, definer, path in cursor.fetchall()}
    return sorted(name for name, function in functions().items() if (name, function) not in present)


def missing_constraints(connection: BaseDatabaseWrapper) -> list[str]:
    """Names of constraints that no table has, or that are not enforced on every row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
            " GROUP BY conname HAVING bool_and(convalidated AND conenforced)"
        )
        present = {name for (name,) in cursor.fetchall()}
    return sorted(constraints() - present)


def standing_triggers(connection: BaseDatabaseWrapper) -> set[tuple[str, str]]:
    """(table, trigger) of those that always fire and are as the migrations made them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid)"
            " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND t.tgenabled = 'A' AND c.relnamespace = 'public'::regnamespace"
        )
        rows = cursor.fetchall()
    found = set()
    for table, name, definition in rows:
        for _, trigger in _triggers(definition):
            if name in triggers() and trigger.matches(triggers()[name]):
                found.add((table, name))
    return found
