"""The risk register in the admin: the list with its heat map, the page of one risk, and what can be done to it."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from evidence.admin.forms import actor, form_page, page, person, written
from evidence.admin_base import RoleAdmin, display
from evidence.api.permissions import INSIDE
from evidence.models import System
from evidence.people import display_names, visible_systems
from exceptions import risk_links, risk_policy, risks
from exceptions.admin import risk_files, risk_map
from exceptions.admin.forms import ReasonForm
from exceptions.admin.risk_forms import ReviewForm, RiskForm
from exceptions.admin.shown import TONES as STATE_TONES
from exceptions.admin.shown import state_word, timeline
from exceptions.models import Risk
from exceptions.risk_policy import LEVELS

LEVEL_TONES = {"critical": "danger", "high": "warning", "medium": "info", "low": "success"}
STATUS_TONES = {"Open": "warning", "Being mitigated": "info", "Accepted": "info", "Closed": "neutral"}
ITEM_TONES = {"open": "warning", "done": "success", "dropped": "neutral"}
LIST = "admin:exceptions_risk_changelist"


class LevelFilter(admin.SimpleListFilter):
    title, parameter_name = "level, as it stands", "level"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(level, level.capitalize()) for level in LEVELS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.at_level(self.value()) if self.value() in LEVELS else queryset


class ReviewFilter(admin.SimpleListFilter):
    title, parameter_name = "review", "review"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("overdue", "Overdue"), ("due", "Due today or overdue")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        today = timezone.now().date()
        if self.value() == "overdue":
            return queryset.review_overdue(today)
        return queryset.review_due(today) if self.value() == "due" else queryset


class OwnerFilter(admin.SimpleListFilter):
    title, parameter_name = "owner", "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        seen = Risk.objects.in_systems(visible_systems(person(request))).order_by("owner_name")
        owners = seen.values_list("owner", "owner_name").distinct()[:200]
        return [("me", "Me"), *((uid, name) for uid, name in owners)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if not self.value():
            return queryset
        return queryset.filter(owner=person(request).uid if self.value() == "me" else self.value())


class CellFilter(admin.SimpleListFilter):
    """A cell of the heat map; chosen there, and shown among the filters while it is."""

    title, parameter_name = "cell of the heat map", "cell"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get("cell")
        return [(chosen, risk_map.title_of(chosen))] if chosen else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return risk_map.in_cell(queryset, str(self.value())) if self.value() else queryset


@admin.register(Risk)
class RiskAdmin(RoleAdmin):
    view_roles = INSIDE
    add_roles = change_roles = ("liaison", "engineer", "captain")
    form = RiskForm
    list_display = ("risk", "rating_label", "before", "status_label", "review", "owner_label", "exceptions_count")
    list_filter = (LevelFilter, "status", ReviewFilter, OwnerFilter, CellFilter)
    search_fields = ("id", "reference", "title", "description", "owner_name")
    search_help_text = "Number, reference, title, description or owner"
    list_before_template = "exceptions/risk_map.html"
    empty_title = "No risk in the register"
    empty_text = "A risk says what may go wrong, how likely and how bad, what is done against it, and who answers."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Risk]:
        return Risk.objects.in_systems(visible_systems(person(request))).prefetch_related("exceptions").standing()

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """The worst first."""
        return "-now_rating", "-pk"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        before, after = ("likelihood", "impact"), ("residual_likelihood", "residual_impact")
        last = ("status", "answerable"), "covered", "once", *(("review_by",) if obj is None else ())
        return [
            ("What may happen", {"fields": ("title", "description", "cause", "consequence", "reference")}),
            ("How bad it is, before anything is done", {"fields": (before,)}),
            ("What is done", {"fields": ("mitigation", after, "contingency", "items")}),
            ("Who answers, and for what", {"fields": last}),
            ("What it has to do with", {"fields": ("exceptions", "incidents", "controls")}),
            *([] if obj is None else [("Why it changes", {"fields": ("reason",)})]),
        ]

    # -- the list ------------------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        seen = Risk.objects.in_systems(visible_systems(person(request)))
        context = {
            "heat": risk_map.heat_map(seen),
            "overdue": seen.review_overdue(timezone.now().date()).count(),
            "narrowed": bool(request.GET),
            "exports": risk_files.exports(request),
            "may_import": risk_files.may_import(request),
        }
        response: HttpResponse = super().changelist_view(request, context | (extra_context or {}))
        return response

    @display("Risk", header=True, ordering="added_index")
    def risk(self, found: Risk) -> list[str]:
        return [found.id, found.title]

    @display("Rating", label=LEVEL_TONES, ordering="now_rating")
    def rating_label(self, found: Risk) -> tuple[str, str]:
        return rated(found.now_rating)

    @display("Before treatment", label=LEVEL_TONES)
    def before(self, found: Risk) -> tuple[str, str] | str:
        return rated(found.rating) if found.residual_rating else "–"

    @display("Status", label=STATUS_TONES, ordering="status")
    def status_label(self, found: Risk) -> str:
        return str(found.get_status_display())

    @display("Next review", ordering="review_by")
    def review(self, found: Risk) -> str:
        day, _, late = review_words(found).partition(", ")
        return format_html('<span class="pt-when">{}</span> {}', day, late)

    @display("Owner", ordering="owner_name")
    def owner_label(self, found: Risk) -> str:
        return found.owner_name

    @display("Exceptions")
    def exceptions_count(self, found: Risk) -> str:
        named = {exception.pk for exception in found.exceptions.all()} | set(found.linked_exceptions)
        return str(len(named)) if named else "–"

    # -- adding and changing -------------------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is None:
            return super().has_change_permission(request)
        return risks.may_keep(obj, person(request))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        # The fields that the form adds when it is made are in the fieldsets; the factory must not look for them.
        form = super().get_form(request, obj, change=change, **kwargs | {"fields": RiskForm.Meta.fields})
        form.visible = visible_systems(person(request))
        return form

    def save_model(self, request: HttpRequest, obj: Risk, form: RiskForm, change: bool) -> None:
        once = form.idempotency(request)
        if not change:
            entry = risks.RiskEntry(**form.said(), review_by=form.cleaned_data["review_by"])
            obj.pk = risks.add_risk(actor=actor(request), entry=entry, idempotency=once).body["risk"]
        elif changes := form.changes():
            reason = form.cleaned_data["reason"]
            risks.change_risk(actor=actor(request), risk=obj.pk, reason=reason, changes=changes, idempotency=once)

    def response_post_save_add(self, request: HttpRequest, obj: Risk) -> HttpResponse:
        return HttpResponseRedirect(url(obj))

    response_post_save_change = response_post_save_add

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> list[Any]:
        """The ledger says what changed."""
        return []

    # -- one risk ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def own(route: str, view: Any, name: str) -> URLPattern:
            found: URLPattern = path(route, self.admin_site.admin_view(view), name=f"exceptions_risk_{name}")
            return found

        return [
            own("export/<str:name>/", partial(risk_files.export_view, self), "export"),
            own("import/", partial(risk_files.import_view, self), "import"),
            own("import/<str:import_id>/", partial(risk_files.imported_view, self), "imported"),
            own("<path:object_id>/edit/", self.edit_view, "edit"),
            own("<path:object_id>/review/", self.review_view, "review"),
            own("<path:object_id>/close/", self.close_view, "close"),
            *super().get_urls(),
        ]

    def _found(self, request: HttpRequest, object_id: str, *, to_change: bool = False) -> Risk:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if found is None:
            raise Http404(f"there is no risk {unquote(object_id)}")
        if to_change and not self.has_change_permission(request, found):
            raise PermissionDenied
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Shows everything and changes nothing."""
        found = self._found(request, object_id)
        scale, visible = risk_policy.load(), visible_systems(person(request))
        opened = risk_links.incident_records(found.incidents, visible)
        titles = risk_links.controls()
        linked = risk_links.exceptions_of(found, visible).order_by("-requested_index")
        return page(
            request,
            "exceptions/risk.html",
            title=f"{found.id} {found.title}",
            crumbs=[(reverse(LIST), "Risks")],
            risk=found,
            status_tone=STATUS_TONES[found.get_status_display()],
            ratings=_ratings(found, scale),
            review=review_words(found),
            review_overdue=found.review_is_overdue(timezone.now().date()),
            reviewer=display_names([found.reviewed_by]).get(found.reviewed_by, ""),
            adder=display_names([found.added_by])[found.added_by],
            systems=list(System.objects.filter(pk__in=found.systems).values_list("name", flat=True)),
            items=[(item, ITEM_TONES[item["state"]], _is_late(item)) for item in found.action_items],
            linked=[(one, word := state_word(one), STATE_TONES[word]) for one in linked],
            incidents=[(name, opened.get(name)) for name in risk_links.named_by(found, visible)["incidents"]],
            controls=[(name, titles.get(name, "no longer in the catalog")) for name in found.controls],
            verbs=_verbs(found) if self.has_change_permission(request, found) else [],
            timeline=list(timeline(found.changes.order_by("-index"))),
        )

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        self._found(request, object_id, to_change=True)
        return self.changeform_view(request, object_id)

    def review_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self._found(request, object_id, to_change=True)
        latest = risks.latest_review(found.level, timezone.now().date())
        form = ReviewForm(request.POST or None, risk=found, latest=latest)
        words = {name: getattr(risk_policy.load(), name) for name in ("likelihood", "impact")}
        step = [words[name][getattr(found, f"now_{name}") - 1].word for name in words]
        lead = f"{found.title}. It stands at {' '.join(rated(found.now_rating)[1:])}: {step[0]} and {step[1]}. "
        return self._written(
            request,
            found,
            form,
            lambda: risks.review_risk(
                actor=actor(request),
                risk=found.pk,
                reason=form.cleaned_data["reason"],
                review_by=form.cleaned_data["review_by"],
                idempotency=form.idempotency_or_none(request),
            ),
            title=f"Review {found.pk}",
            lead=lead + "If that no longer holds, change it first.",
            submit="Review",
        )

    def close_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self._found(request, object_id, to_change=True)
        form = ReasonForm(request.POST or None)
        left = sum(item["state"] == "open" for item in found.action_items)
        told = f" {left} action item{'s are' if left > 1 else ' is'} still open." if left else ""
        return self._written(
            request,
            found,
            form,
            lambda: risks.close_risk(
                actor=actor(request),
                risk=found.pk,
                reason=form.cleaned_data["reason"],
                idempotency=form.idempotency_or_none(request),
            ),
            title=f"Close {found.pk}",
            lead=f"{found.title}. A closed risk stays in the register and does not change any more.{told}",
            submit="Close",
        )

    def _written(self, request: HttpRequest, found: Risk, form: ReasonForm, write: Any, **texts: Any) -> HttpResponse:
        """The form of one record; only sending it does something."""
        if request.method == "POST" and (placed := written(form, write)) is not None:
            messages.success(request, f"{texts['title']}: done, by record #{placed.index}.")
            return HttpResponseRedirect(url(found))
        crumbs = [(reverse(LIST), "Risks"), (url(found), found.pk)]
        return form_page(request, form, danger=False, cancel=url(found), crumbs=crumbs, **texts)


