"""What is told to Prometheus: the counters of all processes, and the ledger's state in a few bounded queries."""

from collections.abc import Iterator
from datetime import datetime
from itertools import accumulate
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import QuerySet
from django.utils import timezone

from compliance.models import Report
from config.database import leave_connection
from config.metrics import board
from config.metrics.exposition import Family, Sample
from evidence.ledger import reader
from evidence.models import Anchor, Circuit, Entry, SignOffRequest, Standing
from evidence.tlog.leaf import parse_leaf
from exceptions.models import Notice, Reminder, ReviewReminder

#: Rows of an outbox that are looked at: a gauge that says so many says "at least".
MOST = 10_000


def families(folder: Path) -> Iterator[Family]:
    """The process counters stand even where the database is away; ``prooftrail_database_up`` says so."""
    yield from of_requests(board.read(folder))
    try:
        state = list(of_ledger(timezone.now()))
    except (DatabaseError, InterfaceError):
        leave_connection()
        state = []
    yield _one("database_up", "gauge", "Whether the database answers.", float(bool(state)))
    yield from state


def of_requests(sums: board.Sums) -> Iterator[Family]:
    yield Family(
        "prooftrail_http_request_duration_seconds",
        "histogram",
        "Requests by route and status, from their arrival to the last byte of the answer.",
        [sample for series in sums.series for sample in _histogram(series)],
    )
    in_flight = [Sample(count, {"route": route}) for route, count in sums.in_flight.items()]
    yield Family("prooftrail_http_requests_in_flight", "gauge", "Requests under way.", in_flight)
    places = {"record": settings.MAX_REQUESTS_IN_FLIGHT, "batch": settings.MAX_BATCHES_IN_FLIGHT}
    yield Family(
        "prooftrail_admission_places",
        "gauge",
        "Requests that all web processes together admit at once; beyond, 503 busy.",
        [Sample(sums.processes * count, {"route": route}) for route, count in places.items()],
    )
    yield _one("web_processes", "gauge", "Web processes that have answered a request.", sums.processes)
    yield _one(
        "rate_limit_refusals_total",
        "counter",
        "Requests refused since the bucket of their principal was empty.",
        sums.noted["rate_limit_refusals"],
    )
    yield _one(
        "rate_limit_unanswered_total",
        "counter",
        "Questions for tokens that Valkey did not answer; for a second after each, nobody was limited.",
        sums.noted["rate_limit_unanswered"],
    )


def _histogram(series: board.Series) -> Iterator[Sample]:
    labels = {"route": series.route, "status": series.status}
    bounds = [*(f"{bound:g}" for bound in board.BOUNDS), "+Inf"]
    for bound, count in zip(bounds, accumulate(series.buckets), strict=True):
        yield Sample(count, {**labels, "le": bound}, "_bucket")
    yield Sample(series.seconds, labels, "_sum")
    yield Sample(sum(series.buckets), labels, "_count")


def of_ledger(now: datetime) -> Iterator[Family]:
    yield _one("ledger_records", "gauge", "Records in the ledger.", reader.size())
    standing = Standing.objects.get(id=1)
    yield _one("read_only", "gauge", "Whether no evidence is taken; see /readyz.", float(bool(standing.read_only_code)))
    newest = Anchor.objects.order_by("-size").first()
    yield _one("anchor_records", "gauge", "Records that the newest anchor covers.", newest.size if newest else 0)
    if newest:
        age = (now - newest.published_at).total_seconds()
        yield _one("anchor_age_seconds", "gauge", "Since the newest anchor was published.", age)
    oldest = Entry.objects.filter(index=newest.size if newest else 0).first()
    waited = (now - parse_leaf(bytes(oldest.leaf)).at).total_seconds() if oldest else 0.0
    help_text = "How long the oldest record has waited that no anchor covers, 0 where none waits."
    yield _one("anchor_waiting_seconds", "gauge", help_text, max(0.0, waited))
    yield from _outboxes(now)


def _outboxes(now: datetime) -> Iterator[Family]:
    waiting: dict[str, list[datetime]] = {
        "sign_offs": _since(SignOffRequest.objects.filter(state="waiting"), "created_at"),
        "reminders": _since(Reminder.objects.waiting(now), "created_at"),
        "notices": _since(Notice.objects.filter(state="waiting"), "created_at"),
        "reviews": _since(ReviewReminder.objects.filter(state="waiting"), "created_at"),
        "reports": _since(Report.objects.filter(state=Report.WAITING), "requested_at"),
    }
    counts = [Sample(len(rows), {"outbox": name}) for name, rows in waiting.items()]
    yield Family("prooftrail_outbox_waiting", "gauge", f"Messages that wait to be sent, {MOST} at most.", counts)
    ages = [
        Sample(max(0.0, (now - min(rows)).total_seconds()) if rows else 0.0, {"outbox": name})
        for name, rows in waiting.items()
    ]
    yield Family("prooftrail_outbox_oldest_seconds", "gauge", "Age of the oldest of them, 0 where none waits.", ages)
    failures = [Sample(circuit.failures, {"destination": circuit.destination}) for circuit in Circuit.objects.all()]
    help_text = "Failures in a row of mail server and chat channels: 0 where the last attempt arrived."
    yield Family("prooftrail_destination_failures", "gauge", help_text, failures)


def _since(rows: "QuerySet[SignOffRequest] | QuerySet[Reminder] | QuerySet[Report]", when: str) -> list[datetime]:
    return list(rows.order_by().values_list(when, flat=True)[:MOST])


def _one(name: str, kind: str, help_text: str, value: float) -> Family:
    return Family(f"prooftrail_{name}", kind, help_text, [Sample(value)])
