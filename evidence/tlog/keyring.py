"""The keys of a log over time: which counted when, and how who trusts an old one comes to trust its successor.

A list of keys proves nothing by itself, and neither do two signatures under one checkpoint: anybody can add a line of
his own. What introduces a key is the record `key.rotated` that names it, in the log under a checkpoint that a key
trusted so far signed. `follow` argues in these steps:

1. An entry's ``introduced`` is a receipt that verifies under the keys trusted so far (`verify_receipt`, steps 1 to 5).
2. It is of kind `key.rotated`, for the log, and names exactly this key.
3. The key signs from the second checkpoint after that record on; the first is its predecessor's alone.
4. An entry's ``ended`` is such a receipt too, of kind `key.retired` or `key.revoked`: the checkpoint that first covers
   that record is the last one that the key signs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evidence.tlog import b64
from evidence.tlog.canonical import parse_strict
from evidence.tlog.checkpoint import LogKey
from evidence.tlog.dsse import parse_envelope
from evidence.tlog.errors import MalformedError, SignatureError, TlogError
from evidence.tlog.keys import key_digest, load_raw
from evidence.tlog.leaf import parse_leaf
from evidence.tlog.note import Verifier
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.statement import parse_statement

ROTATED = "key.rotated"
ENDED = ("key.retired", "key.revoked")


def first_size(rotated: int) -> int:
    """The first checkpoint that a key signs which the record at this index introduces."""
    return rotated + 2


def last_size(ended: int) -> int:
    """The last checkpoint that a key signs which the record at this index ends."""
    return ended + 1


@dataclass(frozen=True)
class RecordKey:
    """A key that signed what arrived unsigned, with the indexes of the records it signs."""

    key_id: str
    public_key: Ed25519PublicKey
    from_index: int = 0
    to_index: int | None = None

    def counts_at(self, index: int) -> bool:
        return self.from_index <= index and (self.to_index is None or index <= self.to_index)


@dataclass(frozen=True)
class Offered:
    """A log key as a list gives it: what it claims of itself, and the receipts that could prove it."""

    key: LogKey
    introduced: bytes | None
    ended: bytes | None


@dataclass(frozen=True)
class KeyList:
    """What ``GET log/keys`` answers. Whoever takes it as it is trusts who gave it."""

    offered: tuple[Offered, ...]
    record: tuple[RecordKey, ...]

    @property
    def log(self) -> tuple[LogKey, ...]:
        return tuple(entry.key for entry in self.offered)

    def record_keys(self, index: int) -> dict[str, Ed25519PublicKey]:
        """The record keys whose signature counts at that index, by id."""
        return {key.key_id: key.public_key for key in self.record if key.counts_at(index)}


def parse_keys(data: bytes) -> KeyList:
    """A key list as the service answers it. Raises MalformedError."""
    return key_list(parse_strict(data))


def key_list(value: Any) -> KeyList:
    """The same from JSON that was parsed already."""
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        raise MalformedError("a key list is an object with a list of keys", path="$.keys")
    records = value.get("record_keys", [])
    if not isinstance(records, list):
        raise MalformedError("record_keys is a list", path="$.record_keys")
    return KeyList(tuple(offered(entry) for entry in value["keys"]), tuple(_record_key(entry) for entry in records))


def offered(entry: Any) -> Offered:
    if not isinstance(entry, dict) or not isinstance(entry.get("vkey"), str):
        raise MalformedError("an entry of a key list has a vkey")
    known = Verifier.parse(entry["vkey"])
    key = LogKey(known.name, known.public_key, _size(entry, "from_size") or 0, _size(entry, "to_size"))
    return Offered(key, _receipt(entry, "introduced"), _receipt(entry, "ended"))


def _size(entry: Mapping[str, Any], name: str) -> int | None:
    value = entry.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise MalformedError(f"{name} is a size or null")
    return value


def _receipt(entry: Mapping[str, Any], name: str) -> bytes | None:
    return json.dumps(entry[name]).encode() if entry.get(name) is not None else None


def _record_key(entry: Any) -> RecordKey:
    if not isinstance(entry, dict) or not isinstance(entry.get("public_key"), str):
        raise MalformedError("an entry of record_keys has a public_key")
    public = load_raw(b64.decode(entry["public_key"]))
    if entry.get("key_id") != key_digest(public):
        raise MalformedError(f"key_id {str(entry.get('key_id'))[:64]!r} is not the SHA-256 of its key")
    return RecordKey(key_digest(public), public, _size(entry, "from_index") or 0, _size(entry, "to_index"))


# -- from trusted keys to their successors -------------------------------------------------------------------------


def follow(trusted: Sequence[Verifier], offers: Iterable[Offered]) -> list[Verifier]:
    """`trusted` with the ends that the log proves, and after them the keys that it proves to be their successors.

    What cannot be proven is left out; nothing here raises.
    """
    keys, waiting = list(trusted), list(offers)
    while found := next(((offer, key) for offer in waiting if (key := _introduced(offer, keys))), None):
        keys.append(found[1])
        waiting.remove(found[0])
        keys = _with_ends(keys, found[0])
    for offer in waiting:
        keys = _with_ends(keys, offer)
    return keys


def _introduced(offer: Offered, trusted: Sequence[Verifier]) -> LogKey | None:
    key = offer.key
    if offer.introduced is None or any(known.vkey == key.vkey for known in trusted):
        return None
    try:
        index = _proven(offer.introduced, trusted, (ROTATED,), key)
    except TlogError:
        return None
    return LogKey(key.name, key.public_key, first_size(index))


def _with_ends(keys: Sequence[Verifier], offer: Offered) -> list[Verifier]:
    return [_ended(key, offer, keys) if key.vkey == offer.key.vkey else key for key in keys]


def _ended(key: Verifier, offer: Offered, trusted: Sequence[Verifier]) -> Verifier:
    started = key.from_size if isinstance(key, LogKey) else 0
    if offer.ended is None or (isinstance(key, LogKey) and key.to_size is not None):
        return key
    try:
        index = _proven(offer.ended, trusted, ENDED, key)
    except TlogError:
        return key
    return LogKey(key.name, key.public_key, started, last_size(index))


def _proven(receipt: bytes, trusted: Sequence[Verifier], kinds: Sequence[str], key: Verifier) -> int:
    """The index of the record that the receipt proves, which is of one of these kinds and about this log key."""
    parsed = parse_receipt(receipt)
    same_log = [known for known in trusted if known.name == key.name]
    if not same_log or not all(step.ok for step in verify_receipt(parsed, verifiers=same_log)):
        raise SignatureError("the receipt proves nothing under the keys trusted so far")
    body = parse_statement(parse_envelope(parsed.envelope or b"").payload).predicate
    kind = parse_leaf(parsed.leaf).kind
    if kind not in kinds or (body.get("purpose"), body.get("key_id")) != ("log", key.vkey):
        raise SignatureError(f"the receipt is not about {key.vkey}")
    return parsed.index
