"""Build what was asked for: claim, pin, build to disk, verify, store under lock, read back, record.

1. claim the pack by a conditional UPDATE; the claim runs out by itself when its worker dies
2. pin a checkpoint, once: an interrupted build starts over and makes the same bytes
3. build to a temporary file, in short transactions
4. verify the file with the verifier that everybody else uses, before anything is locked
5. store it under Object Lock and read it back
6. record `pack.completed`; or `pack.failed` with its reason
"""

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from django.db import DatabaseError, connection
from django.db.models import F
from django.utils import timezone

from compliance.models import Pack, PackBuild
from compliance.packs import store
from compliance.packs.builder import Built, build
from compliance.packs.plan import LedgerMovedError, Order
from compliance.packs.verifier import verify_pack
from config.errors import ConflictError, ProoftrailError, UnavailableError
from evidence import retention
from evidence.keys import log_keys
from evidence.ledger import Actor, append, reader, service_draft
from evidence.models.people import SERVICE
from evidence.tlog.errors import TlogError
from evidence.tlog.leaf import format_time

logger = logging.getLogger(__name__)
LEASE = timedelta(seconds=90)
HEARTBEAT_SECONDS = 20.0
#: After an outage the next attempt waits; after so many attempts the pack has failed.
PATIENCE = timedelta(seconds=20)
MOST_ATTEMPTS = 10


class LostClaimError(ConflictError):
    """Another worker has taken over."""

    code = "claim_lost"


def build_waiting() -> int:
    """Build every pack that waits, one after the other. Returns how many this call worked on."""
    waiting = list(Pack.objects.waiting(timezone.now()).values_list("pk", flat=True)[:20])
    return sum(build_pack(pack_id) for pack_id in waiting)


def build_pack(pack_id: str) -> bool:
    """Build one pack, unless another worker does or it needs none. Every outcome is recorded."""
    claim = _claim(pack_id)
    if claim is None:
        return False
    pack = Pack.objects.get(pk=pack_id)
    with _heartbeat(claim):
        try:
            _build_and_store(pack, claim)
        except LostClaimError:
            logger.info("pack %s: another worker has taken over", pack_id)
        except LedgerMovedError as error:
            logger.info("pack %s: %s Starting over with a newer checkpoint.", pack_id, error)
            _release(claim, after=timedelta(0), checkpoint_size=None)
        except (UnavailableError, DatabaseError) as error:
            _postpone(pack, claim, error)
        except (ProoftrailError, TlogError, OSError) as error:
            _fail(pack, claim, str(error))
        except Exception as error:
            logger.exception("pack %s failed", pack_id)
            _fail(pack, claim, f"{type(error).__name__}: {error}")
    return True


# -- 1. the claim ------------------------------------------------------------------------------------------------------


def _claim(pack_id: str) -> str | None:
    now, claim = timezone.now(), uuid4().hex
    if not Pack.objects.filter(pk=pack_id, state=Pack.REQUESTED).exists():
        return None
    PackBuild.objects.get_or_create(pack_id=pack_id, defaults={"claimed_until": now, "claim": "", "attempts": 0})
    taken = PackBuild.objects.filter(pack_id=pack_id, claimed_until__lte=now).update(
        claim=claim, claimed_until=now + LEASE, attempts=F("attempts") + 1, progress=0, stage="Starting"
    )
    return claim if taken else None


def _release(claim: str, *, after: timedelta, **changes: object) -> None:
    PackBuild.objects.filter(claim=claim).update(claimed_until=timezone.now() + after, claim="", **changes)


@contextmanager
def _heartbeat(claim: str) -> Iterator[None]:
    """Renew the claim from a thread of its own as long as this process works on it."""
    ended = threading.Event()

    def beat() -> None:
        try:
            while not ended.wait(HEARTBEAT_SECONDS):
                PackBuild.objects.filter(claim=claim).update(claimed_until=timezone.now() + LEASE)
        except DatabaseError:
            logger.warning("a pack's claim could not be renewed")
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name="pack-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Reporter:
    """Writes progress down, at most once a second and whenever it moves on by a percent."""

    def __init__(self, claim: str) -> None:
        self._claim = claim
        self._last: tuple[int, datetime] = (-1, timezone.now() - timedelta(hours=1))

    def __call__(self, percent: int, stage: str) -> None:
        now = timezone.now()
        if percent == self._last[0] and now - self._last[1] < timedelta(seconds=1):
            return
        self._last = (percent, now)
        changed = {"progress": percent, "stage": stage[:80], "claimed_until": now + LEASE}
        if not PackBuild.objects.filter(claim=self._claim).update(**changed):
            raise LostClaimError("The claim on this pack has ended.")


