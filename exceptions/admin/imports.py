"""Imports in the admin: send a file, see what becomes of each row, say what columns mean, confirm."""

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config.errors import ProoftrailError
from evidence.admin.forms import page, person, written
from evidence.admin_base import RoleAdmin, display, show_refusal
from evidence.people import visible_systems
from exceptions.admin.forms import area
from exceptions.api.imports import bad_rows, started
from exceptions.importing import fates, jobs, limits
from exceptions.importing.dates import DAY_FIRST, MONTH_FIRST
from exceptions.importing.mapping import FIELDS, NEEDED
from exceptions.models import Import

TONES = {
    "Waiting for a worker": "info",
    "Running": "info",
    "Dry run: nothing was recorded": "warning",
    "Refused: nothing was recorded": "danger",
    "Imported": "success",
    "Failed: nothing is shown of it": "danger",
}
FATES = {
    "bad": ("bad", "danger"),
    "claimed": ("approved elsewhere (claim)", "warning"),
    "requested": ("requested", "info"),
    "left_out": ("closed: left out", "neutral"),
}
#: Rows of one fate that the page shows; the sheet of bad rows has all of them.
_SHOWN = 100


class UploadForm(forms.Form):
    file = forms.FileField(
        label="Spreadsheet",
        widget=UnfoldAdminFileFieldWidget({"accept": ".csv,.xlsx"}),
        help_text="CSV or XLSX, at most 16 MiB. Nothing is recorded yet: you see first what becomes of each row.",
    )


