"""What a record changes in the tables: written with the leaf, and recomputed by ``check_ledger``.

Each app registers functions for its kinds. A projection reads and writes only the tables it names, uses nothing
but the record, and takes its keys from it: run again over the ledger it must give the same rows.
"""

import contextlib
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import connection, models

from evidence.kinds import load as load_kinds
from evidence.ledger import reader
from evidence.ledger.draft import Recorded, part_of
from evidence.ledger.literals import array, quoted_array
from evidence.models import Approval, Hold, HoldItem, Payload, Pipeline, PipelineKey, Record, Release, System
from evidence.tlog.canonical import canonical
from evidence.tlog.leaf import Leaf, format_time
from evidence.tlog.statement import Statement

Project = Callable[[Recorded], None]
#: What writes rows that were composed before, as often as it is called.
Write = Callable[[], None]
#: The same for records of its kinds that follow each other, as an import has them by the thousand: composes what they
#: change without reading a table, so that nobody is kept waiting meanwhile.
ComposeMany = Callable[[Sequence[Recorded]], Write]
#: Called with the index of a record whose payload goes: erase what was derived from it.
Forget = Callable[[int], None]


@dataclass(frozen=True)
class Projection:
    prefix: str
    project: Project
    tables: tuple[type[models.Model], ...]
    forget: Forget | None
    many: ComposeMany | None = None


_REGISTERED: list[Projection] = []


def projection(
    prefix: str,
    *,
    tables: Sequence[type[models.Model]] = (),
    forget: Forget | None = None,
    many: ComposeMany | None = None,
) -> Callable[[Project], Project]:
    """Register a function for every kind that starts with `prefix`; `tables` are those that it alone writes.

    `many`, where it is given, must compose for several records what the function writes for one after the other.
    """

    def register(function: Project) -> Project:
        _REGISTERED.append(Projection(prefix, function, tuple(tables), forget, many))
        return function

    return register


def tables() -> list[type[models.Model]]:
    """Every table that is recomputed, in registration order."""
    return list(dict.fromkeys([Record, *(table for entry in _REGISTERED for table in entry.tables)]))


@functools.lru_cache(maxsize=4096)  # undeclared kinds of an open family have any name
def has_own(kind: str) -> bool:
    """Whether records of this kind change tables besides the searchable one."""
    return any(kind.startswith(entry.prefix) for entry in _REGISTERED)


def takes_effect(kind: str, context: Mapping[str, Any]) -> bool:
    """Whether a record changes tables of its own as it is written; those of an import wait for its end."""
    return has_own(kind) and part_of(context) is None


def project(records: Sequence[Recorded]) -> None:
    """Write the rows of records that follow each other in the log, in their order."""
    with connection.cursor() as cursor:
        cursor.execute(*searchable(records))
    follow(records)


def follow(records: Sequence[Recorded]) -> None:
    """What comes after the searchable rows: each record's own tables, and standing holds."""
    for record in records:
        if takes_effect(record.leaf.kind, record.context):
            _project_one(record)
    _join_standing_holds(records)


def _project_one(record: Recorded) -> None:
    for entry in _REGISTERED:
        if record.leaf.kind.startswith(entry.prefix):
            entry.project(record)


def _composed(records: Sequence[Recorded]) -> Iterator[Write]:
    """What writes the rows of an import's records, in their order."""
    for kind, found in itertools.groupby(records, key=lambda record: record.leaf.kind):
        together = list(found)
        for entry in _REGISTERED:
            if kind.startswith(entry.prefix):
                one_by_one = functools.partial(each, entry.project, together)
                yield entry.many(together) if entry.many is not None else one_by_one


def each(project: Project, records: Sequence[Recorded]) -> None:
    """One after the other."""
    for record in records:
        project(record)


def forget(index: int, kind: str) -> None:
    """Erase what was derived from a record whose payload is gone."""
    for entry in _REGISTERED:
        if entry.forget is not None and kind.startswith(entry.prefix):
            entry.forget(index)


_SEARCHABLE = """
INSERT INTO evidence_record
  ("index", at, kind, occurred, principal, scope, release, subjects, outcome, facts, signed_by)
SELECT i, a, k, o, p, s::text[], r, u::text[], c, f::jsonb, b
FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[],
  %s::text[], %s::text[], %s::text[], %s::text[]) AS t(i, a, k, o, p, s, r, u, c, f, b)
"""


