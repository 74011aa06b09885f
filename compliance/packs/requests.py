"""Ask for a pack, ask again after a failure, download one: each is a record."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from compliance.models import Pack
from compliance.models.packs import ALPHABET
from config.api.times import parse_time
from config.errors import ConflictError, ForbiddenError, InvalidError, MissingError
from evidence import storage
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor, Idempotency, Placed, append, service_draft
from evidence.models import System
from evidence.people import Principal, visible_systems
from evidence.tlog.leaf import format_time

#: Who may ask for packs and download them; administrators always may.
ROLES = ("liaison", "auditor")
LINK_SECONDS = 300
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def parse_boundary(text: str, where: str, *, last: bool = False) -> datetime:
    """A time with offset, or a date: its start, or with `last` its end. Raises ``time_invalid``, ``date_invalid``."""
    if not _DATE.fullmatch(text):
        return parse_time(text, where)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidError(f"There is no date {text}.", code="date_invalid", where=where) from None
    return datetime.combine(day, time(), UTC) + timedelta(days=int(last))


def quarter_of(day: date) -> tuple[datetime, datetime]:
    """The calendar quarter around a day: its start and the start of the next one, in UTC."""
    first = 3 * ((day.month - 1) // 3) + 1
    following = date(day.year + first // 10, (first + 2) % 12 + 1, 1)
    start = datetime.combine(date(day.year, first, 1), time(), UTC)
    return start, datetime.combine(following, time(), UTC)


def request_pack(
    *,
    actor: Actor,
    person: Principal,
    start: datetime,
    end: datetime,
    systems: Sequence[str] = (),
    idempotency: Idempotency | None = None,
) -> Placed:
    """Ask for the evidence of [start, end) of some systems (names), or of all that `person` may see.

    Sandboxes stay out unless they are named. Raises ``period_invalid``, ``system_unknown``, ``systems_missing``.
    """
    now = timezone.now()
    if start >= end:
        raise InvalidError("The period ends before it begins.", code="period_invalid", where="$.to")
    if start > now:
        raise InvalidError("The period has not begun yet.", code="period_invalid", where="$.from")
    number = f"{start:%Y%m%d}-" + "".join(secrets.choice(ALPHABET) for _ in range(6))

    def compose(_: datetime) -> Composed:
        wanted, excluded = _systems(person, systems)
        period = {"from": format_time(start), "to": format_time(end)}
        return Composed({"pack": number, **period, "systems": wanted, "excluded": excluded}, wanted)

    return append_composed("pack.requested", compose, actor=actor, idempotency=idempotency)


def _systems(person: Principal, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Opaque ids of the systems that a pack covers, and of the sandboxes it leaves out."""
    visible = visible_systems(person)
    found = System.objects.all() if visible is None else System.objects.filter(id__in=visible)
    if names:
        chosen = list(found.filter(name__in=set(names)))
        unknown = sorted(set(names) - {system.name for system in chosen})
        if unknown:
            raise MissingError(f"There is no system {unknown[0]!r}.", code="system_unknown", where="$.systems")
        return sorted(system.id for system in chosen), []
    wanted = sorted(found.filter(sandbox=False).values_list("id", flat=True))
    if not wanted:
        raise ConflictError("There is no system yet whose evidence a pack could hold.", code="systems_missing")
    return wanted, sorted(found.filter(sandbox=True).values_list("id", flat=True))


def retry_pack(pack: Pack, *, actor: Actor, idempotency: Idempotency | None = None) -> Placed:
    """Have a failed pack built again. Raises ConflictError ``pack_not_failed``."""

    def admit(_: datetime) -> None:
        if not Pack.objects.filter(pk=pack.pk, state=Pack.FAILED).exists():
            raise ConflictError("Only a pack that failed is built again.", code="pack_not_failed")

    body = {"pack": pack.pk}
    return append(
        service_draft("pack.retried", body, actor=actor, systems=pack.systems, idempotency=idempotency, admit=admit)
    )


@dataclass(frozen=True)
class Link:
    """A download link that works for a few minutes."""

    url: str
    expires_at: datetime


def download(pack: Pack, *, actor: Actor, person: Principal) -> Link:
    """Record who downloads the pack, then hand out a short link to exactly the verified version.

    Raises ForbiddenError ``pack_forbidden`` and ConflictError ``pack_not_ready``.
    """
    if not getattr(person, "has_role", lambda *_: False)("admin", *ROLES):
        raise ForbiddenError("Auditors, liaisons and administrators download packs.", code="pack_forbidden")
    if pack.state != Pack.READY:
        raise ConflictError(f"Pack {pack.pk} is not ready.", code="pack_not_ready")
    body = {"pack": pack.pk, "sha256": pack.sha256}
    append(service_draft("access.pack_downloaded", body, actor=actor, systems=pack.systems))
    url = storage.client().generate_presigned_url(
        "get_object",
        Params={
            "Bucket": storage.bucket(),
            "Key": pack.s3_key,
            "VersionId": pack.version_id,
            "ResponseContentDisposition": f'attachment; filename="{pack.filename}"',
        },
        ExpiresIn=LINK_SECONDS,
    )
    return Link(url, timezone.now() + timedelta(seconds=LINK_SECONDS))
