"""Deployments to production: the success rate with its population, emergencies, and what hosts list besides."""

from datetime import UTC, date, datetime, time, timedelta

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget

from config.errors import ProoftrailError
from evidence import deliveries
from evidence.admin.forms import page, person
from evidence.admin_base import has_role
from evidence.api.permissions import INSIDE
from evidence.api.readiness import systems_of
from evidence.deliveries import Deliveries
from evidence.models import System
from evidence.people import visible_systems

DAYS = 90


class PeriodForm(forms.Form):
    start = forms.DateField(label="From", widget=UnfoldAdminDateWidget)
    end = forms.DateField(label="To, including", widget=UnfoldAdminDateWidget)
    system = forms.ChoiceField(required=False)

    def __init__(self, *args: object, systems: list[str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        choices = [("", "All"), *((name, name) for name in systems)]
        self.fields["system"] = forms.ChoiceField(
            required=False, choices=choices, widget=UnfoldAdminSelectWidget(choices=choices)
        )


def index(request: HttpRequest) -> HttpResponse:
    if not has_role(request, INSIDE):
        raise PermissionDenied
    today = timezone.now().date()
    initial = {"start": today - timedelta(days=DAYS - 1), "end": today, "system": ""}
    form = PeriodForm({**initial, **request.GET.dict()}, systems=_names(request))
    found = _found(request, form) if form.is_valid() else None
    return page(request, "evidence/deployments.html", title="Deployments", form=form, found=found)


def _names(request: HttpRequest) -> list[str]:
    allowed = visible_systems(person(request))
    found = System.objects.all() if allowed is None else System.objects.filter(pk__in=allowed)
    return list(found.order_by("name").values_list("name", flat=True))


def _found(request: HttpRequest, form: PeriodForm) -> Deliveries | None:
    data = form.cleaned_data
    try:
        return deliveries.deliveries(
            start=_midnight(data["start"]),
            end=_midnight(data["end"]) + timedelta(days=1),
            systems=systems_of(person(request), data["system"] or None),
            now=timezone.now(),
        )
    except ProoftrailError as error:
        form.add_error(None, error.detail)
        return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), UTC)
