"""Reports on screen: the month that runs, months before, and what was sent."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from compliance.models import Report, ReportMail
from compliance.reports import documents, sending
from compliance.reports.figures import Monthly, monthly
from compliance.reports.months import Month
from compliance.tasks import send_report
from config.errors import InvalidError
from evidence.admin.forms import LedgerForm, page, person
from evidence.admin_base import has_role
from evidence.models import Record, System, User
from evidence.people import visible_systems

#: Sent reports that the page lists.
LISTED = 12


class MailForm(LedgerForm):
    month = forms.CharField(max_length=7, widget=forms.HiddenInput)


def _require_reader(request: HttpRequest) -> None:
    if not has_role(request, sending.ROLES):
        raise PermissionDenied


@login_required
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """``/reports/``: the month that runs."""
    return monthly_page(request)


@login_required
@require_GET
def monthly_page(request: HttpRequest) -> HttpResponse:
    """``/reports/monthly/?month=2026-03``."""
    _require_reader(request)
    figures = _figures(request)
    now = timezone.now()
    # A person who sees some systems only gets no file that was made from all of them.
    sent = _sent() if visible_systems(person(request)) is None else []
    return page(
        request,
        "compliance/report_monthly.html",
        title=documents.title(figures),
        figures=figures,
        lead=documents.subtitle(figures),
        mail_form=MailForm(initial={"month": str(figures.month)}),
        next_month=figures.month.next if figures.month.end <= now else None,
        started=Record.objects.exclude(kind__startswith="config.").exclude(kind__startswith="access.").exists(),
        sent=sent,
        may_change_people=has_role(request, ()),
        severity_most=_most(figures, "by_severity"),
        expiry_most=_most(figures, "by_expiry"),
        age_most=_most(figures, "by_age"),
        trend_most=max([point.open for point in figures.trend] + [1]),
    )


@dataclass(frozen=True)
class Missed:
    """Somebody whom a report did not reach."""

    name: str
    why: str
    #: The key of the person, where the mail server does not know the address.
    wrong_address: int | None


@dataclass(frozen=True)
class Sent:
    """A report as the list shows it."""

    report: Report
    missed: list[Missed]
    #: Whether it can be sent to some of them again.
    undelivered: bool


def _sent() -> list[Sent]:
    """The newest reports with whom they did not reach. Three queries."""
    missed = ReportMail.objects.exclude(outcome__in=[ReportMail.SENT, ReportMail.SENDING])
    mails = Prefetch("mails", missed.exclude(outcome="", refusals=0))
    reports = list(Report.objects.defer("pdf").prefetch_related(mails)[:LISTED])
    uids = {mail.recipient for report in reports for mail in report.mails.all()}
    people = User.objects.in_bulk(uids, field_name="uid")
    return [
        Sent(
            report,
            [_missed(mail, people.get(mail.recipient), report.next_attempt_at) for mail in report.mails.all()],
            undelivered=any(mail.is_undelivered for mail in report.mails.all()),
        )
        for report in reports
    ]


def _missed(mail: ReportMail, user: User | None, again_at: datetime) -> Missed:
    why = mail.outcome or f"refused for now, tried again at {again_at:%H:%M} UTC"
    if mail.outcome == ReportMail.UNKNOWN:
        why = "whether it arrived is not known; ask before you send it again"
    wrong_address = user.pk if user is not None and mail.outcome.startswith(f"{ReportMail.REFUSED}: 5") else None
    return Missed(user.name if user is not None else mail.recipient, why, wrong_address)


def _most(figures: Monthly, name: str) -> int:
    """The longest bar's value."""
    counts: list[Any] = getattr(figures.exceptions, name)
    return max(1, *(int(count.value) for count in counts))


def _figures(request: HttpRequest) -> Monthly:
    now = timezone.now()
    try:
        text = request.GET.get("month")
        month = Month.parse(text, now=now, where="month") if text else Month.of(now)
    except InvalidError as error:
        raise Http404(error.detail) from None
    return monthly(month, now=now, systems=_systems(request))


def _systems(request: HttpRequest) -> list[str] | None:
    """Systems that the reader may see, without sandboxes; None means all."""
    visible = visible_systems(person(request))
    if visible is None:
        return None
    return list(System.objects.filter(pk__in=visible, sandbox=False).values_list("pk", flat=True))


@login_required
@require_GET
def monthly_pdf(request: HttpRequest) -> HttpResponse:
    """The page's figures as PDF, made now and sent to nobody."""
    _require_reader(request)
    figures = _figures(request)
    return _file(documents.pdf(figures), sending.filename(str(figures.month)))


@login_required
@require_GET
def sent_pdf(request: HttpRequest, report_id: str) -> HttpResponse:
    """The very file that went out."""
    _require_reader(request)
    report = Report.objects.filter(pk=report_id).exclude(pdf=None).first()
    if report is None or visible_systems(person(request)) is not None:
        raise Http404("there is no such report")
    return _file(bytes(report.pdf or b""), sending.filename(report.period))


@login_required
@require_POST
def send_again(request: HttpRequest, report_id: str) -> HttpResponse:
    """Mail the same file to whomever it did not reach; who has it gets no second one."""
    _require_reader(request)
    if visible_systems(person(request)) is not None:
        raise Http404("there is no such report")
    count = sending.send_again(report_id, now=timezone.now())
    if count:
        transaction.on_commit(lambda: send_report.delay(report_id), robust=True)
        messages.success(request, f"The report will be mailed again to {count} {'people' if count > 1 else 'person'}.")
    else:
        messages.info(request, "There is nobody to send it to again.")
    return HttpResponseRedirect(reverse("report-monthly") + "#sent")


def _file(content: bytes, name: str) -> HttpResponse:
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(content, content_type="application/pdf", headers=headers)


@login_required
@require_POST
def request_mail(request: HttpRequest) -> HttpResponse:
    """Have the month's report mailed to executives and to who asks."""
    _require_reader(request)
    form = MailForm(request.POST)
    if not form.is_valid():
        raise Http404("there is no such month")
    try:
        report, _ = sending.request_report(
            kind=Report.MONTHLY,
            month=form.cleaned_data["month"],
            user=person(request),
            now=timezone.now(),
            idempotency=form.idempotency(request),
        )
    except InvalidError as error:
        raise Http404(error.detail) from None
    transaction.on_commit(lambda: send_report.delay(report.pk), robust=True)
    messages.success(request, f"The report for {report.period} will be mailed to executives and to you.")
    return HttpResponseRedirect(f"{reverse('report-monthly')}?month={report.period}")
