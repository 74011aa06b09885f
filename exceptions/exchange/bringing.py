"""An import of risks from the file's arrival to its last record: all of it or nothing.

1. `open_import` keeps the file, reads it and judges every row: this is the dry run
2. `record` claims it by a conditional UPDATE, judges again, and stops where the register or the rows are not as shown
3. `risk.import_started` holds the numbers, the rows follow, and `import.completed` shows all of them at once
A file that says what the register says records nothing.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Max
from django.utils import timezone

from config.errors import ConflictError, InvalidError, MissingError, ProoftrailError
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor, Draft, service_draft
from evidence.ledger.imports import append_import
from evidence.models import User
from evidence.models.people import opaque_id
from evidence.people import visible_systems
from exceptions import risks, rules
from exceptions.exchange import judging, reading
from exceptions.exchange.cells import ADDED, BAD, CHANGED, CLOSED, UNCHANGED, Fate
from exceptions.exchange.fields import FIELDS
from exceptions.exchange.known import Known
from exceptions.importing import mapping
from exceptions.models import Risk, RiskImport

logger = logging.getLogger(__name__)
ROLES = ("liaison", "admin")
#: A file that was looked at is kept so long, and what was told of it: what came of it stands in the ledger.
KEEP = timedelta(days=7)
#: One that is being recorded for longer was left by a process that died.
_LONGEST = timedelta(minutes=10)


def open_import(*, person: User, filename: str, data: bytes, said: Any = None) -> RiskImport:
    """Read and judge a file; nothing is recorded. `said` is the mapping as JSON.

    Raises ``role_required``, ``mapping_invalid``, ``file_empty``, ``sheet_malformed``, ``sheet_too_large``,
    ``encoding_unknown``, ``columns_missing``.
    """
    rules.require_role(person, *ROLES)
    if not data:
        raise InvalidError("The file is empty.", code="file_empty", where="$.file")
    found = RiskImport(
        id=opaque_id("rim"),
        created_by=person.uid,
        created_at=timezone.now(),
        filename=_shown_name(filename),
        sha256=hashlib.sha256(data).hexdigest(),
        content=data,
        mapping=mapping.parse(said or {}, FIELDS).as_json(),
    )
    _look(found, person)
    RiskImport.objects.filter(created_at__lt=found.created_at - KEEP).exclude(state=RiskImport.RUNNING).delete()
    found.save(force_insert=True)
    return found


def _shown_name(filename: str) -> str:
    plain = "".join(char for char in filename.replace("\\", "/").rpartition("/")[2] if char.isprintable())
    return plain[:200] or "risks"


def _look(found: RiskImport, person: User) -> list[Fate]:
    """Judge every row as the register is now."""
    wishes = mapping.parse(found.mapping, FIELDS)
    register = reading.read(bytes(found.content or b""), found.filename, wishes)
    fates = judging.judge(register, wishes, Known(person, timezone.now()))
    found.outcome = judging.summary(fates, register)
    found.state = RiskImport.REFUSED if any(fate.fate == BAD for fate in fates) else RiskImport.CHECKED
    return fates


def find(import_id: str, person: User) -> RiskImport:
    """Raises ``role_required``, ``import_unknown``."""
    rules.require_role(person, *ROLES)
    found = RiskImport.objects.filter(pk=import_id).first()
    if found is None or (found.created_by != person.uid and visible_systems(person) is not None):
        raise MissingError(f"There is no import {import_id!r}.", code="import_unknown")
    return found


# -- recording ---------------------------------------------------------------------------------------------------------


def record(found: RiskImport, *, person: User) -> None:
    """Record what `open_import` showed.

    Raises ``rows_bad``, ``register_changed``, ``import_settled``, ``imports_waiting``, ``role_required``.
    """
    rules.require_role(person, *ROLES)
    if found.state == RiskImport.REFUSED:
        raise _bad_rows(found)
    _claim(found)
    try:
        _record(found, person)
    except BaseException as error:
        _give_back(found, error)
        raise


def _bad_rows(found: RiskImport) -> InvalidError:
    rows = [row for row in found.outcome["rows"] if row["fate"] == BAD]
    first = rows[0]["problems"][0]
    return InvalidError(
        f"{len(rows)} of {len(found.outcome['rows'])} rows are bad, the first at {first['cell']}: {first['reason']} "
        "Put them right and send the file again.",
        code="rows_bad",
    )


def _claim(found: RiskImport) -> None:
    now = timezone.now()
    RiskImport.objects.filter(state=RiskImport.RUNNING, started_at__lt=now - _LONGEST).update(state=RiskImport.FAILED)
    waiting = RiskImport.objects.filter(pk=found.pk, state=RiskImport.CHECKED, content__isnull=False)
    try:
        with transaction.atomic():
            taken = waiting.update(state=RiskImport.RUNNING, started_at=now)
    except IntegrityError:
        raise ConflictError(
            "Another import is being recorded: try again when it is done.", code="imports_waiting"
        ) from None
    if not taken:
        raise ConflictError(
            f"Nothing can be imported of {found.pk} any more: send the file again.", code="import_settled"
        )
    found.state = RiskImport.RUNNING


def _give_back(found: RiskImport, error: BaseException) -> None:
    """Let it be looked at again after a refusal; nothing is shown of one that broke off."""
    refused = isinstance(error, ProoftrailError)
    if found.state == RiskImport.RUNNING:
        found.state = RiskImport.CHECKED if refused else RiskImport.FAILED
    found.save(update_fields=["state", "outcome"])


def _record(found: RiskImport, person: User) -> None:
    shown, seen = found.outcome["rows"], _seen()
    fates = _look(found, person)
    if found.outcome["rows"] != shown:
        raise ConflictError("The register changed since the file was looked at: look again.", code="register_changed")
    found.state = RiskImport.RUNNING
    recorded = list(judging.recordable(fates))
    index = _appended(found, person, fates, recorded, seen) if recorded else None
    for fate in recorded:
        if fate.fate != ADDED and fate.risk:
            risks.keep(fate.risk, timezone.now())
    found.state, found.record_index, found.content = RiskImport.DONE, index, None
    found.save(update_fields=["state", "record_index", "content", "outcome"])


def _seen() -> tuple[int, int | None]:
    """Tells one state of the register from another."""
    found = Risk.objects.aggregate(count=Count("pk"), newest=Max("last_index"))
    return found["count"], found["newest"]


def _appended(
    found: RiskImport, person: User, fates: Sequence[Fate], recorded: Sequence[Fate], seen: tuple[int, int | None]
) -> int:
    """The records of an import. Returns the index of the one that shows them."""
    actor = Actor(person.uid, ("user", person.uid))

    def require_same(_: datetime) -> None:
        if _seen() != seen:
            raise ConflictError("The register changed meanwhile: look again.", code="register_changed")

    def started(at: datetime) -> Composed:
        require_same(at)
        last = max([risks.last_risk(), *(_number(fate) for fate in recorded if fate.fate == ADDED)])
        counts = {name: sum(fate.fate == name for fate in fates) for name in (ADDED, CHANGED, CLOSED, UNCHANGED)}
        body = counts | {"import": found.pk, "sha256": found.sha256, "filename": found.filename, "last": last}
        return Composed(body, sorted({system for fate in recorded for system in fate.scope}))

    append_composed("risk.import_started", started, actor=actor)
    return append_import(lambda marked: _drafts(found, recorded, marked, require_same), actor=actor).index


def _number(fate: Fate) -> int:
    return int(str(fate.risk).partition("-")[2])


def _drafts(found: RiskImport, recorded: Sequence[Fate], actor: Actor, admit: Any) -> Iterator[Draft]:
    """New risks, then changes, then closings, each in the order of the file; the first of all is admitted for all."""
    for fate in recorded:
        if fate.fate == ADDED:
            body = fate.body | {"risk": fate.risk, "import": found.pk, "place": f"{found.filename}, {fate.where}"[:200]}
            yield service_draft("risk.added", body, actor=actor, systems=fate.scope, admit=admit)
            admit = None
    for fate in recorded:
        if fate.fate == CHANGED:
            body = {"risk": fate.risk, "reason": _reason(found, fate), "changes": fate.body, "import": found.pk}
            yield service_draft("risk.changed", body, actor=actor, systems=fate.scope, admit=admit)
            admit = None
    for fate in recorded:
        if fate.closes:
            body = {"risk": fate.risk, "reason": _reason(found, fate)}
            yield service_draft("risk.closed", body, actor=actor, systems=fate.scope, admit=admit)
            admit = None


def _reason(found: RiskImport, fate: Fate) -> str:
    return f"Imported from {found.filename}, {fate.where}"
