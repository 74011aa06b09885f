"""Steps 6 to 11 of the verifier: records, the pack's key, completeness, artifacts and populations."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compliance.packs import bag as bags
from compliance.packs import layout, tables
from compliance.packs.opened import InconsistentError, Pack
from evidence.tlog import b64
from evidence.tlog.canonical import parse_strict
from evidence.tlog.dsse import Envelope, parse_envelope, signers, verify_envelope
from evidence.tlog.errors import MalformedError, SignatureError, TlogError
from evidence.tlog.leaf import Leaf, parse_leaf, payload_digest
from evidence.tlog.merkle import leaf_hash, verify_inclusion
from evidence.tlog.statement import parse_statement
from evidence.tlog.tlog_proof import parse_proof

# -- 6, 7: records -------------------------------------------------------------------------------------------------


def records(pack: Pack) -> Iterator[int]:
    """Check every record; yields the number of the step that is about to be taken on it."""
    prefix = f"data/{layout.RECORDS_PREFIX}"
    for name in pack.container.names(prefix):
        text = name.removeprefix(prefix).removesuffix(".json")
        yield 6
        try:
            record = _parse(pack, text)
            _check_place(pack, record)
            if record.envelope is not None:
                _check_digest(record)
                yield 7
                _check_envelope(pack, record)
            _remember(pack, record)
        except TlogError as error:
            raise type(error)(f"record {text}: {error}") from error


@dataclass(frozen=True)
class _Record:
    index: int
    leaf_bytes: bytes
    leaf: Leaf
    disposed_by: int | None
    salt: bytes = b""
    context: bytes = b""
    envelope: bytes | None = None


def _parse(pack: Pack, text: str) -> _Record:
    value = pack.json(f"{layout.RECORDS_PREFIX}{text}.json", layout.MAX_RECORD)
    index, leaf = value["index"], b64.decode(value["leaf"])
    if type(index) is not int or str(index) != text:
        raise InconsistentError(f"the file says index {index}")
    if value.keys() == {"index", "leaf", "disposed_by"}:
        return _Record(index, leaf, parse_leaf(leaf), int(value["disposed_by"]))
    if value.keys() != {"index", "leaf", "salt", "context", "envelope"}:
        raise MalformedError("not the members of a record")
    salt, context, envelope = (b64.decode(value[name]) for name in ("salt", "context", "envelope"))
    return _Record(index, leaf, parse_leaf(leaf), None, salt, context, envelope)


def _check_place(pack: Pack, record: _Record) -> None:
    proof = parse_proof(pack.read(layout.proof_path(record.index)).decode())
    if proof.note != pack.note or proof.index != record.index:
        raise InconsistentError("its proof is of another record or leads to another checkpoint")
    verify_inclusion(
        index=record.index,
        size=pack.checkpoint.size,
        leaf_hash=leaf_hash(record.leaf_bytes),
        proof=proof.hashes,
        root=pack.checkpoint.root,
    )


def _check_digest(record: _Record) -> None:
    computed = payload_digest(record.salt, record.context, record.envelope or b"")
    if computed != record.leaf.digest:
        raise InconsistentError(
            f"salt, context and envelope have digest {computed}, its leaf says {record.leaf.digest}"
        )


def _check_envelope(pack: Pack, record: _Record) -> None:
    context = parse_strict(record.context)
    envelope = parse_envelope(record.envelope or b"")
    purpose, key_id = context["verification"]["signature"], context["key"]
    for signer in signers(context):
        key = pack.keys[purpose].get(signer)
        if key is None:
            raise SignatureError(f"keys.json has no {purpose} key {signer}")
        verify_envelope(envelope, {signer: key})
    if purpose == "service" and (own := pack.own_keys.get(key_id)) is not None and not own.counts_at(record.index):
        raise SignatureError(f"key {key_id} of the service does not sign records at its index")
    pack.signatures[purpose] += 1
    if purpose == "service" and len(pack.vouched) < 100:
        pack.vouched.add(key_id)
    _look_into(pack, record, envelope, context)


def _look_into(pack: Pack, record: _Record, envelope: Envelope, context: dict[str, Any]) -> None:
    """Note what the record's content means for later steps."""
    stated = parse_statement(envelope.payload)
    kind, index = record.leaf.kind, record.index
    required = pack.scope.requires(record.leaf)
    population = layout.population_of(kind, stated.predicate, required=required)
    if population is not None:
        pack.db.execute("INSERT INTO member VALUES (?, ?)", (population, index))
    if kind == "retention.disposed":
        gone = ((int(i), index) for i in stated.predicate["records"])
        pack.db.executemany("INSERT OR IGNORE INTO disposed VALUES (?, ?)", gone)
    if kind == "record.withdrawn":
        pack.db.execute("INSERT OR IGNORE INTO withdrawn VALUES (?)", (int(stated.predicate["index"]),))
    if kind == "deploy.inventory" and record.leaf.at >= pack.scope.start:
        rows = layout.listed(stated.predicate, start=pack.scope.start, end=pack.scope.end)
        pack.db.execute("INSERT INTO inventory VALUES (?)", (index,))
        pack.db.executemany("INSERT INTO listed VALUES (?, ?, ?)", ((index, *row) for row in rows))
    must = kind in pack.predicate["artifact_kinds"]
    digests = ((s.digest["sha256"], must) for s in stated.subjects if "sha256" in s.digest)
    pack.db.executemany(
        "INSERT INTO named VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET must = max(must, excluded.must)", digests
    )