class MappingForm(forms.Form):
    """What the sheet's columns and words mean: a heading and a default for each field, and words line by line."""

    dates = forms.ChoiceField(
        label="03/04/2027 is",
        required=False,
        choices=[("", "not said: such dates are refused"), (DAY_FIRST, "3 April"), (MONTH_FIRST, "4 March")],
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(self, *args: Any, headings: list[str], used: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dates"].initial = used.get("dates") or ""
        choices = [("", "no column"), *((heading, heading) for heading in headings)]
        for name in FIELDS:
            title = name.replace("_", " ").capitalize()
            chosen = used["columns"].get(name) or ""
            known = choices if chosen in dict(choices) else [*choices, (chosen, chosen)]
            column = forms.ChoiceField(choices=known, required=False, initial=chosen, widget=UnfoldAdminSelectWidget)
            column.label = f"{title}: column"
            self.fields[f"column_{name}"] = column
            if name in NEEDED and name != "title":
                default = forms.CharField(required=False, max_length=500, widget=UnfoldAdminTextInputWidget)
                default.label, default.initial = f"{title}: where empty", used["defaults"].get(name, "")
                self.fields[f"default_{name}"] = default
        for name in ("owner", "systems", "severity", "status"):
            words = forms.CharField(required=False, max_length=20_000, widget=area())
            words.label = f"{name.capitalize()}: words of the sheet"
            words.help_text = "One a line: what the sheet says = what it means, as Engineering Lead = lea@example.com"
            words.initial = "\n".join(f"{said} = {meant}" for said, meant in used["values"].get(name, {}).items())
            self.fields[f"words_{name}"] = words

    def said(self) -> dict[str, Any]:
        data = self.cleaned_data
        return {
            "columns": {name: data[f"column_{name}"] or None for name in FIELDS},
            "defaults": {name: data[f"default_{name}"] for name in NEEDED if data.get(f"default_{name}")},
            "values": {name: _pairs(data[f"words_{name}"]) for name in ("owner", "systems", "severity", "status")},
            "dates": data["dates"] or None,
        }


def _pairs(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in text.splitlines()]
    return {said.strip(): meant.strip() for said, _, meant in pairs if said.strip() and meant.strip()}


@admin.register(Import)
class ImportAdmin(RoleAdmin):
    view_roles = ("liaison",)
    add_roles = ("liaison",)
    list_display = ("file", "state_label", "rows", "created_at")
    add_label = "Import a spreadsheet"
    empty_title = "Nothing was imported yet"
    empty_text = "A register that was kept as a spreadsheet comes in here: you see what becomes of each row first."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Import]:
        found = Import.objects.defer("content", "fates")
        user = person(request)
        return found if visible_systems(user) is None else found.filter(created_by=user.uid)

    @display("File", header=True)
    def file(self, found: Import) -> list[str]:
        return [found.filename, found.pk]

    @display("State", label=TONES)
    def state_label(self, found: Import) -> str:
        return str(found.get_state_display())

    @display("Rows")
    def rows(self, found: Import) -> str:
        counts = found.summary.get("counts", {})
        return ", ".join(f"{count} {FATES[name][0]}" for name, count in counts.items() if count) or "–"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(partial(self.bad_rows_view))
        own: URLPattern = path("<str:object_id>/bad-rows/", view, name="exceptions_import_bad_rows")
        return [own, *super().get_urls()]

    def _found(self, request: HttpRequest, object_id: str) -> Import:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = self.get_queryset(request).filter(pk=object_id).first()
        if found is None:
            raise Http404(f"there is no import {object_id}")
        return found

    def bad_rows_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return bad_rows(self._found(request, object_id), request.GET.get("as", "csv"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send a file. It is looked at, and nothing is recorded."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST":
            found = written(form, lambda: self._opened(request, form))
            if found is not None:
                return HttpResponseRedirect(url(found))
        return page(request, "exceptions/import_new.html", title="Import a spreadsheet", form=form)

    def _opened(self, request: HttpRequest, form: UploadForm) -> Import:
        file = form.cleaned_data["file"]
        found = jobs.open_import(person=person(request), filename=file.name, data=file.read(limits.MAX_BYTES + 1))
        return started(found)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Rows and their fates; how columns were understood; what can be done next."""
        found = self._found(request, object_id)
        form = self._mapping_form(request, found)
        if request.method == "POST" and self._acted(request, found, form):
            return HttpResponseRedirect(url(found))
        rows = fates.rows_of(found.fates)
        groups = [(*FATES[name], [row for row in rows if row["fate"] == name]) for name in FATES]
        return page(
            request,
            "exceptions/import.html",
            title=f"Import of {found.filename}",
            found=found,
            tone=TONES[found.get_state_display()],
            counts=found.summary.get("counts", {}),
            groups=[(word, tone, kept[:_SHOWN], len(kept)) for word, tone, kept in groups if kept],
            form=form,
            can_act=found.state in {Import.CHECKED, Import.REFUSED} and self.has_add_permission(request),
            bad_rows=reverse("admin:exceptions_import_bad_rows", args=[found.pk]),
        )

    def _mapping_form(self, request: HttpRequest, found: Import) -> MappingForm:
        summary, error = found.summary, found.error or {}
        sheets = summary.get("sheets", [])
        headings = [*error.get("headings", [])]
        for sheet in sheets:
            headings += [*sheet["columns"].values(), *sheet["unused"]]
        guessed: dict[str, str] = {
            name: heading for sheet in reversed(sheets) for name, heading in sheet["columns"].items()
        }
        guessed = guessed or error.get("columns", {})
        empty: dict[str, Any] = {"columns": {}, "defaults": {}, "values": {}, "dates": None}
        said = found.mapping.get("used") or found.mapping.get("said") or {}
        used = empty | said | {"columns": guessed | {k: v for k, v in said.get("columns", {}).items() if v}}
        sent = request.POST if request.POST.get("verb") == "remap" else None
        return MappingForm(sent, headings=list(dict.fromkeys(headings)), used=used)

    def _acted(self, request: HttpRequest, found: Import, form: MappingForm) -> bool:
        user, verb = person(request), request.POST.get("verb")
        try:
            if verb == "remap":
                if not form.is_valid():
                    return False
                jobs.remap(found, person=user, said=form.said())
            elif verb in {"all", "only_good"}:
                jobs.confirm(found, person=user, only_good=verb == "only_good")
            else:
                return False
        except ProoftrailError as error:
            if verb == "remap":
                show_refusal(form, error)
            else:
                messages.error(request, error.detail)
            return False
        started(found)
        return True


def url(found: Import) -> str:
    return reverse("admin:exceptions_import_change", args=[found.pk])
