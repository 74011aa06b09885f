"""What lies where in a pack, and which record belongs to which population: shared by builder and verifier.

All paths are below ``data/`` unless they say otherwise; docs/pack.md shows the whole tree.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from evidence.tlog.leaf import Leaf

VERSION = 1
PREDICATE_TYPE = "urn:prooftrail:predicate:pack:v1"
#: The largest record file that a verifier reads whole: an envelope of 16 MiB, twice in base64.
MAX_RECORD = 48 << 20
MAX_SMALL = 16 << 20

RECORDS_PREFIX = "records/"
ARTIFACTS_PREFIX = "artifacts/"
CRITERIA_PREFIX = "criteria/"
LOG_PREFIX = "log/"
CHECKPOINT, FRONTIER, CONSISTENCY = "log/checkpoint", "log/frontier.json", "log/consistency.json"
KEYS, IPE, FAILURES, INDEX = "keys.json", "ipe.json", "failures.csv", "index.html"
#: Sources of rows in `failures.csv` beside kinds and controls.
INVENTORY, DEPLOYER = "deploy.inventory", "deployer-approved"
#: Records that name a key of the service with which a pack may be signed.
KEY_KINDS = ("key.created", "key.rotated")
#: Populations whose members the verifier counts again from the records themselves.
POPULATIONS = ("releases", "deployments", "approvals", "exceptions", "records")


def record_path(index: int) -> str:
    return f"{RECORDS_PREFIX}{index}.json"


def proof_path(index: int) -> str:
    return f"log/proofs/{index}.tlog-proof"


def population_path(name: str) -> str:
    return f"populations/{name}.csv"


def kind_is_in(kind: str, patterns: Iterable[str]) -> bool:
    """Patterns are kinds, families such as ``deploy.*``, or ``*`` for all."""
    return any(p in {"*", kind} or (p.endswith(".*") and kind.startswith(p[:-1])) for p in patterns)


def is_required(leaf: Leaf, *, kinds: Iterable[str], systems: frozenset[str], start: datetime, end: datetime) -> bool:
    """Whether a pack must hold this record: its kind, its systems (or all), and when it happened."""
    in_scope = not leaf.scope or not systems.isdisjoint(leaf.scope)
    return in_scope and start <= leaf.occurred < end and kind_is_in(leaf.kind, kinds)


def listed(body: Mapping[str, Any], *, start: datetime, end: datetime) -> set[tuple[str, str]]:
    """Source and id of each production deployment of [start, end) that a `deploy.inventory` lists."""
    source = str(body.get("source", ""))
    return {
        (source, str(row["id"]))
        for row in body.get("rows", [])
        if (row.get("environment") or "production") == "production" and _within(row.get("at"), start, end)
    }


def _within(text: object, start: datetime, end: datetime) -> bool:
    try:
        at = datetime.fromisoformat(str(text).upper())
    except ValueError:  # a leap second, which no clock shows
        return False
    return at.tzinfo is not None and start <= at < end


def population_of(kind: str, body: Mapping[str, Any], *, required: bool) -> str | None:
    """The population that a record of this content is a member of, beside ``records``, which has them all."""
    if kind == "deploy.started":
        return "deployments" if required and body.get("environment") == "production" else None
    return {"release.opened": "releases", "approval": "approvals", "exception.requested": "exceptions"}.get(kind)
