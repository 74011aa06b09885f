"""Legal holds: the list, placing one, releasing one after a confirmation."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from compliance import holds
from evidence.admin.forms import LedgerForm, ReasonForm, actor, form_page, page, person, text_input, written
from evidence.admin_base import RoleAdmin, display
from evidence.models import Hold, Record, System
from evidence.people import display_names, visible_systems


class HoldForm(LedgerForm):
    record = forms.IntegerField(
        required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget, help_text="Keep one record: its number"
    )
    release = forms.CharField(
        required=False,
        max_length=200,
        widget=text_input(placeholder="netlify-trading:release-20260312"),
        help_text="or everything of a release, also what arrives while the hold stands",
    )
    system = forms.ModelChoiceField(
        System.objects.none(),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="or everything of a system, also what arrives while the hold stands",
    )
    reason = forms.CharField(
        max_length=2000,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="Matter and who ordered it. It is recorded with the hold.",
    )

    def __init__(self, *args: Any, visible: list[str] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        systems = System.objects.all() if visible is None else System.objects.filter(pk__in=visible)
        self.fields["system"].queryset = systems  # type: ignore[attr-defined]  # a ModelChoiceField

    def target(self) -> holds.Target:
        data = self.cleaned_data
        return holds.Target(
            record=data["record"],
            release=data["release"] or None,
            system=data["system"].name if data["system"] else None,
        )


class StandingFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("standing", "Standing"), ("released", "Released")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Hold]) -> QuerySet[Hold]:
        return queryset if not self.value() else queryset.filter(released_by__isnull=self.value() == "standing")


@admin.register(Hold)
class HoldAdmin(RoleAdmin):
    view_roles = holds.ROLES
    add_roles = holds.ROLES
    list_display = ("hold", "keeps", "state_label", "reason")
    list_filter = (StandingFilter,)
    search_fields = ("id", "reason", "release")
    search_help_text = "Hold, reason or release"
    empty_title = "No legal hold"
    empty_text = "A hold keeps records past their retention: one record, a release, or a whole system."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Hold]:
        return holds.in_systems(visible_systems(person(request))).order_by("-placed_by")

    @display("Hold", ordering="placed_by")
    def hold(self, hold: Hold) -> str:
        return hold.pk

    @display("Keeps")
    def keeps(self, hold: Hold) -> str:
        return _keeps(hold)

    @display("State", label={"standing": "warning", "released": "success"})
    def state_label(self, hold: Hold) -> str:
        return _state(hold)

    # -- placing -----------------------------------------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        visible = visible_systems(person(request))
        initial = {name: request.GET[name] for name in ("record", "release") if name in request.GET}
        form = HoldForm(request.POST or None, visible=visible, initial=initial)
        if request.method == "POST":
            placed = written(
                form,
                lambda: holds.place_hold(
                    actor=actor(request),
                    reason=form.cleaned_data["reason"],
                    target=form.target(),
                    visible=visible,
                    idempotency=form.idempotency(request),
                ),
            )
            if placed is not None:
                messages.success(request, f"The hold stands: record #{placed.index}.")
                return HttpResponseRedirect(_url(Hold.objects.get(placed_by=placed.index)))
        return form_page(
            request,
            form,
            title="Place a legal hold",
            lead="Until it is released nothing that it names is disposed of, whatever its retention says. "
            "Name one of record, release or system.",
            submit="Place the hold",
            cancel=reverse("admin:evidence_hold_changelist"),
        )

    # -- one hold ----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.release_view)
        return [path("<path:object_id>/release/", view, name="evidence_hold_release"), *super().get_urls()]

    def _hold(self, request: HttpRequest, object_id: str) -> Hold:
        if not self.has_view_permission(request):
            raise PermissionDenied
        hold = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if hold is None:
            raise Http404(f"there is no hold {unquote(object_id)}")
        return hold

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        hold = self._hold(request, object_id)
        records = Record.objects.in_bulk([i for i in (hold.placed_by, hold.released_by) if i is not None])
        names = display_names(record.principal for record in records.values())
        return page(
            request,
            "compliance/hold.html",
            title=f"Legal hold {hold.pk}",
            hold=hold,
            keeps=_keeps(hold),
            count=holds.record_counts([hold]).get(hold.pk, 0),
            steps=[(record, names[record.principal]) for _, record in sorted(records.items())],
            release_url=reverse("admin:evidence_hold_release", args=[hold.pk]),
        )

    def release_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        hold = self._hold(request, object_id)
        form = ReasonForm(request.POST or None)
        if request.method == "POST":
            placed = written(
                form,
                lambda: holds.release_hold(
                    hold,
                    actor=actor(request),
                    reason=form.cleaned_data["reason"],
                    idempotency=form.idempotency(request),
                ),
            )
            if placed is not None:
                messages.success(request, f"The hold is released: record #{placed.index}.")
                return HttpResponseRedirect(_url(hold))
        return form_page(
            request,
            form,
            title="Release a legal hold",
            lead=f"{_keeps(hold)} follows its retention again. What is past its date goes with the next disposition, "
            "and cannot be brought back.",
            submit="Release this hold",
            danger=True,
            cancel=_url(hold),
        )


def _url(hold: Hold) -> str:
    return reverse("admin:evidence_hold_change", args=[hold.pk])


def _state(hold: Hold) -> str:
    return "standing" if hold.released_by is None else "released"


def _keeps(hold: Hold) -> str:
    if hold.record is not None:
        return f"Record #{hold.record}"
    if hold.release is not None:
        return f"Release {hold.release}"
    return f"System {holds.system_names([hold]).get(hold.system or '', hold.system)}"
