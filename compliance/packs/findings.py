"""The tables of a pack: populations, control results, failures, exceptions; and the few rows its page shows."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from compliance.controls import catalog
from compliance.controls.evaluation import Counts, Row, Summary, evaluate
from compliance.controls.exceptions import Life
from compliance.controls.populations import exception_lives
from compliance.packs import layout
from compliance.packs.bag import BagWriter
from compliance.packs.contents import artifacts, to_json
from compliance.packs.names import Names
from compliance.packs.plan import Plan
from compliance.packs.reconciled import reconcile
from compliance.packs.tables import Table
from evidence.events import BACKFILLED, LATER, event_of
from evidence.ledger.draft import Recorded
from evidence.ledger.reader import Stored
from evidence.models import Record
from evidence.tlog.leaf import format_time

#: So many rows of each table stand on the page; the tables have all of them.
SHOWN = 100
COLUMNS = {
    "releases": (
        *("index", "release", "system", "tag", "type", "ticket_id", "ticket_url", "dashboards", "captain"),
        *("commander", "surfaces", "window_from", "window_to", "opened_at", "opened_by", "withdrawn_by"),
    ),
    "deployments": (
        *("index", "release", "environment", "started_at", "received_at", "recorded_later", "manifest_digest"),
        *("deployed_by", "ticket_id", "ticket_url", "dashboards", "url", "withdrawn_by"),
    ),
    "approvals": ("index", "release", "role", "decision", "person", "name", "at", "manifest_digest", "comment"),
    "exceptions": (
        *("index", "exception", "title", "severity", "state", "systems", "requirements", "requester", "owner"),
        *("approvers", "requested_at", "effective_from", "in_force_from", "expires_at", "original_expires_at"),
        *("closed_at", "reminders", "risk"),
    ),
    "records": (
        *("index", "kind", "occurred_at", "received_at", "recorded_later", "by", "name", "systems", "release"),
        *("outcome", "signed_by", "required", "withdrawn_by", "disposed_by", "digest"),
    ),
}
FAILURE_COLUMNS = ("source", "item", "index", "release", "at", "what", "detail", "records")
CRITERIA_COLUMNS = ("item", "index", "release", "at", "status", "detail", "met_at", "due", "records", "criteria")
_FAILED = {"failed", "rejected"}
_TROUBLE = {"rollback": "rolled back", "hotfix": "hotfix"}


@dataclass
class Shown:
    """What the page shows: bounded, whatever the pack's size."""

    releases: list[dict[str, Any]] = field(default_factory=list)
    exceptions: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, ...]] = field(default_factory=list)
    good: dict[str, list[Row]] = field(default_factory=dict)
    bad: dict[str, list[Row]] = field(default_factory=dict)


