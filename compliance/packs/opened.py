"""A pack that is being verified: its container, and what the steps so far have found out about it.

Lists that grow with the pack are tables of a temporary SQLite file: ``required`` (leaves of the pack's kinds,
systems and period), ``record`` (records found), ``member`` (populations as the records give them), ``disposed``
(who says that which record was disposed of), ``withdrawn`` (what a record withdraws), ``inventory`` (lists of
deployments received since the period began), ``listed`` (their rows of the period), ``named`` (artifacts that records
name).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from compliance.packs import layout
from compliance.packs.container import ZipReader
from evidence.tlog import b64, signing
from evidence.tlog.canonical import parse_strict
from evidence.tlog.checkpoint import Checkpoint, parse_checkpoint
from evidence.tlog.errors import TlogError
from evidence.tlog.keyring import KeyList, RecordKey, key_list
from evidence.tlog.leaf import Leaf, parse_time
from evidence.tlog.note import parse_note

_TABLES = """
CREATE TABLE required ("index" INTEGER PRIMARY KEY);
CREATE TABLE record ("index" INTEGER PRIMARY KEY, disposed_by INTEGER);
CREATE TABLE member (population TEXT, "index" INTEGER, PRIMARY KEY (population, "index"));
CREATE TABLE disposed ("index" INTEGER, by_record INTEGER, PRIMARY KEY ("index", by_record));
CREATE TABLE withdrawn ("index" INTEGER PRIMARY KEY);
CREATE TABLE inventory ("index" INTEGER PRIMARY KEY);
CREATE TABLE listed (by_record INTEGER, source TEXT, id TEXT);
CREATE TABLE named (digest TEXT PRIMARY KEY, must INTEGER);
"""


class InconsistentError(TlogError):
    """Two parts of the pack contradict each other."""

    code = "pack_inconsistent"


@dataclass(frozen=True)
class Scope:
    """What the signed statement says the pack covers."""

    kinds: tuple[str, ...]
    systems: frozenset[str]
    start: datetime
    end: datetime

    def requires(self, leaf: Leaf) -> bool:
        return layout.is_required(leaf, kinds=self.kinds, systems=self.systems, start=self.start, end=self.end)


class Pack:
    """An opened pack and what the steps so far have found out about it."""

    def __init__(self, container: ZipReader) -> None:
        self.container = container
        self.db = container.index
        self.db.executescript(_TABLES)
        self.manifest = ""
        self.predicate: dict[str, Any] = {}
        self.signed_by = ""
        self.earlier_root: bytes | None = None
        #: When the newest leaf so far was received.
        self.last_at = datetime.min.replace(tzinfo=UTC)
        self.vouched: set[str] = set()
        self.signatures = {"service": 0, "pipeline": 0}

    def read(self, name: str, limit: int = layout.MAX_SMALL) -> bytes:
        """A payload file, by its path below ``data/``."""
        return self.container.read(f"data/{name}", limit)

    def json(self, name: str, limit: int = layout.MAX_SMALL) -> Any:
        return parse_strict(self.read(name, limit))

    def count(self, question: str, *values: object) -> int:
        (found,) = self.db.execute(question, values).fetchone()
        return int(found)

    @cached_property
    def note(self) -> str:
        return self.read(layout.CHECKPOINT).decode()

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return parse_checkpoint(parse_note(self.note).text)

    @cached_property
    def scope(self) -> Scope:
        predicate = self.predicate
        return Scope(
            tuple(predicate["kinds"]),
            frozenset(system["id"] for system in predicate["systems"]),
            parse_time(predicate["from"]),
            parse_time(predicate["to"]),
        )

    @cached_property
    def keys(self) -> dict[str, dict[str, signing.PublicKey]]:
        """Public keys by purpose (``service``, ``pipeline``) and id; an id is the key's own SHA-256."""
        found: dict[str, dict[str, signing.PublicKey]] = {"service": {}, "pipeline": {}}
        for entry in self.json(layout.KEYS)["keys"]:
            key = signing.decode(b64.decode(entry["public_key"]))
            if entry["key_id"] != signing.digest(key):
                raise InconsistentError(f"keys.json: {entry['key_id']} is not the SHA-256 of its key")
            found[entry["purpose"]][entry["key_id"]] = key
        return found

    @cached_property
    def key_list(self) -> KeyList:
        """The service's own keys over time, as the pack tells them; packs of before have no such ranges."""
        told = self.json(layout.KEYS)
        return key_list({"keys": told.get("log", []), "record_keys": told.get("record_keys", [])})

    @cached_property
    def own_keys(self) -> dict[str, RecordKey]:
        return {key.key_id: key for key in self.key_list.record}

    def described(self, what: str) -> str:
        if what == "envelopes":
            return f"{self.signatures['pipeline']} signed by pipelines, {self.signatures['service']} by the service"
        total = self.count("SELECT count(*) FROM record")
        gone = self.count("SELECT count(*) FROM record WHERE disposed_by IS NOT NULL")
        return f"{total} records" + (f", {gone} of them disposed of by the rules of retention" if gone else "")
