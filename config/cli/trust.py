"""Which log keys the user trusts, as they were given, kept in the profile, and followed through rotations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.cli.errors import CommandError, ExitCode, usage
from evidence.tlog import keyring
from evidence.tlog.checkpoint import LogKey
from evidence.tlog.errors import MalformedError
from evidence.tlog.keyring import KeyList, RecordKey
from evidence.tlog.note import Verifier

if TYPE_CHECKING:
    from config.cli.api import Api


@dataclass(frozen=True)
class Given:
    """What options named: log keys, and the record keys that came with them in a list."""

    log: tuple[Verifier, ...]
    record: tuple[RecordKey, ...] = ()


def parse(text: str) -> Given:
    """A verifier key as printed by the service, or a file: of one, or the list that ``log/keys`` answers."""
    try:
        if "+" in text or not Path(text).is_file():
            return Given((Verifier.parse(text),))
        content = Path(text).read_bytes()
        if content.lstrip()[:1] != b"{":
            return Given((Verifier.parse(content.decode("ascii", "replace").strip()),))
        listed = keyring.parse_keys(content)
        return Given(listed.log, listed.record)
    except (MalformedError, OSError) as error:
        raise usage(
            f"{text[:80]!r} is not a log key: {error}",
            "It looks like name+1a2b3c4d+AT… and is one line, or is a file with what log/keys answers.",
        ) from error


def given(texts: Iterable[str]) -> Given:
    """Several of them together."""
    found = [parse(text) for text in texts]
    return Given(tuple(key for each in found for key in each.log), tuple(key for each in found for key in each.record))


def merged(*trusted: Iterable[Verifier]) -> tuple[Verifier, ...]:
    """Each key once; where one source knows that it has ended, it has."""
    found: dict[str, Verifier] = {}
    for key in (key for keys in trusted for key in keys):
        if key.vkey not in found or (_has_ended(key) and not _has_ended(found[key.vkey])):
            found[key.vkey] = key
    return tuple(found.values())


def _has_ended(key: Verifier) -> bool:
    return isinstance(key, LogKey) and key.to_size is not None


def follow(trusted: Sequence[Verifier], listed: KeyList) -> tuple[Verifier, ...]:
    """`trusted` after the rotations that the log itself proves."""
    return tuple(keyring.follow(trusted, listed.offered))


def listed(api: "Api") -> KeyList:
    """What the server says of its keys, unbelieved."""
    try:
        found = keyring.key_list(api.get("log/keys"))
    except MalformedError as error:
        raise CommandError(f"The server's log keys make no sense: {error}", code=ExitCode.SERVER) from error
    if not found.log:
        raise CommandError("The server names no log key", code=ExitCode.SERVER)
    return found


# -- in the profile --------------------------------------------------------------------------------------------------


def stored(key: Verifier) -> str | dict[str, Any]:
    """A key as the profile keeps it: with its sizes, once it has any."""
    if not isinstance(key, LogKey) or (key.from_size == 0 and key.to_size is None):
        return key.vkey
    return {"vkey": key.vkey, "from_size": key.from_size, "to_size": key.to_size}


def restored(entry: Any) -> Verifier:
    """The same back. Raises MalformedError."""
    return Verifier.parse(entry) if isinstance(entry, str) else keyring.offered(entry).key
