"""The risk register as a file, in the admin: exports of what the list shows, and a file looked at, then imported."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from config.errors import MissingError, ProoftrailError
from evidence.admin.forms import page, person
from evidence.admin_base import has_role, show_refusal
from exceptions.admin.risk_forms import RiskFileForm, RiskMappingForm
from exceptions.api.risk_files import exported
from exceptions.exchange import bringing, reading, writing
from exceptions.models import Risk, RiskImport

FATES = {
    "bad": ("bad", "danger"),
    "added": ("new", "success"),
    "changed": ("changed", "info"),
    "closed": ("closed", "neutral"),
    "unchanged": ("unchanged", "neutral"),
}
STATE_TONES = {"checked": "warning", "refused": "danger", "running": "info", "done": "success", "failed": "danger"}
FLAGS = {
    "review_late": "the next review is later than its level allows",
    "review_overdue": "its review is overdue",
    "incident_unknown": "an incident is not in this ledger",
    "formula": "the value beside a formula was taken",
}
#: Rows of one fate that the page shows.
_SHOWN = 200
_LIST = "admin:exceptions_risk_changelist"


def may_import(request: HttpRequest) -> bool:
    return has_role(request, ("liaison",))


def exports(request: HttpRequest) -> list[tuple[str, str]]:
    """Links to files of what the list shows now."""
    narrowed = f"?{request.GET.urlencode()}" if request.GET else ""
    return [(name.upper(), reverse("admin:exceptions_risk_export", args=[name]) + narrowed) for name in writing.FORMATS]


def export_view(register: Any, request: HttpRequest, name: str) -> HttpResponse:
    """The list with its filters and search, as a file."""
    if not register.has_view_permission(request):
        raise PermissionDenied
    if name not in writing.FORMATS:
        raise Http404(f"there is no format {name}")
    try:
        shown = register.get_changelist_instance(request).get_queryset(request)
    except IncorrectLookupParameters:
        raise Http404("there is no such filter") from None
    return exported(Risk.objects.filter(pk__in=[found.pk for found in shown]), person(request), name)


def import_view(register: Any, request: HttpRequest) -> HttpResponse:
    """Send a file; nothing is recorded."""
    if not may_import(request):
        raise PermissionDenied
    form = RiskFileForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            data = file.read(reading.MAX_BYTES + 1)
            found = bringing.open_import(person=person(request), filename=file.name, data=data)
        except ProoftrailError as error:
            show_refusal(form, error)
        else:
            return HttpResponseRedirect(url(found))
    crumbs = [(reverse(_LIST), "Risks")]
    return page(request, "exceptions/risk_import_new.html", title="Import risks", form=form, crumbs=crumbs)


def imported_view(register: Any, request: HttpRequest, import_id: str) -> HttpResponse:
    """What becomes of each row, what columns and words mean; then import it."""
    if not may_import(request):
        raise PermissionDenied
    try:
        found = bringing.find(import_id, person(request))
    except MissingError as error:
        raise Http404(error.detail) from None
    form = _mapping_form(request, found)
    if request.method == "POST" and (onward := _acted(request, found, form)) is not None:
        return HttpResponseRedirect(url(onward))
    counts, rows = found.outcome["counts"], found.outcome["rows"]
    groups = [(*FATES[name], [_row(row) for row in rows if row["fate"] == name]) for name in FATES]
    return page(
        request,
        "exceptions/risk_import.html",
        title=f"Import of {found.filename}",
        crumbs=[(reverse(_LIST), "Risks")],
        found=found,
        tone=STATE_TONES[found.state],
        counts=counts,
        writes=sum(counts[name] for name in ("added", "changed", "closed")),
        groups=[(word, tone, kept[:_SHOWN], len(kept)) for word, tone, kept in groups if kept],
        form=form,
        can_act=found.content is not None and found.state in {RiskImport.CHECKED, RiskImport.REFUSED},
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    changes = [(name.replace("_", " "), said["from"], said["to"]) for name, said in row["changes"].items()]
    return row | {"changes": changes, "flags": [FLAGS.get(flag, flag) for flag in row["flags"]]}


def _mapping_form(request: HttpRequest, found: RiskImport) -> RiskMappingForm:
    columns, used = found.outcome["columns"], {"defaults": {}, "values": {}} | found.mapping
    headings = list(dict.fromkeys([*columns.values(), *found.outcome["unused"]]))
    sent = request.POST if request.POST.get("verb") == "remap" else None
    return RiskMappingForm(sent, headings=headings, columns=columns, used=used, unknown=_unknown(found))


def _unknown(found: RiskImport) -> dict[str, list[str]]:
    """Words of the file that mean nothing yet, by field: what they mean is all that is left to say."""
    told: dict[str, list[str]] = {}
    for row in found.outcome["rows"]:
        for problem in row["problems"]:
            if problem["code"] in {"owner_unknown", "status_unknown", "step_unknown", "system_unknown"}:
                told.setdefault(problem["field"].removeprefix("residual_"), []).append(problem["value"])
    return told


def _acted(request: HttpRequest, found: RiskImport, form: RiskMappingForm) -> RiskImport | None:
    """The import to show next; None where nothing came of what was sent."""
    user, verb = person(request), request.POST.get("verb")
    try:
        if verb == "remap" and form.is_valid():
            data = bytes(found.content or b"")
            return bringing.open_import(person=user, filename=found.filename, data=data, said=form.said())
        if verb == "record":
            bringing.record(found, person=user)
            messages.success(request, f"{found.filename} is imported.")
            return found
    except ProoftrailError as error:
        if verb == "remap":
            show_refusal(form, error)
        else:
            messages.error(request, error.detail)
    return None


def url(found: RiskImport) -> str:
    return reverse("admin:exceptions_risk_imported", args=[found.pk])
