"""Leaves of the ledger: RFC 8785 JSON of fixed members, holding nothing about a person.

A leaf lives for ever, so it has ids and digests only. What it commits to (salt, context, envelope)
can be erased; the salt keeps the digest from telling what was erased.
"""

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from evidence.tlog.canonical import parse_strict
from evidence.tlog.errors import MalformedError

SALT_SIZE = 16
_KIND = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_KIND = 100
_MEMBERS = {"v", "kind", "at", "occurred", "by", "scope", "digest"}
_CANONICAL = re.compile(
    rb'\{"at":"([0-9T:.-]{26}Z)","by":"([^"]*)","digest":"([^"]*)","kind":"([^"]*)","occurred":"([0-9T:.-]{26}Z)",'
    rb'"scope":\[([^\]]*)\],"v":1\}'
)
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
)


@functools.lru_cache(maxsize=256)  # all records of a batch were received at one time
def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with six digits of a second: ``2026-11-22T05:00:00.000000Z``."""
    return in_utc(moment).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC, where comparing is safe: elsewhere Python compares wall clocks, not moments."""
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        raise MalformedError("a time without its offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise MalformedError("a time outside the years 1 to 9999 in UTC") from error


def parse_time(text: str) -> datetime:
    """An RFC 3339 time with any offset, as UTC. Digits past the microsecond are dropped."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise MalformedError(f"{text[:48]!r} is not an RFC 3339 time with an offset")
    day, clock, fraction, offset = match.groups()
    micros = f"{fraction or '':0<6}"[:6]
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{micros}{offset or '+00:00'}")
    except ValueError as error:
        raise MalformedError(f"{text[:48]!r} is not a time that exists") from error
    return in_utc(moment)


def payload_digest(salt: bytes, context: bytes, envelope: bytes) -> str:
    """``sha256:`` of salt ‖ u32be(len context) ‖ context ‖ envelope; the salt has 16 bytes."""
    if len(salt) != SALT_SIZE:
        raise MalformedError(f"a salt has {SALT_SIZE} bytes, not {len(salt)}")
    return "sha256:" + sha256(salt + len(context).to_bytes(4, "big") + context + envelope).hexdigest()


@dataclass(frozen=True)
class Leaf:
    """One record's place in the ledger.

    ``at`` is when the ledger received it, ``occurred`` when it is said to have happened, never
    later, both kept in UTC; ``by`` an opaque principal id; ``scope`` sorted opaque system ids, empty for all.
    """

    kind: str
    at: datetime
    occurred: datetime
    by: str
    scope: tuple[str, ...]
    digest: str

    def __post_init__(self) -> None:
        _check_names(self.kind, self.by, self.scope)
        if not _DIGEST.fullmatch(self.digest):
            raise MalformedError("a digest is sha256: and 64 lower-case hex digits", path="$.digest")
        object.__setattr__(self, "at", in_utc(self.at))
        object.__setattr__(self, "occurred", in_utc(self.occurred))
        if self.occurred > self.at:
            raise MalformedError("nothing occurs after it was received", path="$.occurred")

    def encode(self) -> bytes:
        """RFC 8785 by hand: every member is checked to need no escape, and the order is fixed."""
        scope = ",".join(f'"{system}"' for system in self.scope)
        return (
            f'{{"at":"{format_time(self.at)}","by":"{self.by}","digest":"{self.digest}",'
            f'"kind":"{self.kind}","occurred":"{format_time(self.occurred)}","scope":[{scope}],"v":1}}'
        ).encode()


@functools.lru_cache(maxsize=1024)  # a pipeline sends the same all day
def _check_names(kind: str, by: str, scope: tuple[str, ...]) -> None:
    if not _KIND.fullmatch(kind) or len(kind) > _MAX_KIND:
        raise MalformedError(f"{kind[:64]!r} is not a kind", path="$.kind")
    if not _ID.fullmatch(by):
        raise MalformedError(f"{by[:64]!r} is not a principal id", path="$.by")
    if not all(map(_ID.fullmatch, scope)) or list(scope) != sorted(set(scope)):
        raise MalformedError("a scope is a sorted list of system ids, each once", path="$.scope")


def parse_leaf(data: bytes) -> Leaf:
    """A leaf that encodes to these very bytes again."""
    return _parse_canonical(data) or _parse_carefully(data)


def _parse_canonical(data: bytes) -> Leaf | None:
    """The usual case, quicker; None for anything else: `_parse_carefully` then says what is wrong with it."""
    match = _CANONICAL.fullmatch(data)
    if match is None:
        return None
    at, by, digest, kind, occurred, scope = match.group(1, 2, 3, 4, 5, 6)
    try:
        leaf = Leaf(
            kind=kind.decode(),
            at=datetime.fromisoformat(at.decode()),
            occurred=datetime.fromisoformat(occurred.decode()),
            by=by.decode(),
            scope=tuple(system.strip('"') for system in scope.decode().split(",")) if scope else (),
            digest=digest.decode(),
        )
    except (ValueError, MalformedError):
        return None
    return leaf if leaf.encode() == data else None


def _parse_carefully(data: bytes) -> Leaf:
    value = parse_strict(data)
    if not isinstance(value, dict) or value.keys() != _MEMBERS:
        raise MalformedError("a leaf has exactly the members " + ", ".join(sorted(_MEMBERS)), path="$")
    scope = value.pop("scope")
    if value.pop("v") != 1:
        raise MalformedError("this is version 1 of leaves", path="$.v")
    if not isinstance(scope, list) or not all(isinstance(item, str) for item in [*scope, *value.values()]):
        raise MalformedError("a leaf's members are text, its scope a list of text", path="$")
    leaf = Leaf(
        kind=value["kind"],
        at=parse_time(value["at"]),
        occurred=parse_time(value["occurred"]),
        by=value["by"],
        scope=tuple(scope),
        digest=value["digest"],
    )
    if leaf.encode() != data:
        raise MalformedError("a leaf is not in its canonical form", path="$")
    return leaf