# -- 2 to 6 --------------------------------------------------------------------------------------------------------


def _build_and_store(pack: Pack, claim: str) -> None:
    report = _Reporter(claim)
    order = Order.of(pack, _pinned(pack, claim))
    with tempfile.NamedTemporaryFile(prefix="pack-", suffix=".zip") as file:
        built = build(order, file, progress=report)
        file.flush()
        _verify(Path(file.name), report)
        content = store.Content.of(file.file if hasattr(file, "file") else file)
        stored = _store(pack, claim, content, report)
    _complete(pack, claim, order, built, content, stored)


def _pinned(pack: Pack, claim: str) -> int:
    size = PackBuild.objects.values_list("checkpoint_size", flat=True).get(pack_id=pack.pk)
    if size is None:
        note = reader.latest_note()
        assert note is not None, "a pack that was asked for has a record"
        size = note.size
        PackBuild.objects.filter(claim=claim).update(checkpoint_size=size)
    return size


def _verify(path: Path, report: _Reporter) -> None:
    """Raises VerificationError at the first step that does not hold."""
    for step in verify_pack(path, verifiers=log_keys()):
        report(95, f"Verifying: step {step.number} of 11")


def _store(pack: Pack, claim: str, content: store.Content, report: _Reporter) -> store.Stored:
    key = f"packs/{pack.filename}"
    left = PackBuild.objects.values_list("upload_id", flat=True).get(pack_id=pack.pk)
    if left:
        store.abort(key, left)
    until = retention.retain_until("audit", timezone.now()).replace(microsecond=0) + timedelta(seconds=1)
    return store.store(
        key,
        content,
        until=until,
        began=lambda upload_id: _remember_upload(claim, upload_id),
        part_done=lambda done, total: report(96 + 3 * done // total, f"Storing: {done >> 20} of {total >> 20} MiB"),
    )


def _remember_upload(claim: str, upload_id: str) -> None:
    PackBuild.objects.filter(claim=claim).update(upload_id=upload_id)


def _complete(pack: Pack, claim: str, order: Order, built: Built, content: store.Content, stored: store.Stored) -> None:
    body = {
        "pack": pack.pk,
        "checkpoint_size": order.size,
        "s3_key": stored.key,
        "version_id": stored.version_id,
        "sha256": content.sha256,
        "size": content.size,
        "locked_until": format_time(stored.locked_until),
        "manifest": built.manifest,
        "records": built.records,
    }
    _settle("pack.completed", body, pack, claim)


def _fail(pack: Pack, claim: str, reason: str) -> None:
    reason = reason.replace("\x00", " ")[:1000] or "unknown"
    logger.error("pack %s failed: %s", pack.pk, reason)
    try:
        _settle("pack.failed", {"pack": pack.pk, "error": reason}, pack, claim)
    except (ProoftrailError, DatabaseError):
        logger.exception("the failure of pack %s could not be recorded; it is tried again", pack.pk)


def _settle(kind: str, body: dict[str, object], pack: Pack, claim: str) -> None:
    """Record an outcome, once, and only as long as the claim is ours."""

    def admit(_: datetime) -> None:
        held = PackBuild.objects.filter(pack_id=pack.pk, claim=claim).exists()
        if not held or not Pack.objects.filter(pk=pack.pk, state=Pack.REQUESTED).exists():
            raise LostClaimError("The claim on this pack has ended.")

    def apply(_: int, __: datetime) -> None:
        PackBuild.objects.filter(pack_id=pack.pk).delete()

    append(service_draft(kind, body, actor=Actor(SERVICE), systems=pack.systems, admit=admit, apply=apply))


def _postpone(pack: Pack, claim: str, error: Exception) -> None:
    """An outage: try again later, with patience that ends."""
    attempts = PackBuild.objects.filter(claim=claim).values_list("attempts", flat=True).first()
    if attempts is None:
        return
    if attempts >= MOST_ATTEMPTS:
        _fail(pack, claim, f"{error} ({attempts} attempts)")
        return
    logger.warning("pack %s, attempt %s: %s", pack.pk, attempts, error)
    _release(claim, after=PATIENCE * attempts, stage=f"Waiting after attempt {attempts}"[:80])
