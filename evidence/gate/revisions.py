"""Which policy was in force when: each revision is a `config.revision` record that holds the whole document.

Such records are never disposed of, so the rules of any decision can be read a year, or ten, after it.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from config.errors import ConflictError, UnavailableError
from evidence.gate import policy
from evidence.gate.policy import Policy
from evidence.ledger import Actor, append, reader, service_draft
from evidence.models import Record
from evidence.models.people import SERVICE

NAME = "gate"


@dataclass(frozen=True)
class InForce:
    """A policy, and the record that put it in force."""

    policy: Policy
    index: int


def record_revision() -> None:
    """Put the policy of this installation's files in force, unless it is."""
    wanted = policy.load()

    def admit(_: datetime) -> None:
        if _newest_digest() == wanted.revision:
            raise ConflictError("This policy is in force already.", code="policy_in_force")

    if _newest_digest() == wanted.revision:
        return
    body = {"name": NAME, "digest": wanted.revision, "policy": wanted.document}
    with suppress(ConflictError):  # another process was quicker
        append(service_draft("config.revision", body, actor=Actor(SERVICE), admit=admit))


#: (database, revision): what this process has seen to.
_recorded: set[tuple[str, str]] = set()


def ensure_recorded() -> None:
    """The same, once for each process. While nothing can be written, the newest recorded policy stays in force."""
    mark = (str(connection.settings_dict["NAME"]), policy.load().revision)
    if mark in _recorded:
        return
    try:
        record_revision()
    except UnavailableError:
        return
    _recorded.add(mark)


def in_force(size: int) -> InForce:
    """The policy as the first `size` records of the ledger have it. Raises ConflictError ``policy_missing``."""
    newest = Record.objects.filter(kind="config.revision", facts__name=NAME, index__lt=size).order_by("-index").first()
    if newest is None:
        raise ConflictError(
            "No gate policy was in force at that moment: the ledger holds none so early.", code="policy_missing"
        )
    return InForce(_policy(str(newest.facts["digest"]), newest.index), newest.index)


def _newest_digest() -> str | None:
    newest = Record.objects.filter(kind="config.revision", facts__name=NAME).order_by("-index").first()
    return str(newest.facts["digest"]) if newest else None


#: Policies by their digest, which is all that they hang on.
_known: dict[str, Policy] = {}
_MOST_KNOWN = 64


def _policy(digest: str, index: int) -> Policy:
    found = _known.get(digest)
    if found is None:
        found = policy.parse(reader.get(index).recorded.body["policy"])
        if found.revision != digest:
            raise ConflictError(f"Record {index} does not hold the policy that it names.", code="policy_missing")
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[digest] = found
    return found
