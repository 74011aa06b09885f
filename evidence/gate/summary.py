"""The gate's answer for a page."""

from typing import Any

from config.errors import ConflictError
from evidence.gate.evaluation import ask
from evidence.models import Release


def gate_summary(release: Release) -> dict[str, Any] | None:
    """May this release go to production? ``{outcome, requirements: [{title, state, detail}]}``, what blocks first.

    None where nobody asks any more: the release has ended. Where the gate has no answer, the outcome is ``unknown``
    and the one requirement says why, so that a page that shows more than the gate can still be shown.
    """
    if release.state != "open":
        return None
    try:
        answer = ask(release=release, environment="production")
    except ConflictError as error:
        reason = {"title": "The gate gives no answer", "state": "unmet", "detail": str(error)}
        return {"outcome": "unknown", "requirements": [reason]}
    rows = sorted(answer.requirements, key=lambda judged: judged.passes)
    return {
        "outcome": answer.outcome,
        "requirements": [{"title": row.requirement.title, "state": row.state, "detail": row.detail} for row in rows],
    }
