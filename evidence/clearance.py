"""What becomes of what holds a secret: refused before it is stored, unless an exception lets its kind through.

An exception that waives ``secrets.<kind>`` for every system concerned lets secrets of that kind pass (a fixture that
only looks like a key, a dump that must be kept). The record then says under which exception, for ever.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from config.errors import InvalidError
from evidence import secretscan
from evidence.secretscan import Finding
from evidence.waivers import waivers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clearance:
    """What a record that was let through carries on."""

    #: For the record's verification: which exceptions let it through.
    verification: dict[str, str] = field(default_factory=dict)
    #: Asked again under the head's lock: the exception may have ended meanwhile.
    admit: Callable[[datetime], None] | None = None


_CLEAN = Clearance()


def requirement(kind: str) -> str:
    """What an exception waives to let secrets of this kind through."""
    return f"secrets.{kind}"


def clear(said: Any, *, kind: str, systems: Sequence[str], release: str | None, principal: str) -> Clearance:
    """Look for secrets in what a record of these systems (opaque ids) says: a parsed value, or the JSON's bytes.

    Raises InvalidError ``secret_found`` with rule and place of each finding, never what was found.
    """
    found = secretscan.scan_json(said) if isinstance(said, bytes) else secretscan.scan(said)
    if not found:
        return _CLEAN

    def exceptions(at: datetime) -> str:
        names = waived_by(kind, systems, release, at)
        if names is None:
            logger.warning("refused a %s of %s: %s", kind, principal, described(found))
            raise refusal(found, kind)
        return names

    def admit(at: datetime) -> None:
        exceptions(at)

    return Clearance({"secrets": f"waived by {exceptions(timezone.now())}"}, admit)


def waived_by(kind: str, systems: Sequence[str], release: str | None, at: datetime) -> str | None:
    """The exceptions that let secrets of this kind through in all of the systems; None where one has none."""
    names: list[str] = []
    for system in systems:
        active = waivers(requirement(kind), system, release, at)
        if not active:
            return None
        names.append(active[0].exception)
    return ", ".join(dict.fromkeys(names)) or None


def refusal(found: Sequence[Finding], kind: str, *, of: str = "The record") -> InvalidError:
    """Says which rule found something where. The secret itself is in no answer and no log."""
    return InvalidError(
        f"{of} holds what looks like a secret: {described(found)}. Nothing was stored. Remove it, and have it revoked: "
        f"it has left its place. If it must be kept, ask for an exception that waives {requirement(kind)}.",
        code="secret_found",
        where=_where(found[0]),
        findings=[finding.describe() for finding in found],
    )


def described(found: Sequence[Finding]) -> str:
    """In a few words, for people."""
    shown = ", ".join(f"{finding.title} at {finding.place}" for finding in found[:3])
    return shown + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _where(finding: Finding) -> str | None:
    """The place as other errors name it: ``$.body.env[0].value``."""
    if finding.pointer is None:
        return f"line {finding.line}"
    parts = [part.replace("~1", "/").replace("~0", "~") for part in finding.pointer.split("/")[1:]]
    return "$" + "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts)
