"""A pack's records, proofs, keys and artifacts, written into the bag a page at a time."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from compliance.packs import layout
from compliance.packs.bag import BagWriter
from compliance.packs.container import CHUNK
from compliance.packs.plan import LedgerMovedError, Plan, Progress
from config.errors import UnavailableError
from evidence import keylist, storage
from evidence.ledger.draft import Recorded
from evidence.ledger.reader import Stored, read_many
from evidence.models import Artifact, PipelineKey, Record, SigningKey
from evidence.tlog import b64
from evidence.tlog.dsse import signers
from evidence.tlog.merkle import inclusion_proof
from evidence.tlog.tlog_proof import format_proof

#: Envelopes have up to a megabyte each.
PAGE = 50
#: Gets each record: its entry, its content (None once disposed of), its row and whether it is required.
Visitor = Callable[[Stored, Recorded | None, Record, bool], None]


def to_json(value: Any) -> bytes:
    """Readable, and the same bytes for the same value."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def write_records(plan: Plan, bag: BagWriter, visit: Visitor, progress: Progress) -> None:
    """Put every record with its proof into the bag, showing each to `visit`."""
    total, done = plan.count(), 0
    for page in plan.pages(PAGE):
        stored = read_many(page)
        rows = Record.objects.in_bulk(list(page))
        recorded = [_write_record(plan, bag, stored[index], rows[index]) for index in page]
        for (index, required), content in zip(page.items(), recorded, strict=True):
            visit(stored[index], content, rows[index], required)
        _note_artifacts(plan, [rows[index] for index in page])
        done += len(page)
        progress(25 + 45 * done // total, f"Writing records: {done} of {total}")


def _write_record(plan: Plan, bag: BagWriter, entry: Stored, row: Record) -> Recorded | None:
    index, size = entry.index, plan.order.size
    members: dict[str, Any] = {"index": index, "leaf": b64.encode(entry.leaf_bytes)}
    content = None
    if entry.salt is None or entry.context is None or entry.envelope is None:
        if row.disposed_by is None or row.disposed_by >= size:
            raise LedgerMovedError(f"Record {index} was disposed of after the checkpoint at size {size}.")
        members["disposed_by"] = row.disposed_by
    else:
        parts = {"salt": entry.salt, "context": entry.context, "envelope": entry.envelope}
        members |= {name: b64.encode(data) for name, data in parts.items()}
        content = entry.recorded
        purpose = "pipeline" if content.signed_by == "pipeline" else "service"
        signed = [(purpose, key_id) for key_id in signers(content.context)]
        plan.db.executemany("INSERT OR IGNORE INTO signing_key VALUES (?, ?)", signed)
    bag.add(layout.record_path(index), to_json(members))
    proof = format_proof(index, inclusion_proof(index, size, plan.nodes), plan.note)
    bag.add(layout.proof_path(index), proof.encode())
    return content


# -- artifacts ---------------------------------------------------------------------------------------------------------


def _note_artifacts(plan: Plan, rows: list[Record]) -> None:
    by_digest = {s.removeprefix("sha256:"): row for row in reversed(rows) for s in row.subjects}
    systems = {system for row in rows for system in row.scope}
    kept = Artifact.objects.filter(
        sha256__in=list(by_digest), system__in=systems, state=Artifact.CONFIRMED, created_at__lte=plan.period.now
    ).order_by("pk")
    plan.db.executemany(
        "INSERT OR IGNORE INTO artifact VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(a.sha256, a.key, a.version_id, a.size, a.name, a.media_type, by_digest[a.sha256].index) for a in kept],
    )


def artifacts(plan: Plan) -> Iterator[tuple[Any, ...]]:
    """(digest, key, version, size, name, media type, record) of each artifact, in the order of their digests."""
    last = ""
    question = "SELECT * FROM artifact WHERE digest > ? ORDER BY digest LIMIT 100"
    while page := plan.db.execute(question, (last,)).fetchall():
        yield from page
        last = page[-1][0]


def write_artifacts(plan: Plan, bag: BagWriter, progress: Progress) -> int:
    """Copy the files that records name from the object store; each must still have its digest."""
    (total,) = plan.db.execute("SELECT count(*) FROM artifact").fetchone()
    done = 0
    for digest, key, version, size, name, _, _ in artifacts(plan):
        progress(70 + 15 * done // total, f"Copying artifacts: {done} of {total}")
        bag.add_chunks(layout.ARTIFACTS_PREFIX + digest, _object(key, version, name), size, expected=digest)
        done += 1
    return done


def _object(key: str, version: str, name: str) -> Iterator[bytes]:
    client = storage.client()
    with storage.unavailable(f"reading artifact {name}"):
        try:
            body = client.get_object(Bucket=storage.bucket(), Key=key, VersionId=version)["Body"]
        except client.exceptions.ClientError as error:
            raise UnavailableError(
                f"Artifact {name} cannot be read from the object store.", code="artifact_unreadable"
            ) from error
        yield from body.iter_chunks(CHUNK)


# -- keys ------------------------------------------------------------------------------------------------------------


def keys(plan: Plan) -> Mapping[str, Any]:
    """Public keys of every signature in the pack, the pack's own among them, and the log's as it lists them.

    Of the log's keys a verifier believes only what leads on from one that it trusts (`evidence.tlog.keyring`).
    """
    wanted = set(plan.db.execute("SELECT purpose, id FROM signing_key")) | {("service", plan.signer.id)}
    ids = [key_id for _, key_id in wanted]
    public = dict(PipelineKey.objects.filter(key_id__in=ids).values_list("key_id", "public_key"))
    public |= dict(SigningKey.objects.filter(purpose="record", key_id__in=ids).values_list("key_id", "public_key"))
    listed = keylist.answer(plan.order.size)
    return {
        "keys": [
            {"key_id": key_id, "purpose": purpose, "public_key": b64.encode(bytes(public[key_id]))}
            for purpose, key_id in sorted(wanted)
        ],
        "log": listed["keys"],
        "record_keys": listed["record_keys"],
    }
