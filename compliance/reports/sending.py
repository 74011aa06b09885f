"""Reports on their way: asked for or due, built, mailed once to each recipient, recorded.

1. A row of `Report` is the to-do: one for each (kind, period, request), by constraint.
2. A worker claims it by a conditional UPDATE and keeps the PDF in the row: a retry sends the same bytes.
3. Each message is claimed by its own row before it is sent; one whose outcome is not known is not sent again.
4. `report.sent` names who got it and the PDF's digest; the same transaction ends the to-do.
"""

import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from compliance.models import Report, ReportMail
from compliance.reports import digest, documents
from compliance.reports.figures import Monthly, monthly
from compliance.reports.months import Month
from config.errors import ConflictError, InvalidError, ProoftrailError
from evidence import outbox, release_policy
from evidence.circuits import attempt_each
from evidence.ledger import Actor, Idempotency, append, service_draft
from evidence.ledger.settling import key_reused
from evidence.models import Record, User
from evidence.models.people import SERVICE, opaque_id
from evidence.people import visible_systems

logger = logging.getLogger(__name__)
#: Who may ask for a report, and sees the page; administrators always may.
ROLES = ("executive", "liaison")
CLAIM = timedelta(minutes=10)
LONGEST_WAIT = timedelta(hours=6)
ATTEMPTS = 12
SENDING, SENT, UNKNOWN = "sending", "sent", "outcome unknown: not sent twice"
RESTRICTED = "not sent: sees some systems only"


class _NoRecipientError(ProoftrailError):
    code = "no_recipient"


class _AwayError(OSError):
    """The mail server is, whatever is to be sent."""


# -- 1. asked for or due -----------------------------------------------------------------------------------------------


def request_report(
    *, kind: str, month: str, user: User, now: datetime, idempotency: Idempotency | None = None
) -> tuple[Report, bool]:
    """Ask for a report to be built and mailed; (report, whether this call made it).

    Raises InvalidError ``month_invalid``, ``report_not_on_demand``; ``idempotency_key_reused`` where this person's key
    asked for another one.
    """
    if kind != Report.MONTHLY:
        raise InvalidError(
            "A release's digest goes out by itself, on the day of the release; ask for the monthly report.",
            code="report_not_on_demand",
            where="$.kind",
        )
    period = str(Month.parse(month, now=now))
    number = _number_for(user, idempotency) if idempotency is not None else opaque_id("rep")
    asked = {"requested_by": user.uid, "requested_at": now, "next_attempt_at": now}
    report, made = Report.objects.get_or_create(
        id=number, defaults={"kind": kind, "period": period, "request": number, **asked}
    )
    if (report.kind, report.period) != (kind, period):
        raise key_reused()
    return report, made


def _number_for(user: User, idempotency: Idempotency) -> str:
    """One report for each key of a person, whatever it is of: its primary key settles two at once."""
    return "rep_" + hashlib.sha256(user.uid.encode() + idempotency.key_mac).hexdigest()[:32]


def schedule(now: datetime) -> None:
    """What is due by itself: the past month's report, and a digest on the day of each release."""
    _schedule_month(now)
    for each in digest.due(now):
        Report.objects.get_or_create(
            kind=Report.RELEASE,
            period=each.day,
            request=str(each.release.opened_by),
            defaults={
                "id": opaque_id("rep"),
                "requested_by": SERVICE,
                "requested_at": each.at,
                "next_attempt_at": each.at,
            },
        )


def _schedule_month(now: datetime) -> None:
    """From the first of a month on, the past month's report is due, if the log reaches back into it."""
    month = Month.of(now).previous
    if not Record.objects.filter(at__lt=month.end).exists():
        return
    Report.objects.get_or_create(
        kind=Report.MONTHLY,
        period=str(month),
        request="",
        defaults={"id": opaque_id("rep"), "requested_by": SERVICE, "requested_at": now, "next_attempt_at": now},
    )


def send_due(now: datetime | None = None) -> int:
    """Build and mail every report that is due; returns how many went out."""
    now = now or timezone.now()
    schedule(now)
    due = list(Report.objects.due(now).values_list("pk", flat=True)[:20])
    pauses = release_policy.load().mail_retries
    return attempt_each(due, functools.partial(_attempt, now=now), to=outbox.MAIL, now=now, pauses=pauses)


# -- 2. the claim ------------------------------------------------------------------------------------------------------


def send(report_id: str, *, now: datetime) -> bool:
    """Build and mail one report; False if another worker has it, or it did not work out this time."""
    try:
        return _attempt(report_id, now=now)
    except OSError:
        return False


def _attempt(report_id: str, *, now: datetime) -> bool:
    """The same. Raises OSError (the report is put off already) where the mail server is away."""
    claimed = Report.objects.due(now).filter(pk=report_id).update(claimed_until=now + CLAIM, attempts=F("attempts") + 1)
    if not claimed:
        return False
    report = Report.objects.get(pk=report_id)
    try:
        recipients = _recipients(report)
        letter = _letter(report, now)
        content = _content(report, letter)
        outcomes = [_mail(report, user, letter, content) for user in recipients]
        _record(report, content, outcomes, letter.ledger_size)
    except (ProoftrailError, OSError) as error:
        _put_off(report, error, now)
        if isinstance(error, _AwayError):
            raise
        return False
    return True


