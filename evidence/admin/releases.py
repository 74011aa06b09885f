"""Releases: the list, the timeline of one, signing off, and opening a new one."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
)

from evidence.admin import release_approval, release_page, release_plans, release_steps
from evidence.admin.forms import actor, page, person, text_input
from evidence.admin.release_page import url
from evidence.admin.shown import shown
from evidence.admin_base import RoleAdmin, display
from evidence.api.permissions import INSIDE
from evidence.ledger import append
from evidence.models import Approval, Record, Release, System
from evidence.people import display_names, visible_systems
from evidence.records import plain_draft
from evidence.releases import current_approvals
from evidence.tlog.leaf import format_time

#: Steps of a timeline that one page shows; the list of records has the rest.
STEPS = 500
TYPES = [("regular", "Regular"), ("hotfix", "Hotfix")]


class ReleaseForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker only
    type = forms.ChoiceField(choices=TYPES, widget=UnfoldAdminSelectWidget(choices=TYPES))
    ticket_url = forms.URLField(
        label="Ticket's address",
        max_length=500,
        assume_scheme="https",
        widget=text_input(type="url", placeholder="https://"),
    )
    window_from = forms.SplitDateTimeField(required=False, label="From (UTC)", widget=UnfoldAdminSplitDateTimeWidget)
    window_to = forms.SplitDateTimeField(required=False, label="To (UTC)", widget=UnfoldAdminSplitDateTimeWidget)
    surface_lines = forms.CharField(
        required=False,
        label="Surfaces",
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="One a line: web, api …",
    )
    dashboard_lines = forms.CharField(
        required=False,
        label="Dashboards",
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="One a line: its name, then its address, as in “Errors https://grafana.example.com/d/errors”.",
    )

    class Meta:
        model = Release
        fields = ("system", "tag", "type", "ticket_id", "ticket_url", "captain", "commander")
        labels = {"ticket_id": "Ticket"}
        help_texts = {
            "captain": "Who leads the release.",
            "commander": "Who decides during the cutover, where that is somebody else.",
        }

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or self.cleaned_data
        if bool(data.get("window_from")) != bool(data.get("window_to")):
            self.add_error("window_to", "A window has both ends, or there is none.")
        return data

    def clean_dashboard_lines(self) -> list[dict[str, str]]:
        dashboards = []
        for line in filter(None, map(str.strip, self.cleaned_data["dashboard_lines"].splitlines())):
            name, _, url = line.rpartition(" ")
            if not url.startswith(("https://", "http://")):
                raise forms.ValidationError(f"“{line}” does not end in an address.")
            dashboards.append({"name": name.strip(" :") or url, "url": url})
        return dashboards

    def body(self) -> dict[str, Any]:
        """The `release.opened` record that this form describes."""
        data = self.cleaned_data
        names = ("tag", "type", "ticket_id", "ticket_url", "captain")
        body: dict[str, Any] = {"system": data["system"].name, **{name: data[name] for name in names}}
        optional = {
            "commander": data["commander"],
            "surfaces": [line.strip() for line in data["surface_lines"].splitlines() if line.strip()],
            "dashboards": data["dashboard_lines"],
        }
        if data["window_from"] and data["window_to"]:
            optional["window"] = {"from": format_time(data["window_from"]), "to": format_time(data["window_to"])}
        return body | {name: value for name, value in optional.items() if value}


@admin.register(Release)
class ReleaseAdmin(RoleAdmin):
    view_roles = INSIDE
    add_roles = ("captain", "engineer")
    form = ReleaseForm
    list_display = ("release", "state_label", "ticket", "captain", "window", "approvals_so_far")
    list_filter = ("state", "type", ("system", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("system",)
    search_fields = ("id", "ticket_id", "captain")
    search_help_text = "Release, ticket or captain"
    fieldsets = (
        (None, {"fields": (("system", "tag"), ("type", "ticket_id"), "ticket_url", ("captain", "commander"))}),
        ("When and what", {"fields": ("window_from", "window_to", "surface_lines", "dashboard_lines")}),
    )
    empty_title = "No release yet"
    add_label = "Open a release"
    empty_text = "Evidence, approvals and deploys gather around a release. Captains, engineers and pipelines open them."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        return (
            Release.objects.in_systems(visible_systems(person(request)))
            .select_related("system")
            .prefetch_related("approvals")
            .order_by("-opened_by")
        )

    # -- the list ----------------------------------------------------------------------------------------------------

    @display("Release", header=True, ordering="opened_by")
    def release(self, release: Release) -> list[str]:
        return [release.tag, f"{release.system.name} · {release.type}"]

    @display("State", label={"open": "info", "closed": "success", "cancelled": "warning"}, ordering="state")
    def state_label(self, release: Release) -> str:
        return release.state

    @display("Ticket")
    def ticket(self, release: Release) -> SafeString:
        return format_html(
            '<a class="pt-link" href="{}" target="_blank" rel="noreferrer">{}</a>',
            release.ticket_url,
            release.ticket_id,
        )

    @display("Window")
    def window(self, release: Release) -> str:
        return span(release.window_from, release.window_to) or "–"

    @display("Approvals so far")
    def approvals_so_far(self, release: Release) -> SafeString | str:
        found = standing(release)
        if not found:
            return "none yet" if release.manifest_digest else "no manifest yet"
        rows = ((approval_tone(release, a), a.role, approval_word(release, a)) for a in found)
        return format_html_join(
            " ", '<span class="pt-chip pt-{}" title="{} {}">{}</span>', ((t, r, w, r) for t, r, w in rows)
        )

    # -- opening one -------------------------------------------------------------------------------------------------

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial = {"tag": f"release-{timezone.now():%Y%m%d}", "captain": person(request).name}
        found: dict[str, Any] = initial | super().get_changeform_initial_data(request)
        return found

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "system":
            allowed = visible_systems(person(request))
            kwargs["queryset"] = System.objects.all() if allowed is None else System.objects.filter(pk__in=allowed)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Release, form: Any, change: bool) -> None:
        draft = plain_draft(
            {"kind": "release.opened", "body": form.body()}, principal=person(request), actor=actor(request)
        )
        obj.pk = Release.objects.values_list("pk", flat=True).get(opened_by=append(draft).index)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        messages.success(request, f"Release {obj.pk} is open.")
        return HttpResponseRedirect(url(obj))

    # -- one release -------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/approve/", view(self.approve_view), name="evidence_release_approve"),
            path("<path:object_id>/checklist/<str:step>/", view(self.checklist), name="evidence_release_checklist"),
            path("<path:object_id>/cutover/<int:step>/", view(self.cutover), name="evidence_release_cutover"),
            path("<path:object_id>/plan/", view(self.plan), name="evidence_release_plan"),
            path("<path:object_id>/hotfix/", view(self.hotfix), name="evidence_release_hotfix"),
            path("<path:object_id>/notice/", view(self.notice), name="evidence_release_notice"),
            path("<path:object_id>/close/", view(self.end), {"verb": "close"}, name="evidence_release_close"),
            path("<path:object_id>/cancel/", view(self.end), {"verb": "cancel"}, name="evidence_release_cancel"),
            *super().get_urls(),
        ]

    def checklist(self, request: HttpRequest, object_id: str, step: str) -> HttpResponse:
        release = self._release(request, object_id)
        return release_steps.checklist_view(request, release, step, url(release), _crumbs(release))

    def cutover(self, request: HttpRequest, object_id: str, step: int) -> HttpResponse:
        release = self._release(request, object_id)
        return release_steps.cutover_view(request, release, step, url(release), _crumbs(release))

    def plan(self, request: HttpRequest, object_id: str) -> HttpResponse:
        release = self._release(request, object_id)
        return release_plans.plan_view(request, release, url(release), _crumbs(release))

    def hotfix(self, request: HttpRequest, object_id: str) -> HttpResponse:
        release = self._release(request, object_id)
        return release_plans.hotfix_view(request, release, url(release), _crumbs(release))

    def notice(self, request: HttpRequest, object_id: str) -> HttpResponse:
        release = self._release(request, object_id)
        return release_steps.notice_view(request, release, url(release), _crumbs(release))

    def end(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        release = self._release(request, object_id)
        return release_steps.end_view(request, release, verb, url(release), _crumbs(release))

    def _release(self, request: HttpRequest, object_id: str) -> Release:
        if not self.has_view_permission(request):
            raise PermissionDenied
        release = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if release is None:
            raise Http404(f"there is no release {unquote(object_id)}")
        return release

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        release = self._release(request, object_id)
        records = Record.objects.in_systems(visible_systems(person(request))).filter(release=release.pk)
        count = records.count()
        steps = shown(records.order_by("index")[max(0, count - STEPS) : count])
        shown_above = release_page.context(request, release)
        return page(
            request,
            "evidence/release.html",
            title=release.tag,
            crumbs=[(reverse("admin:evidence_release_changelist"), "Releases")],
            release=release,
            window=span(release.window_from, release.window_to),
            steps=steps,
            earlier=count - len(steps),
            **_decisions(release, shown_above["state"].given_afterwards),
            **shown_above,
        )

    def approve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        release = self._release(request, object_id)
        return release_approval.approve_view(request, release, _crumbs(release))


def _crumbs(release: Release) -> list[tuple[str, str]]:
    return [(reverse("admin:evidence_release_changelist"), "Releases"), (url(release), release.tag)]


def standing(release: Release) -> list[Approval]:
    """Decisions that stand, one for each person and role."""
    return current_approvals(release.approvals.all(), release.manifest_digest)


def is_stale(release: Release, approval: Approval) -> bool:
    return approval.manifest_digest != release.manifest_digest


def approval_word(release: Release, approval: Approval) -> str:
    return f"{approval.decision}, stale" if is_stale(release, approval) else approval.decision


def approval_tone(release: Release, approval: Approval) -> str:
    if is_stale(release, approval):
        return "warning"
    return "success" if approval.decision == "approved" else "danger"


def _decisions(release: Release, late: frozenset[int]) -> dict[str, Any]:
    """Every decision, the newest first; and which records are retrospective ones, for the timeline, too."""
    return {"approvals": _approval_rows(release, late), "late_decisions": late}


def _approval_rows(release: Release, late: frozenset[int]) -> list[dict[str, Any]]:
    approvals = list(release.approvals.all())
    names = display_names(approval.person for approval in approvals)
    counting = {approval.index for approval in standing(release)}
    return [
        {
            "approval": approval,
            "person": names[approval.person],
            "tone": approval_tone(release, approval) if approval.index in counting else "neutral",
            "stale": is_stale(release, approval),
            "superseded": approval.index not in counting,
            "late": approval.index in late,
        }
        for approval in sorted(approvals, key=lambda approval: -approval.index)
    ]


def span(start: datetime | None, end: datetime | None) -> str:
    """A window in one line, always with its zone."""
    if start is None or end is None:
        return ""
    same_day = start.date() == end.date()
    return f"{start:%Y-%m-%d %H:%M} to {end.strftime('%H:%M' if same_day else '%Y-%m-%d %H:%M')} UTC"
