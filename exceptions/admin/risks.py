"""The risk register in the admin: list, add, change with a reason, close."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from evidence.admin.forms import actor, form_page, person, written
from evidence.admin_base import RoleAdmin, display
from evidence.api.permissions import INSIDE
from evidence.ledger import Placed
from evidence.models import User
from evidence.people import visible_systems
from exceptions import risks
from exceptions.admin.forms import ReasonForm, RiskForm
from exceptions.admin.register import timeline
from exceptions.models import Risk

LEVEL_TONES = {"critical": "danger", "high": "warning", "medium": "info", "low": "success"}
STATUS_TONES = {"Open": "warning", "Being mitigated": "info", "Accepted": "info", "Closed": "neutral"}


@admin.register(Risk)
class RiskAdmin(RoleAdmin):
    view_roles = INSIDE
    add_roles = change_roles = ("liaison", "engineer", "captain")
    form = RiskForm
    list_display = ("risk", "status_label", "before", "after", "owner_label", "exceptions_count")
    list_filter = ("status",)
    search_fields = ("id", "title", "description", "owner_name")
    search_help_text = "Number, title, description or owner"
    change_form_outer_after_template = "exceptions/risk_timeline.html"
    empty_title = "No risk in the register"
    empty_text = "A risk says what may go wrong, how likely and how bad, what is done against it, and who answers."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Risk]:
        found = Risk.objects.in_systems(visible_systems(person(request))).prefetch_related("exceptions")
        return found.alias(score=F("likelihood") * F("impact")).order_by("-score", "-added_index")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        assessed = ("likelihood", "impact"), ("residual_likelihood", "residual_impact")
        last: tuple[Any, ...] = ("status", "answerable"), "covered" if obj is None else "reason"
        if obj is not None and not self.has_change_permission(request, obj):
            last = ("status", "owner_name", "closed_at")
        return [
            (None, {"fields": ("title", "description")}),
            ("Assessment (1 to 5), before and after mitigation", {"fields": assessed}),
            ("Treatment", {"fields": ("mitigation", "contingency", *last)}),
        ]

    # -- the list ----------------------------------------------------------------------------------------------------

    @display("Risk", header=True, ordering="added_index")
    def risk(self, found: Risk) -> list[str]:
        return [found.id, found.title]

    @display("Status", label=STATUS_TONES, ordering="status")
    def status_label(self, found: Risk) -> str:
        return str(found.get_status_display())

    @display("Before", label=LEVEL_TONES)
    def before(self, found: Risk) -> tuple[str, str]:
        level = Risk.level(found.rating)
        return level, f"{found.rating} {level}"

    @display("After", label=LEVEL_TONES)
    def after(self, found: Risk) -> tuple[str, str] | str:
        if found.residual_rating is None:
            return "–"
        level = Risk.level(found.residual_rating)
        return level, f"{found.residual_rating} {level}"

    @display("Owner", ordering="owner_name")
    def owner_label(self, found: Risk) -> str:
        return found.owner_name

    @display("Exceptions")
    def exceptions_count(self, found: Risk) -> str:
        return ", ".join(exception.pk for exception in found.exceptions.all()) or "–"

    # -- adding and changing -------------------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.status != "closed")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if "covered" in form.base_fields:
            form.base_fields["covered"].narrow(person(request))
        if obj is not None and "answerable" in form.base_fields:
            form.base_fields["answerable"].initial = User.objects.filter(uid=obj.owner).first()
            form.base_fields["status"].initial = obj.status
        return form

    def save_model(self, request: HttpRequest, obj: Risk, form: Any, change: bool) -> None:
        given = dict(form.cleaned_data)
        covered, reason = given.pop("covered", None), given.pop("reason", "")
        given["owner"] = given.pop("answerable").email
        if not change:
            entry = risks.RiskEntry(**given, systems=[system.name for system in covered or []])
            obj.pk = risks.add_risk(actor=actor(request), entry=entry).body["risk"]
            return
        named = {"answerable": "owner"}
        changed = {named.get(name, name) for name in form.changed_data} & given.keys()
        if changed:
            changes = {name: given[name] for name in changed}
            risks.change_risk(actor=actor(request), risk=obj.pk, reason=reason, changes=changes)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> list[Any]:
        """The ledger says what changed."""
        return []

    # -- one risk ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.close_view)
        return [path("<path:object_id>/close/", view, name="exceptions_risk_close"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        found = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        context: dict[str, Any] = dict(extra_context or {})
        if found is not None:
            context["timeline"] = timeline(found.changes.order_by("-index"))
            if self.has_change_permission(request, found):
                context["close_url"] = reverse("admin:exceptions_risk_close", args=[quote(found.pk)])
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def close_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_change_permission(request):
            raise PermissionDenied
        found = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if found is None:
            raise Http404(f"there is no risk {unquote(object_id)}")
        back = reverse("admin:exceptions_risk_change", args=[quote(found.pk)])
        form = ReasonForm(request.POST or None)
        if request.method == "POST":
            placed = written(form, lambda: _close(request, found, form))
            if placed is not None:
                messages.success(request, f"{found.pk} is closed by record #{placed.index}.")
                return HttpResponseRedirect(back)
        return form_page(
            request, form, title=f"Close {found.pk}", lead=found.title, submit="Close", danger=False, cancel=back
        )


def _close(request: HttpRequest, found: Risk, form: ReasonForm) -> Placed:
    return risks.close_risk(
        actor=actor(request),
        risk=found.pk,
        reason=form.cleaned_data["reason"],
        idempotency=form.idempotency_or_none(request),
    )