def _put_off(report: Report, error: Exception, now: datetime) -> None:
    away = isinstance(error, _AwayError)
    longest = outbox.LONGEST_PAUSE if away else LONGEST_WAIT
    wait = min(timedelta(minutes=2 ** min(report.attempts, ATTEMPTS)), longest)
    Report.objects.filter(pk=report.pk, state=Report.WAITING).update(
        state=Report.WAITING if report.attempts < ATTEMPTS or away else Report.FAILED,
        claimed_until=None,
        next_attempt_at=now + wait,
        error=str(error)[:500],
    )
    logger.warning("report %s was put off: %s", report.pk, error)


@dataclass(frozen=True)
class _Letter:
    """A report as it goes out, whatever it is of."""

    subject: str
    text: str
    filename: str
    ledger_size: int
    pdf: Callable[[], bytes]
    #: The one system that it is of; None where it is of all.
    system: str | None = None


def _letter(report: Report, now: datetime) -> _Letter:
    if report.kind == Report.RELEASE:
        found = digest.figures(int(report.request), report.requested_at)
        return _Letter(
            subject=f"{found.title}: {found.headline}",
            text=digest.mail_text(found, link=f"{settings.PROOFTRAIL_URL}{found.path}"),
            filename=f"release-digest-{found.release.system.name}-{found.release.tag}.pdf",
            ledger_size=found.ledger_size,
            pdf=lambda: digest.pdf(found),
            system=found.release.system_id,
        )
    figures = monthly(Month.parse(report.period, now=now), now=report.requested_at)
    link = f"{settings.PROOFTRAIL_URL}/reports/monthly/?month={report.period}"
    return _Letter(
        subject=f"{documents.title(figures)}: {headline(figures)}",
        text=documents.mail_text(figures, link=link),
        filename=filename(report.period),
        ledger_size=figures.ledger_size,
        pdf=lambda: documents.pdf(figures),
    )


def _content(report: Report, letter: _Letter) -> bytes:
    if report.pdf is None:
        Report.objects.filter(pk=report.pk, pdf=None).update(pdf=letter.pdf())
        report.refresh_from_db()
    return bytes(report.pdf or b"")


# -- 3. mail -----------------------------------------------------------------------------------------------------------


def _recipients(report: Report) -> list[User]:
    """Executives, and who asked for it."""
    people = User.objects.filter(is_active=True).order_by("uid")
    found = {user.uid: user for user in people.filter(roles__contains=["executive"])}
    found |= {user.uid: user for user in people.filter(uid=report.requested_by)}
    if not found:
        raise _NoRecipientError("No active person has the role executive. Add one under People.")
    return list(found.values())


def _mail(report: Report, user: User, letter: _Letter, content: bytes) -> dict[str, str]:
    """Send to one person unless that was begun before; returns the person with the outcome."""
    if not _may_read(user, letter):
        return {"person": user.uid, "outcome": RESTRICTED}
    try:
        with transaction.atomic():
            mail = ReportMail.objects.create(report=report, recipient=user.uid, outcome=SENDING)
    except IntegrityError:
        mail = ReportMail.objects.get(report=report, recipient=user.uid)
        return {"person": user.uid, "outcome": SENT if mail.sent_at else UNKNOWN}
    try:
        _message(report, user, letter, content).send()
    except OSError as error:  # smtplib's errors among them
        mail.delete()  # it did not go out: the next attempt may send it
        if outbox.is_refusal(error):
            raise
        raise _AwayError(f"{type(error).__name__}: {error}") from error
    ReportMail.objects.filter(pk=mail.pk).update(sent_at=timezone.now(), outcome=SENT)
    return {"person": user.uid, "outcome": SENT}


def _may_read(user: User, letter: _Letter) -> bool:
    """Who sees some systems only gets what is of one of those."""
    visible = visible_systems(user)
    return visible is None or letter.system in visible


def _message(report: Report, user: User, letter: _Letter, content: bytes) -> EmailMessage:
    message = EmailMessage(
        subject=letter.subject,
        body=letter.text,
        to=[user.email],
        headers={"Message-ID": f"<{report.pk}.{user.uid}@prooftrail>", "Auto-Submitted": "auto-generated"},
    )
    message.attach(letter.filename, content, "application/pdf")
    return message


def headline(figures: Monthly) -> str:
    """A report in a line: ``3 exceptions open, 1 expired``."""
    found = figures.exceptions
    return f"{found.open.value} exceptions open, {found.overdue_count.value} expired"


def filename(period: str) -> str:
    return f"compliance-report-{period}.pdf"


# -- 4. the record -----------------------------------------------------------------------------------------------------


def _record(report: Report, content: bytes, outcomes: Sequence[dict[str, str]], ledger_size: int) -> None:
    pdf_digest = hashlib.sha256(content).hexdigest()
    body: dict[str, Any] = {
        "report": report.pk,
        "kind": report.kind,
        "period": report.period,
        "recipients": list(outcomes),
        "pdf_sha256": pdf_digest,
        "ledger_size": ledger_size,
    }

    def admit(_: datetime) -> None:
        if not Report.objects.filter(pk=report.pk, state=Report.WAITING).exists():
            raise ConflictError(f"Report {report.pk} was recorded before.", code="report_sent")

    def apply(index: int, at: datetime) -> None:
        Report.objects.filter(pk=report.pk).update(
            state=Report.SENT, index=index, sent_at=at, pdf_sha256=pdf_digest, claimed_until=None, error=""
        )

    append(service_draft("report.sent", body, actor=Actor(SERVICE), admit=admit, apply=apply))