def searchable(records: Sequence[Recorded]) -> tuple[str, list[str]]:
    """The statement that inserts the searchable rows of records, with its parameters."""
    given = [array(str(record.index) for record in records)]
    given.append(quoted_array(format_time(record.leaf.at) for record in records))
    return _SEARCHABLE, [*given, *(quoted_array(column) for column in columns(records))]


def columns(records: Sequence[Recorded]) -> list[tuple[str | None, ...]]:
    """What can be searched of records, a column each, as PostgreSQL reads it: kind, occurred, principal, scope,
    release, subjects, outcome, facts, signed_by."""
    return list(zip(*map(_searchable, records), strict=True))


def _searchable(record: Recorded) -> tuple[str | None, ...]:
    leaf = record.leaf
    kind, *rest = said(leaf.kind, leaf.by, leaf.scope, record.release, record.statement, record.signed_by)
    return kind, format_time(leaf.occurred), *rest


def said(
    kind: str, by: str, scope: Sequence[str], release: str | None, statement: Statement, signed_by: str
) -> tuple[str | None, ...]:
    """The same of one record without what its receipt settles, which is when it occurred."""
    predicate_type, body = statement.predicate_type, statement.predicate
    declared = load_kinds().reading(kind, predicate_type)
    subjects = [f"{alg}:{value}" for subject in statement.subjects for alg, value in subject.digest.items()]
    return (
        kind,
        by,
        quoted_array(scope),
        release,
        quoted_array(subjects[:1000]),
        declared.outcome_of(body, predicate_type) if declared else None,
        orjson.dumps(declared.facts_of(body, predicate_type)).decode() if declared else "{}",
        signed_by,
    )


def bare_row(index: int, leaf: Leaf) -> Record:
    """The row of a record of which only the leaf is left: what `retention.disposed` leaves of it."""
    return Record(
        index=index,
        kind=leaf.kind,
        at=leaf.at,
        occurred=leaf.occurred,
        principal=leaf.by,
        scope=list(leaf.scope),
    )


# -- the evidence app's own ---------------------------------------------------------------------------------------


@projection("config.system", tables=[System])
def _system(record: Recorded) -> None:
    body = record.body
    System.objects.update_or_create(
        id=body["system"], defaults={"name": body["name"], "title": body["title"], "sandbox": body["sandbox"]}
    )


@projection("key.added", tables=[PipelineKey])
def _key_added(record: Recorded) -> None:
    body = record.body
    PipelineKey.objects.create(
        key_id=body["key_id"],
        pipeline=Pipeline.objects.get(uid=body["pipeline"]),
        public_key=bytes.fromhex(body["public_key"]),
        valid_from=record.leaf.at,
        from_index=record.index,
    )


@projection("key.revoked")
def _key_revoked(record: Recorded) -> None:
    if "pipeline" in record.body:  # else one of the service's own (evidence/rotation.py)
        key = PipelineKey.objects.filter(key_id=record.body["key_id"], to_index=None)
        key.update(to_index=record.index, valid_until=record.leaf.at)


def _forget_release(index: int) -> None:
    Approval.objects.filter(release__opened_by=index).delete()
    Release.objects.filter(opened_by=index).delete()


@projection("release.opened", tables=[Release], forget=_forget_release)
def _opened(record: Recorded) -> None:
    body = record.body
    window = body.get("window", {})
    Release.objects.create(
        id=str(record.release),
        system_id=record.leaf.scope[0],
        tag=body["tag"],
        type=body["type"],
        ticket_id=body["ticket_id"],
        ticket_url=body["ticket_url"],
        dashboards=body.get("dashboards", []),
        captain=body["captain"],
        commander=body.get("commander", ""),
        surfaces=body.get("surfaces", []),
        window_from=window.get("from"),
        window_to=window.get("to"),
        opened_by=record.index,
        opened_at=record.leaf.at,
    )


@projection("release.c")
def _ended(record: Recorded) -> None:
    state = {"release.closed": "closed", "release.cancelled": "cancelled"}.get(record.leaf.kind)
    if state:
        Release.objects.filter(id=record.release).update(state=state, ended_by=record.index)


@projection("deploy.manifest")
def _manifest(record: Recorded) -> None:
    Release.objects.filter(id=record.release).update(
        manifest_index=record.index,
        manifest_digest=manifest_digest(record),
        manifest_author=record.body["author"],
    )