def url(found: Risk, name: str = "change") -> str:
    return reverse(f"admin:exceptions_risk_{name}", args=[quote(found.pk)])


def rated(rating: int) -> tuple[str, str]:
    """The level, which has a colour, and what is written: ``20 critical``."""
    level = risk_policy.load().level(rating)
    return level, f"{rating} {level}"


def review_words(found: Risk) -> str:
    """``2027-03-31``, ``2026-11-01, 21 days overdue``."""
    if not found.is_open:
        return "–"
    if found.review_by is None:
        return "no date yet"
    late = (timezone.now().date() - found.review_by).days
    told = "" if late < 0 else ", today" if late == 0 else f", {late} day{'s' * (late != 1)} overdue"
    return f"{found.review_by:%Y-%m-%d}{told}"


def _ratings(found: Risk, scale: risk_policy.RiskPolicy) -> list[dict[str, Any]]:
    """Before and, where it was judged, after treatment."""
    steps = [("Before treatment", found.likelihood, found.impact)]
    steps += [("After treatment", found.residual_likelihood, found.residual_impact)] if found.residual_rating else []  # type: ignore[list-item]  # both are judged
    return [
        {
            "title": title,
            "tone": LEVEL_TONES[scale.level(likelihood * impact)],
            "word": rated(likelihood * impact)[1],
            "likelihood": scale.likelihood[likelihood - 1],
            "impact": scale.impact[impact - 1],
        }
        for title, likelihood, impact in steps
    ]


def _verbs(found: Risk) -> list[tuple[str, str]]:
    return [(title, url(found, name)) for title, name in (("Review", "review"), ("Change", "edit"), ("Close", "close"))]


def _is_late(item: dict[str, Any]) -> bool:
    return bool(item["state"] == "open" and item.get("due", "9999") < f"{timezone.now():%Y-%m-%d}")
