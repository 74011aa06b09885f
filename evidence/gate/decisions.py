"""Decisions of the gate: what it answered, and what it looked at, as a record that only this call writes."""

from datetime import datetime

from config.errors import MissingError
from evidence.composing import Composed, append_composed
from evidence.gate import revisions
from evidence.gate.evaluation import check_environment, evaluate
from evidence.gate.gather import Pin
from evidence.ledger import Actor, Idempotency, Placed, reader
from evidence.models import Release


def decide(*, release: Release, environment: str, actor: Actor, idempotency: Idempotency | None = None) -> Placed:
    """Ask the gate under the head lock and record the answer: nothing can come between the two.

    The record's body is the answer (`Answer.to_json`). Raises ``environment_unknown``, ``policy_missing``.
    """
    check_environment(environment)
    revisions.ensure_recorded()

    def compose(at: datetime) -> Composed:
        current = Release.objects.select_related("system").filter(pk=release.pk).first()
        if current is None:
            raise MissingError(f"There is no release {release.pk!r}.", code="release_unknown")
        return Composed(evaluate(current, environment, Pin(reader.size(), at)).to_json(), [current.system_id])

    return append_composed("gate.decision", compose, actor=actor, release=release.pk, idempotency=idempotency)