def manifest_digest(record: Recorded) -> str:
    """The digest that approvals name: of the canonical predicate, so that it does not hang on a signature."""
    return "sha256:" + hashlib.sha256(canonical(record.body)).hexdigest()


def _forget_approval(index: int) -> None:
    Approval.objects.filter(index=index).delete()


@projection("approval", tables=[Approval], forget=_forget_approval)
def _approval(record: Recorded) -> None:
    body = record.body
    Approval.objects.create(
        index=record.index,
        release_id=str(record.release),
        role=body["role"],
        decision=body["decision"],
        person=record.leaf.by,
        manifest_digest=body["manifest_digest"],
        comment=body.get("comment", ""),
        at=record.leaf.at,
    )


#: Entries that are read at once when an import is shown.
_CHUNK = 1000


@dataclass(frozen=True)
class _Prepared:
    """What shows an import, and of how many payloads it was composed."""

    payloads: int
    writes: tuple[Write, ...]


#: By the number of an import that is about to be shown in this process.
_PREPARED: dict[str, _Prepared] = {}


@contextlib.contextmanager
def prepared(body: Mapping[str, Any]) -> Iterator[None]:
    """Compose what `import.completed` with this body will change, before the head is locked for it.

    Records never change, so nothing but a disposition can make it differ from what would be composed under the lock.
    """
    _PREPARED[body["import"]] = _Prepared(_payloads(body), tuple(_import(body)))
    try:
        yield
    finally:
        del _PREPARED[body["import"]]


def _payloads(body: Mapping[str, Any]) -> int:
    return Payload.objects.filter(index__gte=body.get("first", 0), index__lte=body.get("last", -1)).count()


def _import(body: Mapping[str, Any]) -> Iterator[Write]:
    """What shows an import; what was disposed of since stays away."""
    for start in range(body.get("first", 0), body.get("last", -1) + 1, _CHUNK):
        chunk = reader.read(start, min(start + _CHUNK, body["last"] + 1))
        records = (stored.recorded for stored in chunk if stored.envelope is not None)
        yield from _composed([record for record in records if part_of(record.context) == body["import"]])


@projection("import.completed")
def _imported(record: Recorded) -> None:
    """All records of an import become visible together."""
    ready = _PREPARED.get(record.body["import"])
    current = ready is not None and ready.payloads == _payloads(record.body)
    for write in ready.writes if ready is not None and current else _import(record.body):
        write()


@projection("record.withdrawn")
def _withdrawn(record: Recorded) -> None:
    Record.objects.filter(index=record.body["index"], withdrawn_by=None).update(withdrawn_by=record.index)


@projection("hold.placed", tables=[Hold, HoldItem])
def _held(record: Recorded) -> None:
    body = record.body
    target = {name: body.get(name) for name in ("record", "release", "system")}
    Hold.objects.create(id=body["hold"], placed_by=record.index, reason=body["reason"], **target)
    held = Record.objects.filter(disposed_by=None, index__lt=record.index)
    if target["record"] is not None:
        held = held.filter(index=target["record"])
    elif target["release"] is not None:
        held = held.filter(release=target["release"])
    else:
        held = held.filter(scope__contains=[target["system"]])
    HoldItem.objects.bulk_create(
        (HoldItem(hold_id=body["hold"], index=index) for index in held.values_list("index", flat=True)),
        batch_size=5000,
    )


def _join_standing_holds(records: Sequence[Recorded]) -> None:
    """A hold on a release or a system also keeps what arrives while it stands: one question for a whole batch."""
    for hold in Hold.objects.filter(record=None).exclude(released_by__lt=records[0].index):
        until = hold.released_by if hold.released_by is not None else records[-1].index + 1
        HoldItem.objects.bulk_create(
            HoldItem(hold_id=hold.id, index=record.index)
            for record in records
            if hold.placed_by < record.index < until
            and ((hold.release and hold.release == record.release) or hold.system in record.leaf.scope)
        )


@projection("hold.released")
def _released(record: Recorded) -> None:
    Hold.objects.filter(id=record.body["hold"]).update(released_by=record.index)


@projection("retention.disposed")
def _disposed(record: Recorded) -> None:
    for row in Record.objects.filter(index__in=record.body["records"]):
        forget(row.index, row.kind)
    Record.objects.filter(index__in=record.body["records"]).update(
        disposed_by=record.index,
        release=None,
        subjects=[],
        outcome=None,
        facts={},
        signed_by=None,
        withdrawn_by=None,
    )
