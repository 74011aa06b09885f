"""Reports on screen: the month that runs, months before, and what was sent."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from compliance.models import Report
from compliance.reports import documents, sending
from compliance.reports.figures import Monthly, monthly
from compliance.reports.months import Month
from compliance.tasks import send_report
from config.errors import InvalidError
from evidence.admin.forms import LedgerForm, page, person
from evidence.admin_base import has_role
from evidence.models import Record, System
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
    sent = Report.objects.defer("pdf") if visible_systems(person(request)) is None else Report.objects.none()
    return page(
        request,
        "compliance/report_monthly.html",
        title=documents.title(figures),
        figures=figures,
        subtitle=documents.subtitle(figures),
        mail_form=MailForm(initial={"month": str(figures.month)}),
        next_month=figures.month.next if figures.month.end <= now else None,
        started=Record.objects.exclude(kind__startswith="config.").exclude(kind__startswith="access.").exists(),
        sent=sent[:LISTED],
        severity_most=_most(figures, "by_severity"),
        expiry_most=_most(figures, "by_expiry"),
        age_most=_most(figures, "by_age"),
        trend_most=max([point.open for point in figures.trend] + [1]),
    )


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
