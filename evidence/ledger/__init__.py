"""The append-only ledger: ``append`` is the one way in, ``reader`` the way out, the database refuses the rest."""

from evidence.ledger.appender import append, append_all
from evidence.ledger.draft import Actor, Draft, Idempotency, Placed, Recorded, service_draft

__all__ = ["Actor", "Draft", "Idempotency", "Placed", "Recorded", "append", "append_all", "service_draft"]
