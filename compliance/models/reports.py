"""Executive reports: which were asked for or fell due, and what became of them."""

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q


class ReportQuerySet(models.QuerySet["Report"]):
    def due(self, now: datetime) -> Self:
        """Reports to build and mail: waiting ones, and those whose worker is gone."""
        idle = Q(claimed_until=None) | Q(claimed_until__lte=now)
        return self.filter(idle, state=Report.WAITING, next_attempt_at__lte=now).order_by("requested_at")


class Report(models.Model):
    """One report of one period. `request` is empty for the scheduled one: each period has one, each request its own.

    A release's digest has its day as period, and as request the index of the record that opened the release.
    """

    MONTHLY, RELEASE = "monthly", "release"
    KINDS = [(MONTHLY, "Monthly"), (RELEASE, "Release digest")]
    WAITING, SENT, FAILED = "waiting", "sent", "failed"
    STATES = [(WAITING, "Waiting"), (SENT, "Sent"), (FAILED, "Failed")]

    id = models.CharField(primary_key=True, max_length=40)
    kind = models.CharField(max_length=20, choices=KINDS)
    period = models.CharField(max_length=10, help_text="Month, as in 2026-03, or day")
    request = models.CharField(max_length=40, blank=True)
    requested_by = models.CharField(max_length=40, help_text="Opaque id")
    requested_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=STATES, default=WAITING)
    claimed_until = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField()
    attempts = models.IntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    #: The file that went out, and the record that says so.
    pdf = models.BinaryField(null=True)
    pdf_sha256 = models.CharField(max_length=64, blank=True)
    sent_at = models.DateTimeField(null=True)
    index = models.BigIntegerField(null=True, help_text="Index of its report.sent record")

    objects = ReportQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at"]
        constraints = [
            models.UniqueConstraint(fields=["kind", "period", "request"], name="report_once_per_request"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} report {self.period}"


class ReportMailQuerySet(models.QuerySet["ReportMail"]):
    def waiting(self) -> Self:
        """Those of which nothing came yet."""
        return self.filter(outcome="")

    def undelivered(self) -> Self:
        """Those that did not arrive, or perhaps not: they can be sent again."""
        return self.filter(Q(outcome__startswith=ReportMail.REFUSED) | Q(outcome=ReportMail.UNKNOWN))


class ReportMail(models.Model):
    """One message of a report. Claimed before it is sent, so that a retry does not send it twice."""

    SENDING, SENT, UNKNOWN = "sending", "sent", "outcome unknown: not sent twice"
    RESTRICTED, LEFT = "not sent: sees some systems only", "not sent: has left"
    #: What begins the outcome of one that the mail server did not take.
    REFUSED = "refused"

    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="mails")
    recipient = models.CharField(max_length=40, help_text="Opaque id")
    sent_at = models.DateTimeField(null=True)
    #: Empty while it waits; then as the record says it.
    outcome = models.CharField(max_length=200, blank=True)
    #: How often it was refused for now.
    refusals = models.SmallIntegerField(default=0)
    record_index = models.BigIntegerField(null=True, help_text="Index of the report.sent record that tells of it")

    objects = ReportMailQuerySet.as_manager()

    class Meta:
        ordering = ["recipient"]
        constraints = [models.UniqueConstraint(fields=["report", "recipient"], name="report_mail_once")]

    def __str__(self) -> str:
        return f"{self.report_id} to {self.recipient}"

    @property
    def is_undelivered(self) -> bool:
        """As `undelivered` finds them."""
        return self.outcome.startswith(self.REFUSED) or self.outcome == self.UNKNOWN
