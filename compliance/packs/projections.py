"""What `pack.*` records change: rows of `Pack`."""

from compliance.models.packs import Pack
from evidence.ledger import Recorded
from evidence.projections import projection
from evidence.tlog.leaf import parse_time


def _forget(index: int) -> None:
    Pack.objects.filter(requested_index=index).delete()


@projection("pack.requested", tables=[Pack], forget=_forget)
def _requested(record: Recorded) -> None:
    body = record.body
    Pack.objects.create(
        id=body["pack"],
        requested_index=record.index,
        requested_by=record.leaf.by,
        requested_at=record.leaf.at,
        period_from=parse_time(body["from"]),
        period_to=parse_time(body["to"]),
        systems=body["systems"],
        excluded=body["excluded"],
        settled_index=record.index,
    )


@projection("pack.retried")
def _retried(record: Recorded) -> None:
    Pack.objects.filter(id=record.body["pack"]).update(state=Pack.REQUESTED, error="", settled_index=record.index)


@projection("pack.failed")
def _failed(record: Recorded) -> None:
    body = record.body
    Pack.objects.filter(id=body["pack"]).update(state=Pack.FAILED, error=body["error"], settled_index=record.index)


@projection("pack.completed")
def _completed(record: Recorded) -> None:
    body = record.body
    Pack.objects.filter(id=body["pack"]).update(
        state=Pack.READY,
        error="",
        settled_index=record.index,
        checkpoint_size=body["checkpoint_size"],
        s3_key=body["s3_key"],
        version_id=body["version_id"],
        sha256=body["sha256"],
        size=body["size"],
        locked_until=parse_time(body["locked_until"]),
    )
