"""Reports on their way: asked for or due, built, mailed once to each recipient, recorded.

1. A row of `Report` is the to-do: one for each (kind, period, request), by constraint.
2. A worker claims it by a conditional UPDATE and keeps the PDF in the row: a retry sends the same bytes.
3. Each message is claimed by its own row before it is sent; one whose outcome is not known is not sent again. What the
   mail server refuses of one recipient is that one's outcome: for good at once, for now after some retries.
4. When everybody's is known, `report.sent` names who got it, who did not and why, and the PDF's digest; the same
   transaction ends the to-do. Whom it did not reach can be sent it again, which makes another record.
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
from django.db import transaction
from django.db.models import F, Q
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
    # `at` never goes back, so the first record says it. Asked for any before the end, a log that is younger than the
    # month was read through every minute: 0.8 s for two million records.
    first = Record.objects.order_by("index").values_list("at", flat=True).first()
    if first is None or first >= month.end:
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
        _address(report)
        letter = _letter(report, now)
        content = _content(report, letter)
        refusals = _mail_all(report, letter, content)
        if refusals:
            _wait_for_some(report, refusals, now)
            return False
        _record(report, content, letter.ledger_size)
    except (ProoftrailError, OSError) as error:
        _put_off(report, error, now)
        if isinstance(error, _AwayError):
            raise
        return False
    return True


def _put_off(report: Report, error: Exception, now: datetime) -> None:
    """It has failed when it could not be made or recorded ever again, unless somebody has it: that is recorded."""
    away = isinstance(error, _AwayError)
    longest = outbox.LONGEST_PAUSE if away else LONGEST_WAIT
    wait = min(timedelta(minutes=2 ** min(report.attempts, ATTEMPTS)), longest)
    hopeless = report.attempts >= ATTEMPTS and not away and not report.mails.exclude(outcome="").exists()
    _wait(report, str(error), now + wait, state=Report.FAILED if hopeless else Report.WAITING)
    logger.warning("report %s was put off: %s", report.pk, error)


def _wait_for_some(report: Report, refusals: Sequence[str], now: datetime) -> None:
    """The others have theirs; those whom the mail server refused for now are tried again after a pause."""
    waiting = report.mails.waiting()
    tried = min(waiting.values_list("refusals", flat=True))
    pause = outbox.wait_after(tried - 1, release_policy.load().mail_retries)
    told = f"Not delivered yet to {len(refusals)} of {report.mails.count()}, tried again: {refusals[0]}"
    _wait(report, told, now + pause)


def _wait(report: Report, why: str, until: datetime, *, state: str = Report.WAITING) -> None:
    Report.objects.filter(pk=report.pk, state=Report.WAITING).update(
        state=state, claimed_until=None, next_attempt_at=until, error=why[:500]
    )


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


def _address(report: Report) -> None:
    """Write down whom it goes to: executives, and who asked for it. Who stands there once is not forgotten.

    What is sent again goes to those alone whom it did not reach.
    """
    if report.index is not None:
        return
    people = User.objects.filter(Q(roles__contains=["executive"]) | Q(uid=report.requested_by), is_active=True)
    mails = [ReportMail(report=report, recipient=uid) for uid in people.values_list("uid", flat=True)]
    ReportMail.objects.bulk_create(mails, ignore_conflicts=True)
    if not report.mails.exists():
        raise _NoRecipientError("No active person has the role executive. Add one under People.")


def _mail_all(report: Report, letter: _Letter, content: bytes) -> list[str]:
    """Send to each who waits for it; what the mail server said to those whom it refused for now.

    Raises _AwayError.
    """
    report.mails.filter(outcome=ReportMail.SENDING).update(outcome=ReportMail.UNKNOWN)  # whoever began it is gone
    waiting = list(report.mails.waiting())
    people = User.objects.filter(is_active=True).in_bulk([mail.recipient for mail in waiting], field_name="uid")
    refusals = [_mail(mail, people.get(mail.recipient), letter, content) for mail in waiting]
    return [refusal for refusal in refusals if refusal]


def _mail(mail: ReportMail, user: User | None, letter: _Letter, content: bytes) -> str:
    """Send to one person; what the mail server said if that is to be tried again."""
    own = ReportMail.objects.filter(pk=mail.pk)
    if user is None or not _may_read(user, letter):
        own.update(outcome=ReportMail.LEFT if user is None else ReportMail.RESTRICTED)
        return ""
    if not own.waiting().update(outcome=ReportMail.SENDING):
        return ""
    try:
        _message(mail.report_id, user, letter, content).send()
    except OSError as error:  # smtplib's errors among them
        if outbox.is_refusal(error):
            return _refused(mail, error)
        own.update(outcome="")  # it did not go out: the next attempt may send it
        raise _AwayError(outbox.in_words(error)) from error
    own.update(sent_at=timezone.now(), outcome=ReportMail.SENT)
    return ""


def _refused(mail: ReportMail, error: OSError) -> str:
    """For good, or for now too often: that is the outcome. Else it waits."""
    refusals, said = mail.refusals + 1, outbox.in_words(error)[:150]
    ended = outbox.is_final(error) or refusals > len(release_policy.load().mail_retries)
    outcome = said + f", {refusals} times" * (refusals > 1) if ended else ""
    ReportMail.objects.filter(pk=mail.pk).update(outcome=outcome, refusals=refusals)
    return "" if ended else said


def send_again(report_id: str, *, now: datetime) -> int:
    """Have the worker mail the same file to those whom it did not reach; returns how many those are."""
    with transaction.atomic():
        report = Report.objects.select_for_update().defer("pdf").filter(pk=report_id, state=Report.SENT).first()
        if report is None:
            return 0
        count = report.mails.undelivered().update(outcome="", refusals=0, record_index=None)
        if count:
            Report.objects.filter(pk=report_id).update(state=Report.WAITING, attempts=0, next_attempt_at=now, error="")
    return count


def _may_read(user: User, letter: _Letter) -> bool:
    """Who sees some systems only gets what is of one of those."""
    visible = visible_systems(user)
    return visible is None or letter.system in visible


def _message(report_id: str, user: User, letter: _Letter, content: bytes) -> EmailMessage:
    message = EmailMessage(
        subject=letter.subject,
        body=letter.text,
        to=[user.email],
        headers={"Message-ID": f"<{report_id}.{user.uid}@prooftrail>", "Auto-Submitted": "auto-generated"},
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


def _record(report: Report, content: bytes, ledger_size: int) -> None:
    """Of everybody whose outcome is in no record yet."""
    told = list(report.mails.filter(record_index=None))
    pdf_digest = hashlib.sha256(content).hexdigest()
    body: dict[str, Any] = {
        "report": report.pk,
        "kind": report.kind,
        "period": report.period,
        "recipients": [{"person": mail.recipient, "outcome": mail.outcome} for mail in told],
        "pdf_sha256": pdf_digest,
        "ledger_size": ledger_size,
    }

    def admit(_: datetime) -> None:
        if not Report.objects.filter(pk=report.pk, state=Report.WAITING).exists():
            raise ConflictError(f"Report {report.pk} was recorded before.", code="report_sent")
        if any(mail.outcome in ("", ReportMail.SENDING) for mail in told):
            raise ConflictError(f"Another worker is sending report {report.pk}.", code="report_being_sent")

    def apply(index: int, at: datetime) -> None:
        Report.objects.filter(pk=report.pk).update(
            state=Report.SENT, index=index, sent_at=at, pdf_sha256=pdf_digest, claimed_until=None, error=""
        )
        ReportMail.objects.filter(pk__in=[mail.pk for mail in told]).update(record_index=index)

    append(service_draft("report.sent", body, actor=Actor(SERVICE), admit=admit, apply=apply))
