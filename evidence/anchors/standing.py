"""Whether the service takes evidence: not while its database lies behind, or beside, what was published outside."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from config.errors import UnavailableError
from evidence.anchors import outside
from evidence.ledger import reader
from evidence.models import Anchor, Entry, Standing
from evidence.tlog.leaf import parse_leaf

logger = logging.getLogger(__name__)

BEHIND, FORKED = "ledger_behind_anchor", "ledger_forked"
#: Seconds after which a refused writer may ask again: the task looks once a minute.
RETRY_AFTER = 60
#: News older than this without an anchor is late.
LATE = timedelta(minutes=5)


@dataclass(frozen=True)
class ReadOnly:
    """Why nothing is written, since when."""

    code: str
    reason: str
    since: datetime | None = None

    def error(self) -> UnavailableError:
        return UnavailableError(self.reason, code=self.code, retry_after=RETRY_AFTER)


def behind(size: int, anchor: int) -> ReadOnly:
    """The database holds `size` records, though a checkpoint over `anchor` was published."""
    return ReadOnly(
        BEHIND,
        f"The database holds {size} records, but a checkpoint over {anchor} was published outside: an older copy was "
        "restored, or a failover lost the newest records. Nothing is written until the newest state is back; see "
        "docs/operations.md, Read-only.",
    )


def forked(anchor: int, why: str) -> ReadOnly:
    """The ledger is not the one whose checkpoint over `anchor` records was published."""
    return ReadOnly(
        FORKED,
        f"The ledger does not continue the one whose checkpoint over {anchor} records was published outside: {why}. "
        "Nothing is written; run manage.py check_ledger and see docs/operations.md, Read-only.",
    )


def current() -> ReadOnly | None:
    """Why the service is read-only; None when it takes evidence."""
    row = Standing.objects.get(id=1)
    return ReadOnly(row.read_only_code, row.read_only_reason, row.since) if row.read_only_code else None


def stop_writes(why: ReadOnly) -> None:
    """Make every process of the service refuse writes, and say why. Repeated, it changes nothing."""
    standing = Standing.objects.filter(id=1).exclude(read_only_code=why.code, read_only_reason=why.reason)
    if standing.update(read_only_code=why.code, read_only_reason=why.reason, since=Now()):
        logger.critical("read-only (%s): %s", why.code, why.reason)


def resume_writes() -> None:
    """Take evidence again, where it was refused for one of the reasons above."""
    standing = Standing.objects.filter(id=1, read_only_code__in=(BEHIND, FORKED))
    if standing.update(read_only_code="", read_only_reason="", since=None):
        logger.warning("the ledger continues what was published outside: writes are taken again")


def refuse_if_behind(size: int) -> None:
    """For the write path, once for each new connection: raise UnavailableError ``ledger_behind_anchor`` where the
    newest anchor covers more than `size` records. Evidence never waits for the store: one that fails is passed over.
    """
    if not outside.configured():
        return
    try:
        newest = outside.reader().newest()
    except (BotoCoreError, ClientError) as error:
        logger.warning("the newest anchor could not be read, writes go on: %s", error)
        return
    if newest is None or size >= newest.size:
        return
    size = reader.size()  # what was written and published meanwhile is no deviation
    if size >= newest.size:
        return
    why = behind(size, newest.size)
    if not connection.in_atomic_block:
        stop_writes(why)
    raise why.error()


def report(now: datetime | None = None) -> str:
    """For ``/readyz``: ``ok``, ``off: …``, or ``late: …`` where news waits for an anchor; from the database alone."""
    if not outside.configured():
        return "off: S3_ANCHOR_BUCKET is not set"
    newest = Anchor.objects.order_by("-size").first()
    size = newest.size if newest else 0
    waiting = Entry.objects.filter(index=size).first()
    if waiting is None:
        return "ok"
    since = parse_leaf(bytes(waiting.leaf)).at
    if (now or timezone.now()) - since <= LATE:
        return "ok"
    last = (
        f"the newest anchor covers {size}, published {newest.published_at:%Y-%m-%d %H:%M} UTC" if newest else "none yet"
    )
    return f"late: records since {since:%Y-%m-%d %H:%M} UTC wait for an anchor; {last}"
