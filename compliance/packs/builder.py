"""Build a pack: the same order gives the same bytes (docs/pack.md shows what lies where).

1. carry the log's leaves from the bundle before the period to the checkpoint, and the frontier before them
2. add the records that required ones rest on
3. write every record with its inclusion proof, and the keys of their signatures
4. copy the artifacts that records name
5. judge the controls; write populations, criteria, exceptions and failures
6. state the parameters (`ipe.json`), the readable page, and sign the manifest
"""

import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any

from compliance.controls import catalog
from compliance.packs import contents, layout, page, plan
from compliance.packs.bag import BagWriter
from compliance.packs.findings import Findings
from compliance.packs.names import Names
from compliance.packs.plan import Order, Plan, Progress
from evidence import kinds
from evidence.keys import RecordSigner
from evidence.ledger import reader
from evidence.models import Record
from evidence.tlog import b64
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.leaf import format_time
from evidence.tlog.statement import Subject, build_statement


@dataclass(frozen=True)
class Built:
    """`manifest` is the digest of the bag's manifest, as the pack's statement names it."""

    manifest: str
    records: int


def build(order: Order, out: IO[bytes], *, progress: Progress) -> Built:
    """Write the pack to a seekable file. Raises LedgerMovedError when the checkpoint has become too old."""
    with (
        closing(Plan(order)) as planned,
        BagWriter(out, f"pack-{order.pack}") as bag,
        closing(Findings(planned)) as findings,
    ):
        plan.carry_leaves(planned, bag, progress)
        plan.add_supporting(planned, progress)
        contents.write_records(planned, bag, findings.see, progress)
        contents.write_artifacts(planned, bag, progress)
        progress(85, "Judging controls")
        counts = findings.write(bag)
        _write_log(planned, bag)
        bag.add(layout.KEYS, contents.to_json(contents.keys(planned)))
        predicate = _predicate(planned, findings.names)
        bag.add(layout.IPE, contents.to_json(_ipe(planned, predicate, counts, findings.names)))
        bag.add(layout.INDEX, page.render(planned, predicate, counts, findings))
        progress(94, "Signing the manifest")
        manifest = bag.close(_info(planned), lambda digest: _sign(predicate, digest, planned.signer))
        return Built(f"sha256:{manifest}", planned.count())


def _write_log(planned: Plan, bag: BagWriter) -> None:
    frontier = planned.frontier()
    hashes = [b64.encode(hash_) for hash_ in frontier.hashes]
    bag.add(layout.CHECKPOINT, planned.note.encode())
    bag.add(layout.FRONTIER, contents.to_json({"size": frontier.size, "hashes": hashes}))
    previous = _previous(planned)
    if previous is not None:
        old, new = previous["checkpoint_size"], planned.order.size
        proof = [b64.encode(hash_) for hash_ in reader.consistency(old, new)]
        bag.add(layout.CONSISTENCY, contents.to_json({"from": old, "to": new, "proof": proof}))


def _previous(planned: Plan) -> dict[str, Any] | None:
    """The newest pack completed before the checkpoint."""
    found = Record.objects.filter(kind="pack.completed", index__lt=planned.order.size, disposed_by=None).first()
    if found is None:
        return None
    body = reader.get(found.index).recorded.body
    return {name: body[name] for name in ("pack", "manifest", "checkpoint_size")}


def _predicate(planned: Plan, names: Names) -> dict[str, Any]:
    order, checkpoint = planned.order, planned.checkpoint
    root = b64.encode(checkpoint.root)
    return {
        "version": layout.VERSION,
        "pack": order.pack,
        "from": format_time(order.start),
        "to": format_time(order.end),
        "kinds": list(plan.KINDS),
        "systems": [{"id": system, "name": names.system(system)} for system in order.systems],
        "checkpoint": {"origin": checkpoint.origin, "size": checkpoint.size, "root": root},
        "range": {"start": planned.range_start, "first": planned.first},
        "artifact_kinds": sorted(kind.name for kind in kinds.load().by_name.values() if kind.needs_artifact),
        "key_record": planned.key_record,
        "previous": _previous(planned),
    }


def _sign(predicate: dict[str, Any], manifest: str, signer: RecordSigner) -> bytes:
    subject = Subject("manifest-sha256.txt", {"sha256": manifest})
    payload = build_statement(subjects=[subject], predicate_type=layout.PREDICATE_TYPE, predicate=predicate)
    return sign_envelope(payload, signer.key)


def _ipe(planned: Plan, predicate: dict[str, Any], counts: dict[str, Any], names: Names) -> dict[str, Any]:
    """Information produced by the entity: how this population was drawn, and what it leaves out."""
    order = planned.order
    return {
        "source": f"Prooftrail ledger {planned.checkpoint.origin}",
        "query": "Every record that occurred in [from, to) whose systems are among these, or that concerns all systems;"
        " with it, everything of the same releases, every exception open in the period, and what withdrew or"
        " disposed of any of these.",
        "parameters": {name: predicate[name] for name in ("from", "to", "kinds", "systems")},
        "as_of": format_time(planned.period.now),
        "log": predicate["checkpoint"] | {"leaves_from": planned.range_start, "first_of_period": planned.first},
        "revisions": {"controls": catalog.load().revision, "kinds": kinds.load().revision},
        "reconciliation": counts.pop("reconciliation"),
        "counts": counts,
        "gaps": {
            "sequence": "none: step 4 of the verification folds every leaf of the range to the checkpoint",
            "disposed_of": counts["records"]["disposed"],
        },
        "exclusions": {"sandbox_systems": [{"id": s, "name": names.system(s)} for s in order.excluded]},
    }


def _info(planned: Plan) -> list[tuple[str, str]]:
    order = planned.order
    identity = hashlib.sha256(f"{order.pack} {order.size}".encode()).hexdigest()[:16]
    return [
        ("Bag-Software-Agent", "Prooftrail"),
        ("External-Identifier", f"pack-{order.pack}"),
        ("Internal-Sender-Identifier", identity),
        ("Bagging-Date", f"{planned.period.now:%Y-%m-%d}"),
        (
            "External-Description",
            f"SOC 2 evidence, {order.start:%Y-%m-%d} to {order.end:%Y-%m-%d}, log size {order.size}",
        ),
    ]
