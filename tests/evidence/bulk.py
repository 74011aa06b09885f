"""A large ledger in a short time: what `append_all` writes, through COPY, as the runtime role.

``fill`` writes real leaves, salted payloads, envelopes signed by the record key, records, tiles and one signed
checkpoint per 10,000 entries; `check_ledger` finds nothing in it. It takes no part in what the appender decides
(keys, credentials, holds): use it on a ledger where nothing of that matters.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.db import connection as default_connection

from evidence import retention
from evidence.keys import log_signer, record_signer
from evidence.kinds import load as load_kinds
from evidence.models.people import SERVICE
from evidence.tlog.canonical import canonical
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.leaf import Leaf, payload_digest
from evidence.tlog.merkle import Frontier, leaf_hash, pair_up
from evidence.tlog.note import sign_note
from evidence.tlog.statement import build_statement, parse_statement
from evidence.tlog.tiles import TILE

BATCH = 10_000
KIND = "scan.result"
_PARTITION = 1_000_000
_COPY_START, _COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Connection = psycopg.Connection[Any]
Progress = Callable[[int, int], None]
"""(entries written so far, entries wanted)."""


def fill(count: int, *, system: str, connection: Connection | None = None, progress: Progress | None = None) -> None:
    """Append `count` records about `system` (its opaque id), 10,000 a transaction, in flat memory.

    `connection` is one of the runtime role in autocommit; default: Django's own.
    """
    if connection is None:
        default_connection.ensure_connection()
        connection = default_connection.connection
    writer = _Writer(system)
    for done in range(0, count, BATCH):
        with connection.transaction(), connection.cursor() as cursor:
            writer.write(cursor, min(BATCH, count - done))
        if progress is not None:
            progress(min(done + BATCH, count), count)


def body_of(index: int) -> dict[str, Any]:
    """What record `index` says: valid for its kind, different each time."""
    return {
        "findings": {"critical": 0, "high": index % 3, "low": index % 11},
        "outcome": "passed" if index % 50 else "failed",
        "scanner": "trivy 0.58.1",
        "type": "sca",
        "url": f"https://ci.example.com/runs/{index}",
    }


@dataclass(frozen=True)
class _Rows:
    """One batch as COPY takes it."""

    leaf_hashes: list[bytes]
    entries: list[bytes]
    payloads: list[bytes]
    records: list[bytes]


class _Writer:
    def __init__(self, system: str) -> None:
        self._system = system
        self._kind = load_kinds().named(KIND)
        self._kind.validate(body_of(0), self._kind.predicate_types[0])
        signer = record_signer()
        self._key = signer.key
        verification = {"schema": self._kind.predicate_types[0], "signature": "service"}
        self._context = canonical(
            {
                "claims": {},
                "key": signer.id,
                "occurred": None,
                "principal": SERVICE,
                "release": None,
                "verification": verification,
            }
        )
        _check_statement(self._kind.predicate_types[0])

    def write(self, cursor: psycopg.Cursor[Any], count: int) -> None:
        """One batch, in the order of the appender: head, entries, payloads, records, tiles, checkpoint."""
        frontier, at = _lock_head(cursor)
        rows = self._rows(frontier.size, count, at)
        growth = frontier.extend(rows.leaf_hashes)
        if growth.size // _PARTITION != frontier.size // _PARTITION:
            cursor.execute("SELECT evidence_ensure_partitions(%s)", [growth.size])
        cursor.execute(
            "UPDATE evidence_head SET size = %s, root = %s, frontier = %s, last_at = %s WHERE id = 1",
            [growth.size, growth.root, b"".join(growth.frontier.hashes), at],
        )
        _copy(cursor, 'evidence_entry ("index", leaf, leaf_hash)', rows.entries)
        _copy(
            cursor,
            'evidence_payload ("index", salt, context, envelope, codec, retention_class, retain_until)',
            rows.payloads,
        )
        with cursor.copy(
            'COPY evidence_record ("index", kind, at, occurred, principal, scope, subjects, outcome, facts, signed_by)'
            " FROM STDIN"
        ) as copy:
            copy.write(b"".join(rows.records))
        _copy(cursor, "evidence_tile (level, number, hashes)", _full_tiles(cursor, frontier.size, rows.leaf_hashes))
        signer = log_signer()
        note = sign_note(Checkpoint(signer.name, growth.size, growth.root).text(), [signer])
        cursor.execute("INSERT INTO evidence_note (size, text) VALUES (%s, %s)", [growth.size, note])

    def _rows(self, start: int, count: int, at: datetime) -> _Rows:
        rows = _Rows([], [], [], [])
        until = retention.retain_until(self._kind.retention, at)
        after = _field(b"\0\0") + _field(self._kind.retention.encode()) + _field(_timestamp(until))
        context, salts = _field(self._context), os.urandom(16 * count)
        for number in range(count):
            index, salt = start + number, salts[16 * number : 16 * number + 16]
            body = body_of(index)
            subject, payload = _statement(index, self._kind.predicate_types[0])
            envelope = sign_envelope(payload, self._key)
            digest = payload_digest(salt, self._context, envelope)
            leaf = Leaf(KIND, at, at, SERVICE, (self._system,), digest).encode()
            hash_ = leaf_hash(leaf)
            key = _field(index.to_bytes(8, "big"))
            rows.leaf_hashes.append(hash_)
            rows.entries.append(b"\0\3" + key + _field(leaf) + _field(hash_))
            rows.payloads.append(b"\0\7" + key + _field(salt) + context + _field(envelope) + after)
            rows.records.append(self._record(index, at, subject, body))
        return rows

    def _record(self, index: int, at: datetime, subject: str, body: dict[str, Any]) -> bytes:
        facts = canonical(self._kind.facts_of(body)).decode()
        return (
            f"{index}\t{KIND}\t{at.isoformat()}\t{at.isoformat()}\t{SERVICE}\t{{{self._system}}}\t"
            f"{{sha256:{subject}}}\t{self._kind.outcome_of(body)}\t{facts}\tservice\n"
        ).encode()


def _statement(index: int, predicate_type: str) -> tuple[str, bytes]:
    """The subject's digest and the statement about it: what `build_statement` writes, many times quicker."""
    outcome = "passed" if index % 50 else "failed"
    body = (
        f'{{"findings":{{"critical":0,"high":{index % 3},"low":{index % 11}}},"outcome":"{outcome}",'
        f'"scanner":"trivy 0.58.1","type":"sca","url":"https://ci.example.com/runs/{index}"}}'
    )
    subject = hashlib.sha256(body.encode()).hexdigest()
    statement = (
        f'{{"_type":"https://in-toto.io/Statement/v1","predicate":{body},"predicateType":"{predicate_type}",'
        f'"subject":[{{"digest":{{"sha256":"{subject}"}},"name":"{KIND}"}}]}}'
    )
    return subject, statement.encode()


