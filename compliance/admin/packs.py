"""Evidence packs: the list, asking for one, one with its progress, downloading it."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectMultipleWidget, UnfoldAdminSingleDateWidget

from compliance.models import Pack
from compliance.packs import requests
from compliance.packs.requests import parse_boundary, quarter_of
from compliance.packs.tasks import build_pack
from config.errors import ProoftrailError
from evidence.admin.forms import LedgerForm, actor, form_page, page, person, written
from evidence.admin_base import RoleAdmin, display
from evidence.ledger import Placed
from evidence.models import Record, System
from evidence.people import display_names, visible_systems

PERIODS = [("this", "This quarter so far"), ("last", "Last quarter"), ("custom", "Other dates")]
HISTORY = {
    "pack.requested": "Asked for",
    "pack.retried": "Asked for again",
    "pack.failed": "Failed",
    "pack.completed": "Verified and locked",
    "access.pack_downloaded": "Downloaded",
}
TONES = {"requested": "info", "building": "info", "ready": "success", "failed": "danger"}


class PackForm(LedgerForm):
    period = forms.ChoiceField(choices=PERIODS, initial="this", widget=UnfoldAdminRadioSelectWidget)
    first_day = forms.DateField(required=False, widget=UnfoldAdminSingleDateWidget, help_text="For other dates, in UTC")
    last_day = forms.DateField(required=False, widget=UnfoldAdminSingleDateWidget, help_text="It is part of the period")
    systems = forms.ModelMultipleChoiceField(
        System.objects.none(),
        required=False,
        to_field_name="name",
        widget=UnfoldAdminSelectMultipleWidget,
        help_text="None chosen means all of them, except sandboxes.",
    )

    def __init__(self, *args: Any, visible: list[str] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = System.objects.all() if visible is None else System.objects.filter(pk__in=visible)
        self.fields["systems"].queryset = found  # type: ignore[attr-defined]  # a ModelMultipleChoiceField

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or self.cleaned_data
        for name in ("first_day", "last_day"):
            if data.get("period") == "custom" and not data.get(name) and name not in self.errors:
                self.add_error(name, "Other dates need both ends.")
        return data

    def ask(self, request: HttpRequest) -> Placed:
        data = self.cleaned_data
        today = timezone.now().date()
        if data["period"] == "custom":
            start = parse_boundary(data["first_day"].isoformat(), "$.first_day")
            end = parse_boundary(data["last_day"].isoformat(), "$.last_day", last=True)
        else:
            start, end = quarter_of(today)
            if data["period"] == "last":
                start, end = quarter_of((start - timedelta(days=1)).date())
        return requests.request_pack(
            actor=actor(request),
            person=person(request),
            start=start,
            end=end,
            systems=[system.name for system in data["systems"]],
            idempotency=self.idempotency(request),
        )


@admin.register(Pack)
class PackAdmin(RoleAdmin):
    view_roles = requests.ROLES
    add_roles = requests.ROLES
    list_display = ("pack", "period", "state_label", "records_as_of", "asked")
    list_filter = ("state",)
    search_fields = ("id",)
    search_help_text = "Pack"
    empty_title = "No evidence pack yet"
    empty_text = (
        "A pack holds a period's evidence with its proofs, so that an auditor can check it without this service."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pack]:
        visible = visible_systems(person(request))
        return Pack.objects.in_systems(visible).select_related("build").order_by("-requested_index")

    @display("Pack", header=True, ordering="requested_index")
    def pack(self, pack: Pack) -> list[str]:
        count = len(pack.systems)
        return [pack.filename, f"{count} system" + ("s" if count > 1 else "")]

    @display("Period", ordering="period_from")
    def period(self, pack: Pack) -> str:
        return period_of(pack)

    @display("State", label=TONES, ordering="state")
    def state_label(self, pack: Pack) -> str:
        return pack.state_at(timezone.now())

    @display("Log size", ordering="checkpoint_size")
    def records_as_of(self, pack: Pack) -> str:
        return str(pack.checkpoint_size or "–")

    @display("Asked for (UTC)", ordering="requested_index")
    def asked(self, pack: Pack) -> str:
        return f"{pack.requested_at:%Y-%m-%d %H:%M}"

    # -- asking for one ----------------------------------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = PackForm(request.POST or None, visible=visible_systems(person(request)))
        if request.method == "POST":
            placed = written(form, lambda: form.ask(request))
            if placed is not None:
                return self._under_way(request, placed)
        return form_page(
            request,
            form,
            title="Request a pack",
            lead="Everything that was recorded of the period, with the log's own proof that nothing is missing. "
            "It is built in the background and kept under lock for seven years.",
            submit="Request the pack",
            cancel=reverse("admin:compliance_pack_changelist"),
        )

    def _under_way(self, request: HttpRequest, placed: Placed) -> HttpResponse:
        pack_id = placed.body["pack"]
        transaction.on_commit(lambda: build_pack.delay(pack_id), robust=True)
        messages.success(request, f"The pack is being built: record #{placed.index}.")
        return HttpResponseRedirect(_url(pack_id))

    # -- one pack ----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        views = {"download": self.download_view, "retry": self.retry_view}
        own = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(require_POST(view)),
                name=f"compliance_pack_{name}",
            )
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def _pack(self, request: HttpRequest, object_id: str) -> Pack:
        if not self.has_view_permission(request):
            raise PermissionDenied
        pack = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if pack is None:
            raise Http404(f"there is no pack {unquote(object_id)}")
        return pack

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        pack = self._pack(request, object_id)
        history = Record.objects.filter(kind__in=HISTORY, facts__pack=pack.pk)
        steps = list(history.order_by("index")[:200])
        names = display_names(step.principal for step in steps)
        systems = System.objects.filter(pk__in=[*pack.systems, *pack.excluded]).in_bulk()
        state = pack.state_at(timezone.now())
        return page(
            request,
            "compliance/pack.html",
            title="Evidence pack",
            pack=pack,
            state=state,
            tone=TONES[state],
            under_way=state in {"requested", "building"},
            build=pack.standing_build,
            period=period_of(pack),
            systems=[systems[pk].name if pk in systems else pk for pk in pack.systems],
            excluded=[systems[pk].name if pk in systems else pk for pk in pack.excluded],
            steps=[(HISTORY[step.kind], step, names[step.principal]) for step in steps],
            download_url=reverse("admin:compliance_pack_download", args=[pack.pk]),
            retry_url=reverse("admin:compliance_pack_retry", args=[pack.pk]),
        )

    def download_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Record the download, then lead to the object store."""
        pack = self._pack(request, object_id)
        try:
            link = requests.download(pack, actor=actor(request), person=person(request))
        except ProoftrailError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(_url(pack.pk))
        return HttpResponseRedirect(link.url)

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        pack = self._pack(request, object_id)
        try:
            return self._under_way(request, requests.retry_pack(pack, actor=actor(request)))
        except ProoftrailError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(_url(pack.pk))


def _url(pack_id: str) -> str:
    return reverse("admin:compliance_pack_change", args=[pack_id])


def period_of(pack: Pack) -> str:
    """``2026-10-01 to 2026-12-31``: the last day is part of it; times where a boundary is not midnight."""
    start, end = pack.period_from, pack.period_to
    if any((moment.hour, moment.minute, moment.second) != (0, 0, 0) for moment in (start, end)):
        return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    return f"{start:%Y-%m-%d} to {datetime.fromordinal(end.toordinal() - 1):%Y-%m-%d}"