def _remember(pack: Pack, record: _Record) -> None:
    pack.db.execute("INSERT INTO record VALUES (?, ?)", (record.index, record.disposed_by))
    pack.db.execute("INSERT INTO member VALUES ('records', ?)", (record.index,))


# -- 8, 9: the pack's key, completeness ---------------------------------------------------------------------------


def pack_key(pack: Pack) -> str:
    """A record in the log, written by the service, names the key: whoever signs with another has no such log."""
    created = pack.predicate.get("key_record")
    if created is not None:
        record = _parse(pack, str(created))
        if record.leaf.kind in layout.KEY_KINDS and record.envelope is not None:
            body = parse_statement(parse_envelope(record.envelope).payload).predicate
            if (body["purpose"], body["key_id"]) == ("record", pack.signed_by):
                return f"{record.leaf.kind} record {created} names {pack.signed_by[:16]}…"
        raise InconsistentError(f"record {created} does not create the key {pack.signed_by} that signed the pack")
    if pack.signed_by not in pack.vouched:
        raise InconsistentError(f"no record of the log was signed by the service with {pack.signed_by}")
    return f"records of the log were signed by the service with {pack.signed_by[:16]}…"


def completeness(pack: Pack) -> str:
    question = 'SELECT "index" FROM required EXCEPT SELECT "index" FROM record ORDER BY 1 LIMIT 5'
    missing = [index for (index,) in pack.db.execute(question)]
    if missing:
        raise InconsistentError(
            f"the log has records {missing} of this pack's kinds, systems and period: not in the pack"
        )
    unexplained = pack.db.execute(
        'SELECT "index", disposed_by FROM record WHERE disposed_by IS NOT NULL EXCEPT SELECT * FROM disposed LIMIT 1'
    ).fetchone()
    if unexplained:
        raise InconsistentError(
            f"record {unexplained[0]} has no content, and record {unexplained[1]} does not dispose of it"
        )
    required = pack.count("SELECT count(*) FROM required")
    others = pack.count("SELECT count(*) FROM record") - required
    return f"all {required} are here" + (f", with {others} older or later ones they rest on" if others else "")


# -- 10, 11: artifacts, populations -------------------------------------------------------------------------------


def artifacts(pack: Pack) -> str:
    prefix, count = f"data/{layout.ARTIFACTS_PREFIX}", 0
    for name in pack.container.names(prefix):
        digest = name.removeprefix(prefix)
        (stated,) = pack.db.execute("SELECT digest FROM manifest WHERE name = ?", (name,)).fetchone()
        if digest != stated:
            raise InconsistentError(f"artifact {digest} has SHA-256 {stated}")
        if not pack.count("SELECT count(*) FROM named WHERE digest = ?", digest):
            raise InconsistentError(f"artifact {digest} is named by no record of the pack")
        count += 1
    for (digest,) in pack.db.execute("SELECT digest FROM named WHERE must = 1"):
        if not pack.container.has(prefix + digest):
            raise InconsistentError(f"artifact {digest} is missing, though a record rests on it")
    return f"{count} files"