def _check_statement(predicate_type: str) -> None:
    """What is written by hand above is what the product writes."""
    for index in (0, 1234567):
        subject, payload = _statement(index, predicate_type)
        wanted = build_statement(
            subjects=[{"name": KIND, "digest": {"sha256": subject}}],
            predicate_type=predicate_type,
            predicate=body_of(index),
        )
        assert payload == wanted
        assert subject == hashlib.sha256(canonical(parse_statement(payload).predicate)).hexdigest()


def _lock_head(cursor: psycopg.Cursor[Any]) -> tuple[Frontier, datetime]:
    cursor.execute("SELECT size, frontier, last_at, clock_timestamp() FROM evidence_head WHERE id = 1 FOR UPDATE")
    row = cursor.fetchone()
    assert row is not None
    size, hashes, last_at, now = row
    return Frontier(size, tuple(_hashes(bytes(hashes)))), max(now, last_at).astimezone(UTC)


def _full_tiles(cursor: psycopg.Cursor[Any], old_size: int, new: Sequence[bytes]) -> list[bytes]:
    """Every tile that becomes full, as rows."""
    rows: list[bytes] = []
    level, first = 0, old_size
    while True:
        start = first - first % TILE
        hashes = [*_earlier(cursor, level, start, first), *new]
        tiles = [hashes[at : at + TILE] for at in range(0, len(hashes) - TILE + 1, TILE)]
        if not tiles:
            return rows
        first, new = start // TILE, [_root(tile) for tile in tiles]
        for number, tile in enumerate(tiles, start=first):
            rows.append(
                b"\0\3" + _field(level.to_bytes(2, "big")) + _field(number.to_bytes(8, "big")) + _field(b"".join(tile))
            )
        level += 1


def _earlier(cursor: psycopg.Cursor[Any], level: int, start: int, end: int) -> list[bytes]:
    """The hashes [start, end) of a level, which lie in a tile that is not full yet."""
    if level == 0:
        query = 'SELECT leaf_hash FROM evidence_entry WHERE "index" >= %s AND "index" < %s ORDER BY "index"'
        cursor.execute(query, [start, end])
    else:
        query = "SELECT root FROM evidence_tile WHERE level = %s AND number >= %s AND number < %s ORDER BY number"
        cursor.execute(query, [level - 1, start, end])
    return [bytes(row[0]) for row in cursor.fetchall()]


def _root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = pair_up(hashes)
    return hashes[0]


def _hashes(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 32] for at in range(0, len(data), 32))


# -- PostgreSQL's binary COPY ------------------------------------------------------------------------------------------


def _copy(cursor: psycopg.Cursor[Any], into: str, rows: Sequence[bytes]) -> None:
    if not rows:
        return
    with cursor.copy(f"COPY {into} FROM STDIN (FORMAT binary)") as copy:
        copy.write(_COPY_START + b"".join(rows) + _COPY_END)


def _field(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


def _timestamp(moment: datetime) -> bytes:
    since = moment - _POSTGRES_EPOCH
    return struct.pack("!q", (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds)