class Findings:
    """Collects rows while records pass by (`see`), then judges controls and writes every table."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.names = Names(plan.order.size)
        self.shown = Shown()
        self.tables = {name: Table(columns) for name, columns in COLUMNS.items()}
        self.criteria = {control.id: Table(CRITERIA_COLUMNS) for control in catalog.load().controls}
        self.failures = Table(FAILURE_COLUMNS)
        self.files = Table(("sha256", "size", "name", "media_type", "index"))
        self.summary = Summary({control.id: Counts() for control in catalog.load().controls})
        self.counts: Counter[str] = Counter()

    def close(self) -> None:
        for table in [*self.tables.values(), *self.criteria.values(), self.failures, self.files]:
            table.close()

    # -- records as they pass by

    def see(self, entry: Stored, content: Recorded | None, row: Record, required: bool) -> None:
        self._count(row, content, required)
        self.tables["records"].add(
            *(entry.index, row.kind, row.occurred, row.at, event_of(row).lag_in_words, row.principal),
            *(self.names.person(row.principal), [self.names.system(s) for s in row.scope], row.release),
            *(row.outcome, row.signed_by, "yes" if required else "no", self._below(row.withdrawn_by)),
            *(self._below(row.disposed_by), entry.leaf.digest),
        )
        if content is None:
            return
        population = layout.population_of(row.kind, content.body, required=required)
        if population == "releases":
            self._release(row, content)
        elif population == "deployments":
            self._deployment(row, content)
        elif population == "approvals":
            self._approval(row, content)
        if required:
            self._recorded_failure(row, content)

    def _below(self, index: int | None) -> int | None:
        return index if index is not None and index < self.plan.order.size else None

    def _count(self, row: Record, content: Recorded | None, required: bool) -> None:
        lag = row.at - row.occurred
        self.counts["required" if required else "supporting"] += 1
        self.counts["disposed"] += content is None
        self.counts["withdrawn"] += self._below(row.withdrawn_by) is not None
        self.counts["backfilled"] += lag > BACKFILLED
        self.counts["recorded_later"] += LATER < lag <= BACKFILLED

    def _release(self, row: Record, content: Recorded) -> None:
        body, window = content.body, content.body.get("window", {})
        dashboards = [f"{d['name']} {d['url']}" for d in body.get("dashboards", [])]
        self.plan.db.execute(
            "UPDATE release SET ticket_id = ?, ticket_url = ?, dashboards = ? WHERE id = ?",
            (body["ticket_id"], body["ticket_url"], json.dumps(dashboards), row.release),
        )
        self.tables["releases"].add(
            *(row.index, row.release, body["system"], body["tag"], body["type"], body["ticket_id"]),
            *(body["ticket_url"], dashboards, body["captain"], body.get("commander"), body.get("surfaces", [])),
            *(window.get("from"), window.get("to"), row.at, self.names.person(row.principal)),
            self._below(row.withdrawn_by),
        )
        if len(self.shown.releases) < SHOWN:
            self.shown.releases.append({**body, "release": row.release, "index": row.index, "opened_at": row.at})

    def _deployment(self, row: Record, content: Recorded) -> None:
        body = content.body
        found = self.plan.db.execute(
            "SELECT ticket_id, ticket_url, dashboards FROM release WHERE id = ?", (row.release,)
        ).fetchone()
        ticket_id, ticket_url, dashboards = found or (None, None, None)
        self.tables["deployments"].add(
            *(row.index, row.release, body["environment"], row.occurred, row.at, event_of(row).lag_in_words),
            *(body["manifest_digest"], self.names.person(row.principal), ticket_id, ticket_url),
            *(json.loads(dashboards or "[]"), body.get("url"), self._below(row.withdrawn_by)),
        )

    def _approval(self, row: Record, content: Recorded) -> None:
        body = content.body
        self.tables["approvals"].add(
            *(row.index, row.release, body["role"], body["decision"], row.principal),
            *(self.names.person(row.principal), row.at, body["manifest_digest"], body.get("comment")),
        )

    def _recorded_failure(self, row: Record, content: Recorded) -> None:
        """What records themselves say went wrong."""
        what = _TROUBLE.get(row.kind) or (row.outcome if row.outcome in _FAILED else None)
        if what:
            body = content.body
            detail = body.get("detail") or body.get("trigger") or body.get("reason") or body.get("comment") or ""
            self._fail(row.kind, f"{row.kind} #{row.index}", row.index, row.release, row.occurred, what, detail, ())

    def _fail(self, *values: Any) -> None:
        self.failures.add(*values)
        if len(self.shown.failures) < SHOWN:
            self.shown.failures.append(tuple(str(value) if value is not None else "" for value in values))

    # -- afterwards

    def write(self, bag: BagWriter) -> dict[str, Any]:
        """Judge the controls, write all tables into the bag, and return the counts for `ipe.json`."""
        self._write_exceptions(bag)
        self._write_criteria(bag)
        reconciled = reconcile(self.plan.period)
        for failure in reconciled.rows:
            self._fail(*failure)
        for digest, _, _, size, name, media_type, index in artifacts(self.plan):
            self.files.add(digest, size, name, media_type, index)
        return {
            "populations": {
                name: table.write_to(bag, layout.population_path(name)) for name, table in self.tables.items()
            },
            "controls": {
                control: {k: getattr(counts, k) for k in ("satisfied", "late", "missing", "excepted", "not_due")}
                for control, counts in self.summary.by_control.items()
            },
            "failures": self.failures.write_to(bag, layout.FAILURES),
            "deployed_by_who_approved": reconciled.own_approvals,
            "reconciliation": reconciled.to_json(),
            "artifacts": self.files.write_to(bag, layout.population_path("artifacts")),
            "records": {k: self.counts[k] for k in ("required", "supporting", "disposed", "withdrawn")},
            "recorded_more_than_15_minutes_later": self.counts["recorded_later"],
            "backfilled_more_than_24_hours_later": self.counts["backfilled"],
        }

    def _write_criteria(self, bag: BagWriter) -> None:
        for row in evaluate(self.plan.period):
            self.summary.add(row)
            self.criteria[row.control.id].add(
                *(row.item, row.index, row.release, row.at, row.status, row.detail, row.met_at, row.due),
                *(row.records, row.control.criteria),
            )
            shown = self.shown.bad if row.is_failure else self.shown.good
            if len(kept := shown.setdefault(row.control.id, [])) < SHOWN:
                kept.append(row)
            if row.is_failure:
                what = f"{row.status}: {row.control.title}"
                self._fail(row.control.id, row.item, row.index, row.release, row.at, what, row.detail, row.records)
        for control, table in self.criteria.items():
            table.write_to(bag, f"{layout.CRITERIA_PREFIX}{control}.csv")

    def _write_exceptions(self, bag: BagWriter) -> None:
        for life in exception_lives(self.plan.period):
            row = self._exception_row(life)
            self.tables["exceptions"].add(*(row[column] for column in COLUMNS["exceptions"]))
            bag.add(f"exceptions/{life.id}.json", to_json(self._story(life)))
            if len(self.shown.exceptions) < SHOWN:
                self.shown.exceptions.append(row)

    def _exception_row(self, life: Life) -> dict[str, Any]:
        return {
            "index": life.request.index,
            "exception": life.id,
            "title": life.value("title"),
            "severity": life.value("severity"),
            "state": life.state_at(self.plan.period.now),
            "systems": [self.names.system(system) for system in life.request.scope],
            "requirements": life.value("requirements"),
            "requester": self.names.person(life.request.by),
            "owner": self.names.person(str(life.value("owner"))),
            "approvers": [self.names.person(event.by) for event in life.approvals],
            "requested_at": life.request.at,
            "effective_from": life.effective_from,
            "in_force_from": life.in_force_from,
            "expires_at": life.expires_at,
            "original_expires_at": life.original_expires_at,
            "closed_at": life.closed.at if life.closed else None,
            "reminders": sum(event.outcome == "delivered" for event in life.reminders),
            "risk": life.value("risk"),
        }

    def _story(self, life: Life) -> dict[str, Any]:
        return {
            "exception": life.id,
            "title": life.value("title"),
            "justification": life.value("justification"),
            "compensating_controls": life.value("compensating_controls"),
            "transitions": [
                {
                    "index": event.index,
                    "to": event.kind.removeprefix("exception."),
                    "at": format_time(event.at),
                    "by": event.by,
                    "name": self.names.person(event.by),
                    "reason": event.facts.get("reason", ""),
                    "expires_at": event.facts.get("expires_at"),
                }
                for event in life.transitions
            ],
            "reminders": [
                {
                    "index": event.index,
                    "at": format_time(event.at),
                    "days_before_expiry": event.facts["threshold"],
                    "to": event.facts["recipient"],
                    "outcome": event.outcome,
                }
                for event in life.reminders
            ],
        }