def populations(pack: Pack) -> str:
    ipe = pack.json(layout.IPE)
    stated = ipe["counts"]
    for name in layout.POPULATIONS:
        listed = _check_population(pack, name)
        if listed != stated["populations"][name]:
            raise InconsistentError(f"ipe.json counts {stated['populations'][name]} {name}, the table has {listed}")
    for control, expected in stated["controls"].items():
        _check_criteria(pack, control, expected)
    _check_failures(pack, stated["failures"], ipe.get("reconciliation"))  # packs of before have none
    summary = ", ".join(f"{stated['populations'][name]} {name}" for name in layout.POPULATIONS)
    return f"{summary}; {len(stated['controls'])} controls; {stated['failures']} failures"


def _check_failures(pack: Pack, expected: int, reconciliation: dict[str, Any] | None) -> None:
    """Rows are counted, rest on records of the pack, and name everything that a host lists besides."""
    found, unmatched = 0, 0
    for row in tables.rows(bags.lines(pack.container, f"data/{layout.FAILURES}")):
        found += 1
        unmatched += row["source"] == layout.INVENTORY
        for index in filter(None, [row["index"], *row["records"].split("; ")]):
            if not pack.count('SELECT count(*) FROM record WHERE "index" = ?', int(index)):
                raise InconsistentError(f"failures.csv rests on record {index}, which is not in the pack")
    if found != expected:
        raise InconsistentError(f"failures.csv has {found} rows, ipe.json says {expected}")
    if reconciliation is not None:
        _check_reconciliation(pack, reconciliation, unmatched)


def _check_reconciliation(pack: Pack, stated: dict[str, Any], unmatched: int) -> None:
    if unmatched != stated["unrecorded"] + stated["unlisted"]:
        raise InconsistentError(f"failures.csv has {unmatched} unmatched deployments, ipe.json says otherwise")
    question = 'SELECT "index" FROM inventory EXCEPT SELECT "index" FROM withdrawn ORDER BY 1'
    there = [index for (index,) in pack.db.execute(question)]
    if there != [int(each["index"]) for each in stated["inventories"]]:
        raise InconsistentError(f"the records have the inventories {there}, ipe.json names others")
    rows = pack.count(
        "SELECT count(*) FROM (SELECT DISTINCT source, id FROM listed WHERE by_record NOT IN (SELECT * FROM withdrawn))"
    )
    if rows != stated["matched"] + stated["unrecorded"]:
        raise InconsistentError(f"inventories list {rows} deployments of the period, ipe.json accounts for others")


def _check_population(pack: Pack, name: str) -> int:
    listed = 0
    for row in tables.rows(bags.lines(pack.container, f"data/{layout.population_path(name)}")):
        index = int(row["index"])
        question = 'SELECT count(*) FROM member WHERE population = ? AND "index" = ?'
        if not pack.count(question, name, index):
            raise InconsistentError(f"populations/{name}.csv lists record {index}, which is not one of them")
        listed += 1
    members = pack.count("SELECT count(*) FROM member WHERE population = ?", name)
    if listed != members:
        raise InconsistentError(f"populations/{name}.csv has {listed} rows, the records are {members}")
    return listed


def _check_criteria(pack: Pack, control: str, expected: dict[str, int]) -> None:
    found: dict[str, int] = {}
    for row in tables.rows(bags.lines(pack.container, f"data/{layout.CRITERIA_PREFIX}{control}.csv")):
        status = row["status"].replace(" ", "_")
        found[status] = found.get(status, 0) + 1
        for index in filter(None, [row["index"], *row["records"].split("; ")]):
            if not pack.count('SELECT count(*) FROM record WHERE "index" = ?', int(index)):
                raise InconsistentError(f"criteria/{control}.csv rests on record {index}, which is not in the pack")
    if found != {status: count for status, count in expected.items() if count}:
        raise InconsistentError(
            f"criteria/{control}.csv has rows {json.dumps(found)}, ipe.json says {json.dumps(expected)}"
        )
