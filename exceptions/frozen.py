"""What an approval freezes: a digest of the terms, which anybody computes again from the exception's records."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from config.errors import ConflictError
from evidence.tlog.canonical import canonical
from evidence.tlog.leaf import format_time
from exceptions.models import SecurityException

_PLAIN = ("title", "justification", "severity", "requirements", "releases", "compensating_controls", "owner")


def terms_digest(found: SecurityException, *, expires_at: datetime | None = None) -> str:
    """SHA-256 of the canonical JSON of the terms, as ``sha256:<hex>``; of a renewal with the expiry asked for."""
    said: Mapping[str, Any] = {name: getattr(found, name) for name in _PLAIN} | {
        "exception": found.pk,
        "systems": sorted(found.systems),
        "risk": found.risk_id,
        "effective_from": format_time(found.effective_from),
        "expires_at": format_time(expires_at or found.expires_at),
    }
    return "sha256:" + hashlib.sha256(canonical(said)).hexdigest()


def terms_seen(found: SecurityException) -> str:
    """The digest of what an approval now would approve: of a renewal with the expiry asked for."""
    renewal = found.pending_renewal if found.renewal_pending else None
    return terms_digest(found, expires_at=renewal.expires_at if renewal else None)


def require_terms(seen: str | None, frozen: str, number: str) -> None:
    """Who approves with the digest of what they saw approves nothing else. Raises ConflictError ``terms_changed``."""
    if seen is not None and seen != frozen:
        raise ConflictError(f"{number} was changed since you looked at it: look again.", code="terms_changed")
