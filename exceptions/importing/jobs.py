"""An import from the file's arrival to its last record.

1. `open_import` keeps the file with what was said of it
2. `run` claims it, by a conditional UPDATE whose claim runs out by itself, reads it and judges every row
3. a dry run ends there; so does one with a bad row, unless only the good ones are asked for
4. `register.import_started` holds the numbers, the rows follow by the thousand while others write, and
   `import.completed` shows all of them at once (`evidence/ledger/imports.py`)
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from config.errors import ConflictError, InvalidError, MissingError, ProoftrailError, UnavailableError
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor, Draft, service_draft
from evidence.ledger.imports import append_import
from evidence.models import User
from evidence.models.people import opaque_id
from evidence.people import visible_systems
from exceptions import rules
from exceptions.importing import fates, limits, mapping, workbook
from exceptions.importing.archive import too_large
from exceptions.importing.known import known
from exceptions.importing.mapping import Table, Wishes
from exceptions.importing.rows import BAD, CLOSED, ENTERING, Fate, judge
from exceptions.models import Import, ImportMapping, SecurityException, Transition
from exceptions.records import keep_until_closed, last_exception, numbered

logger = logging.getLogger(__name__)
ROLES = ("liaison", "admin")
LEASE = timedelta(seconds=180)
#: Between two attempts after an outage, and how long there are any.
_PAUSE, _PATIENCE = timedelta(seconds=20), timedelta(hours=1)
#: Files that were looked at and never imported are kept so long.
KEEP = timedelta(days=7)
_MOST_WAITING = 10
#: Rows between two notes of progress.
_STEP = 500


class LostClaimError(ConflictError):
    """Another worker has taken over."""

    code = "claim_lost"


# -- 1. the file -------------------------------------------------------------------------------------------------------


def open_import(
    *, person: User, filename: str, data: bytes, said: Any = None, dry_run: bool = True, only_good: bool = False
) -> Import:
    """Keep a file to be imported. `said` is the mapping as JSON; None takes what was said last time, or guesses.

    Raises ``role_required``, ``mapping_invalid``, ``sheet_too_large``, ``file_empty``, ``imports_waiting``.
    """
    rules.require_role(person, *ROLES)
    if said is not None:
        mapping.parse(said)
    if not data:
        raise InvalidError("The file is empty.", code="file_empty", where="$.file")
    if len(data) > limits.MAX_BYTES:
        raise too_large(limits.MAX_BYTES)
    now = timezone.now()
    Import.objects.filter(created_at__lt=now - KEEP).update(content=None)
    waiting = Import.objects.filter(state__in=[Import.WAITING, Import.RUNNING]).count()
    if waiting >= _MOST_WAITING:
        raise ConflictError(f"{waiting} imports wait already: let them end.", code="imports_waiting")
    return Import.objects.create(
        id=opaque_id("xim"),
        created_by=person.uid,
        created_at=now,
        filename=_shown_name(filename),
        sha256=hashlib.sha256(data).hexdigest(),
        content=data,
        mapping={"said": said},
        dry_run=dry_run,
        only_good=only_good,
    )


def _shown_name(filename: str) -> str:
    plain = "".join(char for char in filename.replace("\\", "/").rpartition("/")[2] if char.isprintable())
    return plain[:200] or "register"


def confirm(found: Import, *, person: User, only_good: bool) -> None:
    """Have a file that was looked at imported. Raises ``role_required``, ``import_settled``."""
    rules.require_role(person, *ROLES)
    waiting = Import.objects.filter(pk=found.pk, state__in=[Import.CHECKED, Import.REFUSED], content__isnull=False)
    taken = waiting.update(
        state=Import.WAITING, dry_run=False, only_good=only_good, created_by=person.uid, claimed_until=None, error=None
    )
    if not taken:
        raise ConflictError(
            f"Nothing can be imported of {found.pk} any more: send the file again.", code="import_settled"
        )
    found.refresh_from_db()


def remap(found: Import, *, person: User, said: Any) -> None:
    """Look at the same file with another mapping. Raises ``role_required``, ``mapping_invalid``, ``import_settled``."""
    rules.require_role(person, *ROLES)
    mapping.parse(said)
    waiting = Import.objects.filter(pk=found.pk, state__in=[Import.CHECKED, Import.REFUSED], content__isnull=False)
    if not waiting.update(state=Import.WAITING, dry_run=True, mapping={"said": said}, claimed_until=None, error=None):
        raise ConflictError(
            f"Nothing can be imported of {found.pk} any more: send the file again.", code="import_settled"
        )
    found.refresh_from_db()


def find(import_id: str, person: User) -> Import:
    """Raises ``role_required``, ``import_unknown``."""
    rules.require_role(person, *ROLES)
    found = Import.objects.defer("content", "fates").filter(pk=import_id).first()
    if found is None or (found.created_by != person.uid and not _sees_all(person)):
        raise MissingError(f"There is no import {import_id!r}.", code="import_unknown")
    return found


def _sees_all(person: User) -> bool:
    """Who is limited to some systems sees no file that somebody else sent: it may speak of others."""
    return visible_systems(person) is None


# -- 2. the work -------------------------------------------------------------------------------------------------------


def run_waiting() -> int:
    """Every import that waits, one after the other. Returns how many this call worked on."""
    waiting = list(Import.objects.waiting(timezone.now()).values_list("pk", flat=True)[:20])
    return sum(run(import_id) for import_id in waiting)


def run(import_id: str) -> bool:
    """Read, judge and, unless it is a dry run, record one import; False where another worker does or none need."""
    claim = _claim(import_id)
    if claim is None:
        return False
    found = Import.objects.get(pk=import_id)
    try:
        _work(found, claim)
    except LostClaimError:
        logger.info("import %s: another worker has taken over", import_id)
    except (UnavailableError, DatabaseError) as error:
        _postpone(found, claim, error)
    except ProoftrailError as error:
        state = Import.REFUSED if isinstance(error, InvalidError | ConflictError) else Import.FAILED
        _settle(found, claim, state, error=_told(error))
    except Exception:
        logger.exception("import %s failed", import_id)
        told = ProoftrailError("The import failed on our side; nothing is shown of it.", code="internal_error")
        _settle(found, claim, Import.FAILED, error=_told(told))
    return True


def _claim(import_id: str) -> str | None:
    now, claim = timezone.now(), uuid4().hex
    try:
        with transaction.atomic():
            taken = (
                Import.objects.waiting(now)
                .exclude(claimed_until__gt=now)
                .filter(pk=import_id)
                .update(state=Import.RUNNING, claim=claim, claimed_until=now + LEASE, done=0)
            )
    except IntegrityError:  # another one runs; the sweep comes back to this one
        return None
    return claim if taken else None


def _hold(found: Import, claim: str, **changes: Any) -> None:
    """Renew the claim and note progress. Raises LostClaimError."""
    until = timezone.now() + LEASE
    if not Import.objects.filter(pk=found.pk, claim=claim).update(claimed_until=until, **changes):
        raise LostClaimError(f"Another worker has taken over {found.pk}.")


def _settle(found: Import, claim: str, state: str, **changes: Any) -> None:
    Import.objects.filter(pk=found.pk, claim=claim).update(state=state, claim="", claimed_until=None, **changes)


def _postpone(found: Import, claim: str, error: Exception) -> None:
    logger.warning("import %s: %s", found.pk, error)
    now = timezone.now()
    if now - found.created_at > _PATIENCE:
        told = UnavailableError("The service did not answer for an hour: send the file again.", code="unavailable")
        _settle(found, claim, Import.FAILED, error=_told(told))
    else:
        Import.objects.filter(pk=found.pk, claim=claim).update(
            state=Import.WAITING, claim="", claimed_until=now + _PAUSE
        )


def _told(error: ProoftrailError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.detail, "where": error.where} | error.extra


def _work(found: Import, claim: str) -> None:
    person = User.objects.filter(uid=found.created_by, is_active=True).first()
    if person is None:
        raise ConflictError("Who sent the file has left.", code="person_unknown")
    rules.require_role(person, *ROLES)
    if (shown := _shown_already(found)) is not None:
        _settle(found, claim, Import.DONE, record_index=shown, content=None)
        return
    book = workbook.read(bytes(found.content or b""), found.filename)
    signature = mapping.signature(book)
    wishes = _wishes(found, signature)
    tables, notes = mapping.tables(book, wishes)
    judged = list(judge(tables, wishes, known(person, timezone.now())))
    kept = {
        "summary": fates.summary(judged, tables, [*book.notes, *notes]),
        "mapping": {"said": found.mapping.get("said"), "used": wishes.as_json(), "signature": signature},
        "total": sum(fate.fate in ENTERING for fate in judged),
    }
    _hold(found, claim, fates=fates.packed(judged, tables), **kept)
    if found.dry_run:
        _settle(found, claim, Import.CHECKED)
    else:
        _refuse(found, judged)
        _record(found, claim, person, judged, tables)
        _remember(wishes, signature, person)


def _shown_already(found: Import) -> int | None:
    """Where an attempt whose worker died had come to its end: the newest of its records."""
    shown = SecurityException.objects.filter(claim__import=found.pk).order_by("-requested_index")
    return shown.values_list("requested_index", flat=True).first()


def _wishes(found: Import, signature: str) -> Wishes:
    """What was said of this file, or last time of one with the same headings, or nothing."""
    said = found.mapping.get("said")
    if said is None:
        saved = ImportMapping.objects.filter(pk=signature).first()
        said = saved.mapping if saved is not None else {}
    return mapping.parse(said)


def _remember(wishes: Wishes, signature: str, person: User) -> None:
    values = {"mapping": wishes.as_json(), "saved_by": person.uid, "saved_at": timezone.now()}
    ImportMapping.objects.update_or_create(signature=signature, defaults=values)


def _refuse(found: Import, judged: Sequence[Fate]) -> None:
    """All or nothing, unless only the good rows were asked for."""
    if Import.objects.filter(sha256=found.sha256, state=Import.DONE).exists():
        raise ConflictError("This very file was imported already.", code="file_imported")
    bad = [fate for fate in judged if fate.fate == BAD]
    if bad and not found.only_good:
        raise InvalidError(
            f"{len(bad)} of {len(judged)} rows are bad, the first at {bad[0].problems[0].cell}: "
            f"{bad[0].problems[0].reason} Put them right, or import only the good ones.",
            code="rows_bad",
        )
    if not any(fate.fate in ENTERING for fate in judged):
        raise InvalidError("No row would enter the register.", code="nothing_to_import")


# -- 4. the records ----------------------------------------------------------------------------------------------------


def _record(found: Import, claim: str, person: User, judged: Sequence[Fate], tables: Sequence[Table]) -> None:
    actor = Actor(person.uid, ("user", person.uid))
    entering = [fate for fate in judged if fate.fate in ENTERING]
    first = _start(found, actor, judged, len(entering))
    for number, fate in enumerate(entering, start=first):
        fate.exception = numbered("EXC", number)
    placed = append_import(lambda marked: _drafts(found, claim, entering, marked), actor=actor)
    _keep_open_ones(found)
    _settle(
        found,
        claim,
        Import.DONE,
        done=len(entering),
        fates=fates.packed(judged, tables),
        record_index=placed.index,
        content=None,
    )


def _start(found: Import, actor: Actor, judged: Sequence[Fate], count: int) -> int:
    """Hold as many numbers as rows enter. Returns the first."""

    def compose(_: datetime) -> Composed:
        body = {
            "import": found.pk,
            "sha256": found.sha256,
            "filename": found.filename,
            "count": count,
            "first": last_exception() + 1,
            "left_out": sum(fate.fate == CLOSED for fate in judged),
            "bad": sum(fate.fate == BAD for fate in judged),
        }
        scope = sorted({system for fate in judged for system in fate.scope})
        return Composed(body, scope)

    return int(append_composed("register.import_started", compose, actor=actor).body["first"])


def _drafts(found: Import, claim: str, entering: Sequence[Fate], actor: Actor) -> Iterator[Draft]:
    for done, fate in enumerate(entering):
        if done % _STEP == 0:
            _hold(found, claim, done=done)
        body = dict(fate.body or {})
        body |= {"exception": fate.exception, "imported": {"import": found.pk, **body["imported"]}}
        yield service_draft("exception.requested", body, actor=actor, systems=fate.scope)
    _hold(found, claim, done=len(entering))


def _keep_open_ones(found: Import) -> None:
    """Retention runs from the expiry ahead, as for any other (`lifecycle.keep`); one statement for each such day."""
    ours = SecurityException.objects.filter(claim__import=found.pk, expires_at__gt=timezone.now())
    for expires_at in ours.order_by().values_list("expires_at", flat=True).distinct():
        same = Transition.objects.filter(exception__in=ours.filter(expires_at=expires_at))
        keep_until_closed(same.values("index"), expires_at)
