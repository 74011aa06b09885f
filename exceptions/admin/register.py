"""Exceptions in the admin: the list, the request form, the page of one with its verbs."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme

from evidence.admin.forms import actor, form_page, page, person, written
from evidence.admin_base import RoleAdmin, display
from evidence.api.permissions import INSIDE
from exceptions import lifecycle, rules
from exceptions.admin import bulk, detail, saved, shown
from exceptions.admin.filters import FILTERS, seen
from exceptions.admin.forms import RequestForm
from exceptions.admin.listing import Listing
from exceptions.admin.shown import LEFT_TONES, SEVERITY_TONES, TONES, state_word, timeline, url
from exceptions.admin.verbs import VERBS, Verb
from exceptions.models import SecurityException
from exceptions.searching import matching

__all__ = ["TONES", "SecurityExceptionAdmin", "state_word", "timeline", "url"]


@admin.register(SecurityException)
class SecurityExceptionAdmin(RoleAdmin):
    view_roles = INSIDE
    add_roles = ("liaison", "engineer")
    form = RequestForm
    list_display = (
        "exception", "state_label", "severity_label", "left", "until", "owner_label", "in_systems", "decide",
    )  # fmt: skip
    list_filter = FILTERS
    list_filter_submit = True
    list_per_page = 50
    show_full_result_count = False
    list_before_template = "exceptions/list_head.html"
    list_after_template = "exceptions/decide.html"
    search_fields = ("id",)  # that there is a search; what it looks at is `searching.matching`
    search_help_text = "Number, title, owner, system, reference, requirement"
    fieldsets = (
        (None, {"fields": ("title", "justification", ("severity", "answerable"), "covered")}),
        (
            "What it waives, and what stands instead",
            {"fields": ("waived", "named_releases", "control_lines", "concerns")},
        ),
        ("When", {"fields": (("starts", "until"), "once")}),
    )
    empty_title = "No exception here"
    empty_text = (
        "An exception lets a requirement go unmet for a while, with an owner and an end. "
        "Engineers and liaisons request one; somebody else approves it."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[SecurityException]:
        return seen(request).order_by("-requested_index")

    # -- the list ----------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Listing]:
        return Listing

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return matching(queryset, search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        more: dict[str, Any] = {"crumbs": [(reverse("admin:index"), "Today")], "title": "Exceptions"}
        if request.method == "GET":
            more |= {"views": saved.views(request), "keeps": saved.normal(request)}
        response: HttpResponse = super().changelist_view(request, {**more, **(extra_context or {})})
        return response

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found = bulk.actions_for(person(request)) if self.has_view_permission(request) else []
        return {act.__name__: (act, act.__name__, title) for act, title in found}

    @display("Exception", header=True, ordering="requested_index")
    def exception(self, found: SecurityException) -> list[str]:
        return [found.id, found.title]

    @display("State", ordering="decision")
    def state_label(self, found: SecurityException) -> str:
        word = state_word(found)
        return shown.chip(TONES[word], word)

    @display("Severity")
    def severity_label(self, found: SecurityException) -> str:
        word = str(found.get_severity_display())
        return shown.chip(SEVERITY_TONES[word], word)

    @display("Expires", ordering="expires_at")
    def left(self, found: SecurityException) -> str:
        left = shown.left(found, timezone.now())
        return shown.chip(LEFT_TONES[left[0]], left[1]) if left else ""

    @display("Until", ordering="expires_at")
    def until(self, found: SecurityException) -> str:
        return format_html('<span class="pt-when">{}</span>', f"{found.expires_at:%Y-%m-%d}")

    @display("Owner", ordering="owner_name")
    def owner_label(self, found: SecurityException) -> str:
        return found.owner_name

    @display("Systems")
    def in_systems(self, found: Any) -> str:
        return ", ".join(found.system_names)

    @display("Decide")
    def decide(self, found: Any) -> str:
        return found.approving.button() if found.approving else ""

    # -- requesting --------------------------------------------------------------------------------------------------

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"asked_by": person(request)})

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        crumbs = [(reverse("admin:exceptions_securityexception_changelist"), "Exceptions")]
        context = {"crumbs": crumbs, "title": "Request an exception", **(extra_context or {})}
        response: HttpResponse = super().add_view(request, form_url, context)
        return response

    def save_model(self, request: HttpRequest, obj: SecurityException, form: Any, change: bool) -> None:
        placed = lifecycle.request_exception(
            actor=actor(request), application=form.application(), idempotency=form.idempotency(request.path)
        )
        obj.pk = placed.body["exception"]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        messages.success(request, f"{obj.pk} is requested. Somebody other than you and its owner has to approve it.")
        _say_if_executive(request, obj.pk)
        return HttpResponseRedirect(url(obj))

    # -- one exception -----------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def verb_path(verb: Verb) -> URLPattern:
            view = self.admin_site.admin_view(partial(self.verb_view, verb=verb))
            found: URLPattern = path(
                f"<path:object_id>/{verb.name}/", view, name=f"exceptions_securityexception_{verb.name}"
            )
            return found

        kept = [
            path("views/", self.admin_site.admin_view(self.save_view), name="exceptions_savedview_save"),
            path(
                "views/<int:pk>/remove/", self.admin_site.admin_view(self.remove_view),
                name="exceptions_savedview_remove",
            ),
        ]  # fmt: skip
        return [*kept, *(verb_path(verb) for verb in VERBS), *super().get_urls()]

    def save_view(self, request: HttpRequest) -> HttpResponse:
        self._require_view(request)
        return saved.save_view(request)

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        self._require_view(request)
        return saved.remove_view(request, pk)

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _found(self, request: HttpRequest, object_id: str) -> SecurityException:
        self._require_view(request)
        found = self.get_queryset(request).filter(pk=unquote(object_id)).first()
        if found is None:
            raise Http404(f"there is no exception {unquote(object_id)}")
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Shows everything and changes nothing: what can be done are the verbs."""
        found = self._found(request, object_id)
        title = f"{found.id} {found.title}"
        crumbs = [(reverse("admin:exceptions_securityexception_changelist"), "Exceptions")]
        return page(request, "exceptions/detail.html", title=title, crumbs=crumbs, **detail.context(request, found))

    def verb_view(self, request: HttpRequest, object_id: str, *, verb: Verb) -> HttpResponse:
        """The form of one transition; only sending it does something."""
        found = self._found(request, object_id)
        form = verb.form.of(request.POST or None, found, person(request))
        back = _back(request)
        if request.method == "POST":
            placed = written(form, lambda: verb.act(request, found, form))
            if placed is not None:
                messages.success(request, f"{found.id}: {verb.title.lower()} is record #{placed.index}.")
                _say_if_executive(request, found.pk)
                return HttpResponseRedirect(back or url(found))
        return form_page(
            request,
            form,
            title=f"{verb.title} {found.id}",
            crumbs=[(url(found), found.id)],
            lead=f"{found.title}. {verb.lead} Now until {found.expires_at:%Y-%m-%d %H:%M:%S} UTC.",
            submit=verb.title,
            danger=verb.danger,
            cancel=back or url(found),
        )


def _say_if_executive(request: HttpRequest, number: str) -> None:
    """Whoever asked for more than the policy allows others to approve hears whom it waits for."""
    if why := rules.needs_executive(SecurityException.objects.get(pk=number)):
        messages.warning(request, why)


def _back(request: HttpRequest) -> str:
    """The list that somebody came from, with its filters, or the first page; nothing else is led to."""
    asked = request.GET.get("back", "")
    own = {reverse("admin:exceptions_securityexception_changelist"), reverse("admin:index")}
    safe = url_has_allowed_host_and_scheme(asked, allowed_hosts=None)
    return asked if safe and asked.partition("?")[0] in own else ""
