"""What the deployments of a period show only together: what hosts list besides, and who deployed what they approved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compliance.controls.populations import PAGE, Period, in_period, standing
from compliance.packs import layout
from evidence import deploys, events, inventory, release_policy
from evidence.deploys import Deployment
from evidence.events import Event
from evidence.inventory import Reconciliation
from evidence.models import Record, System
from evidence.releases import known_as

#: A row of `failures.csv`: source, item, index, release, at, what, detail, records.
Row = tuple[Any, ...]
_KINDS = ("deploy.started", "deploy.finished", "approval")
#: So many unmatched rows stand in `ipe.json`, too; `failures.csv` has all.
_SHOWN = 1000


@dataclass(frozen=True)
class Reconciled:
    """`inventories` are their records; `rows` what is wrong, for `failures.csv`."""

    inventories: tuple[dict[str, Any], ...]
    found: Reconciliation
    rows: tuple[Row, ...]
    own_approvals: int

    def to_json(self) -> dict[str, Any]:
        """The part of `ipe.json` about completeness of what happened."""
        unmatched = [row for row in self.rows if row[0] == layout.INVENTORY]
        names = ("item", "index", "release", "what")
        return {
            "inventories": list(self.inventories),
            "matched": len(self.found.matched),
            "unrecorded": len(self.found.unrecorded),
            "unlisted": len(self.found.unlisted),
            "unmatched": [dict(zip(names, (*row[1:4], row[5]), strict=True)) for row in unmatched[:_SHOWN]],
            "tolerance_minutes": int(release_policy.load().inventory_tolerance.total_seconds() // 60),
        }


def inventories(period: Period) -> Iterator[Record]:
    """Lists of hosts that were received since the period began: of those a later one may speak of it, too."""
    yield from standing(period).filter(kind="deploy.inventory", at__gte=period.start).order_by("index")


def reconcile(period: Period) -> Reconciled:
    """Lay the lists of hosts over the production deployments of a period, as of its checkpoint."""
    runs: list[Deployment] = []
    own: list[Row] = []
    for release, known, system in _releases(period):
        roles = release_policy.load().roles(system)
        people = known_as(event.by for event in known if event.kind == "approval")
        for run in deploys.deployments(known, deploys.PRODUCTION):
            if period.start <= run.event.occurred < period.end:
                runs.append(run)
                own += [_own(release, run, event) for event in deploys.own_approvals(known, run, roles, people)]
    listed = events.events_of(list(inventories(period)), lambda _: True)
    found = inventory.reconcile(
        inventory.rows(listed, start=period.start, end=period.end),
        runs,
        covered=inventory.coverage(listed),
        tolerance=release_policy.load().inventory_tolerance,
    )
    return Reconciled(tuple(map(_described, listed)), found, (*_unmatched(found), *own), len(own))


def _releases(period: Period) -> Iterator[tuple[str, list[Event], str]]:
    """Every release with a production deployment in the period: its deploys and approvals, its system's name."""
    names = dict(System.objects.values_list("pk", "name"))
    live = in_period(period).filter(kind__in=_KINDS[:2], facts__environment=deploys.PRODUCTION).exclude(release=None)
    last = ""
    ids = live.order_by("release").values_list("release", flat=True).distinct()
    while page := [str(release) for release in ids.filter(release__gt=last)[:PAGE]]:
        rows = standing(period).filter(release__in=page, kind__in=_KINDS).order_by("index")
        known: dict[str, list[Event]] = {}
        for event in events.events_of(list(rows)):
            known.setdefault(str(event.release), []).append(event)
        yield from ((release, known[release], names[known[release][0].scope[0]]) for release in page)
        last = page[-1]


def _described(event: Event) -> dict[str, Any]:
    return {
        "index": event.index,
        "source": event.facts.get("source", ""),
        "query": event.facts.get("query", ""),
        "rows": len(event.facts.get("rows", [])),
    }


def _unmatched(found: Reconciliation) -> Iterator[Row]:
    for row in found.unrecorded:
        detail = f"{row.source} lists it, and nobody recorded it"
        item = f"{row.source} {row.id}"
        yield (layout.INVENTORY, item, row.record, row.release, row.at, "not recorded", detail, (row.record,))
    for run in found.unlisted:
        item, event = f"{run.release} #{run.index}", run.event
        detail = "it was recorded, and no list that reaches its time has it"
        yield (layout.INVENTORY, item, run.index, run.release, event.occurred, "not listed", detail, (run.index,))


def _own(release: str, run: Deployment, approval: Event) -> Row:
    detail = f"who deployed it had approved it as {approval.facts.get('role')}"
    records = (run.index, approval.index)
    item = f"{release} #{run.index}"
    return (layout.DEPLOYER, item, run.index, release, run.event.occurred, "deployed by who approved", detail, records)
