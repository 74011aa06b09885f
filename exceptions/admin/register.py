"""Exceptions in the admin: the list, the request form, the page of one with its verbs, bulk decisions."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, ExpressionWrapper, F, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from config.errors import ProoftrailError
from evidence import kinds
from evidence.admin.forms import actor, form_page, page, person, written
from evidence.admin_base import RoleAdmin, display
from evidence.api.permissions import INSIDE
from evidence.ledger import Placed
from evidence.models import System
from evidence.people import display_names, visible_systems
from exceptions import lifecycle, ratification
from exceptions.admin.forms import BulkForm, RequestForm
from exceptions.admin.verbs import VERBS, Verb, shown_to
from exceptions.models import SecurityException
from exceptions.models.terms import CLAIMED, ENDED
from exceptions.reminders import time_left

TONES = {
    "requested": "info",
    "approved elsewhere (claim)": "warning",
    "active": "success",
    "scheduled": "info",
    "expiring": "warning",
    "expired": "danger",
    "renewal waits": "info",
    **dict.fromkeys(ENDED, "neutral"),
}
SEVERITY_TONES = {"Critical": "danger", "High": "warning", "Medium": "info", "Low": "neutral"}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        groups = [("due", "Due: expires within 30 days, or has"), ("open", "Open")]
        states = ["requested", "claimed", "active", "expiring", "expired", "scheduled", *ENDED]
        return [*groups, *((state, state.capitalize()) for state in states)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.in_state(self.value(), timezone.now()) if self.value() else queryset


@admin.register(SecurityException)
class SecurityExceptionAdmin(RoleAdmin):
    view_roles = INSIDE
    add_roles = ("liaison", "engineer")
    form = RequestForm
    list_display = ("exception", "state_label", "severity_label", "left", "until", "owner_label", "in_systems")
    list_filter = (StateFilter, "severity", "renewal_pending")
    search_fields = ("id", "title", "justification", "owner_name")
    search_help_text = "Number, title, justification or owner"
    actions = ("approve_selected", "ratify_selected", "revoke_selected")
    fieldsets = (
        (None, {"fields": ("title", "justification", ("severity", "answerable"), "covered")}),
        ("What it waives, and what stands instead", {"fields": ("waived", "control_lines", "concerns")}),
        ("When", {"fields": (("starts", "until"), "once")}),
    )
    empty_title = "No exception here"
    empty_text = (
        "An exception lets a requirement go unmet for a while, with an owner and an end. "
        "Engineers and liaisons request one; somebody else approves it."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[SecurityException]:
        ids = ExpressionWrapper(OuterRef("systems"), output_field=ArrayField(CharField()))
        covered = System.objects.alias(ids=ids).filter(ids__contains=[F("pk")])  # type: ignore[misc]  # stubs: str only
        names = covered.order_by("name").values("name")
        found = SecurityException.objects.in_systems(visible_systems(person(request)))
        return found.annotate(system_names=ArraySubquery(names)).order_by("-requested_index")

    # -- the list ----------------------------------------------------------------------------------------------------

    @display("Exception", header=True, ordering="requested_index")
    def exception(self, found: SecurityException) -> list[str]:
        return [found.id, found.title]

    @display("State", label=TONES, ordering="decision")
    def state_label(self, found: SecurityException) -> str:
        return state_word(found)

    @display("Severity", label=SEVERITY_TONES)
    def severity_label(self, found: SecurityException) -> str:
        return str(found.get_severity_display())

    @display("Expires", ordering="expires_at")
    def left(self, found: SecurityException) -> str:
        return time_left(timezone.now(), found.expires_at) if found.is_open else "–"

    @display("Until (UTC)", ordering="expires_at")
    def until(self, found: SecurityException) -> str:
        return f"{found.expires_at:%Y-%m-%d %H:%M}"

    @display("Owner", ordering="owner_name")
    def owner_label(self, found: SecurityException) -> str:
        return found.owner_name

    @display("Systems")
    def in_systems(self, found: Any) -> str:
        return ", ".join(found.system_names)

    # -- requesting --------------------------------------------------------------------------------------------------

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.base_fields["covered"].narrow(person(request))
        return form

    def save_model(self, request: HttpRequest, obj: SecurityException, form: Any, change: bool) -> None:
        placed = lifecycle.request_exception(
            actor=actor(request), application=form.application(), idempotency=form.idempotency(request.path)
        )
        obj.pk = placed.body["exception"]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        messages.success(request, f"{obj.pk} is requested. Somebody other than you and its owner has to approve it.")
        return HttpResponseRedirect(url(obj))

    # -- one exception -----------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def verb_path(verb: Verb) -> URLPattern:
            view = self.admin_site.admin_view(partial(self.verb_view, verb=verb))
            found: URLPattern = path(
                f"<path:object_id>/{verb.name}/", view, name=f"exceptions_securityexception_{verb.name}"
            )
            return found

        return [*(verb_path(verb) for verb in VERBS), *super().get_urls()]

    def _found(self, request: HttpRequest, object_id: str) -> SecurityException:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if found is None:
            raise Http404(f"there is no exception {unquote(object_id)}")
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Shows everything and changes nothing: what can be done are the verbs."""
        found = self._found(request, object_id)
        word = state_word(found)
        return page(
            request,
            "exceptions/detail.html",
            title=f"{found.id} {found.title}",
            exception=found,
            state=word,
            tone=TONES[word],
            severity_tone=SEVERITY_TONES[found.get_severity_display()],
            left=time_left(timezone.now(), found.expires_at) if found.is_open else "",
            verbs=[(verb, url(found, verb.name)) for verb in shown_to(found, request)],
            requester=display_names([found.requester])[found.requester],
            approvals=found.approvals.filter(renewal=None, standing=True).count(),
            renewals=found.renewals.all(),
            risk=found.risk_id,
            timeline=timeline(found.transitions.order_by("-index")),
        )

    def verb_view(self, request: HttpRequest, object_id: str, *, verb: Verb) -> HttpResponse:
        """The form of one transition; only sending it does something."""
        found = self._found(request, object_id)
        form = verb.form(request.POST or None)
        if request.method == "POST":
            placed = written(form, lambda: verb.act(request, found, form))
            if placed is not None:
                messages.success(request, f"{found.id}: {verb.title.lower()} is record #{placed.index}.")
                return HttpResponseRedirect(url(found))
        return form_page(
            request,
            form,
            title=f"{verb.title} {found.id}",
            lead=f"{found.title}. {verb.lead} Now until {found.expires_at:%Y-%m-%d %H:%M:%S} UTC.",
            submit=verb.title,
            danger=verb.danger,
            cancel=url(found),
        )

    # -- several at once -----------------------------------------------------------------------------------------------

    @admin.action(description="Approve")
    def approve_selected(self, request: HttpRequest, queryset: QuerySet[SecurityException]) -> HttpResponse | None:
        return self._bulk(request, queryset, "approve", "approve_selected")

    @admin.action(description="Ratify: approved elsewhere")
    def ratify_selected(self, request: HttpRequest, queryset: QuerySet[SecurityException]) -> HttpResponse | None:
        """All of the list under one signed digest, or none of it."""
        chosen = list(queryset.order_by("pk")[: ratification.MOST + 1])
        sent = request.POST if "confirmed" in request.POST else None
        form = BulkForm(sent, chosen=[found.pk for found in chosen], initial={"action": "ratify_selected"})
        if sent is not None:
            placed = written(form, lambda: self._ratified(request, chosen, form))
            if placed is not None:
                messages.success(request, f"{len(chosen)} ratified: record #{placed.index} signs the list.")
                return None
        return form_page(
            request,
            form,
            title=f"Ratify {len(chosen)} exceptions",
            lead=f"{', '.join(found.pk for found in chosen)}. They waive what they name from now on, all or none of "
            "them. Who requested, owns or imported one cannot ratify it.",
            submit="Ratify",
            danger=False,
            cancel=request.get_full_path(),
        )

    def _ratified(self, request: HttpRequest, chosen: list[SecurityException], form: BulkForm) -> Placed:
        return ratification.ratify(
            actor=actor(request),
            exceptions=[found.pk for found in chosen],
            reason=form.cleaned_data["reason"],
            idempotency=form.idempotency_or_none(request),
        )

    @admin.action(description="Revoke")
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[SecurityException]) -> HttpResponse | None:
        return self._bulk(request, queryset, "revoke", "revoke_selected")

    def _bulk(
        self, request: HttpRequest, queryset: QuerySet[SecurityException], name: str, action: str
    ) -> HttpResponse | None:
        """Ask for a reason, then decide one after the other: each by the rules that hold for it alone."""
        verb = next(verb for verb in VERBS if verb.name == name)
        chosen = list(queryset.order_by("pk"))
        sent = request.POST if "confirmed" in request.POST else None
        form = BulkForm(sent, chosen=[found.pk for found in chosen], initial={"action": action})
        if form.is_valid():
            for found in chosen:
                self._decide(request, verb, found, form.cleaned_data["reason"])
            return None
        numbers = ", ".join(found.pk for found in chosen)
        return form_page(
            request,
            form,
            title=f"{verb.title} {len(chosen)} exceptions",
            lead=f"{numbers}. {verb.lead}",
            submit=verb.title,
            danger=verb.danger,
            cancel=request.get_full_path(),
        )

    def _decide(self, request: HttpRequest, verb: Verb, found: SecurityException, reason: str) -> None:
        try:
            placed = verb.write(actor=actor(request), exception=found.pk, reason=reason)
        except ProoftrailError as error:
            messages.error(request, f"{found.pk}: {error.detail}")
        else:
            messages.success(request, f"{found.pk}: {verb.title.lower()} is record #{placed.index}.")


def url(found: SecurityException, name: str = "change") -> str:
    return reverse(f"admin:exceptions_securityexception_{name}", args=[quote(found.pk)])


def state_word(found: SecurityException) -> str:
    """The state as people are told it."""
    now = timezone.now()
    if found.is_expiring(now):
        return "expiring"
    state = found.state(now)
    if state == CLAIMED:
        return "approved elsewhere (claim)"
    return "renewal waits" if state == "active" and found.renewal_pending else state


def timeline(rows: QuerySet[Any]) -> Iterator[dict[str, Any]]:
    """Records with names instead of opaque ids, in the order of `rows`."""
    found = list(rows)
    names = display_names(row.by for row in found)
    titles = kinds.load().by_name
    for row in found:
        title = titles[row.kind].title if row.kind in titles else row.kind
        yield {"title": title, "who": names[row.by], "at": row.at, "reason": row.reason, "index": row.index}
